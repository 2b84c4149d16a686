// SPDX-License-Identifier: Apache-2.0
//! Budgets: what a guest has to carry.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, bail};

use crate::sh;

/// Crates behind the library alone: what has to be audited for a guest.
const GUEST_CRATES: usize = 110;
/// Bytes of the stripped program with every feature.
const PROGRAM_BYTES: u64 = 12_000_000;

pub(crate) fn run() -> Result<()> {
    let guest = crates(&["--no-default-features"])?;
    let full = crates(&["--all-features"])?;
    sh::run(&mut sh::cargo([
        "build",
        "--quiet",
        "--release",
        "--package",
        "image-client",
        "--all-features",
    ]))?;
    let bytes = fs::metadata(sh::target("release/image-client"))?.len();
    println!("crates, guest profile (library):   {guest:>9}   budget {GUEST_CRATES:>9}");
    println!("crates, program, every feature:    {full:>9}");
    println!("bytes, program stripped:           {bytes:>9}   budget {PROGRAM_BYTES:>9}");
    if guest > GUEST_CRATES || bytes > PROGRAM_BYTES {
        bail!("over budget");
    }
    Ok(())
}

/// Crates that are linked, image-client included.
fn crates(features: &[&str]) -> Result<usize> {
    let mut tree = sh::cargo([
        "tree",
        "--package",
        "image-client",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let lines = sh::output(tree.args(features))?;
    let name = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(lines
        .lines()
        .map(name)
        .filter(|n| !n.is_empty())
        .collect::<BTreeSet<_>>()
        .len())
}
