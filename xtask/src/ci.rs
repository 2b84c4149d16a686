// SPDX-License-Identifier: Apache-2.0
//! What has to hold before a change goes in.

use anyhow::Result;

use crate::{setup, sh, test, tidy};

pub(crate) fn run() -> Result<()> {
    step("fmt");
    sh::run(&mut sh::cargo(["fmt", "--all", "--check"]))?;
    // What is built, checked only or not, takes some of them.
    step("packages");
    setup::packages("test")?;
    step("clippy");
    sh::run(&mut sh::cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    // What a guest builds: the library alone.
    sh::run(&mut sh::cargo([
        "clippy",
        "--package",
        "image-client",
        "--lib",
        "--no-default-features",
        "--",
        "--deny",
        "warnings",
    ]))?;
    step("tidy");
    tidy::run()?;
    step("doc");
    let mut doc = sh::cargo(["doc", "--workspace", "--no-deps"]);
    sh::run(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    step("test");
    test::run(&[])
}

fn step(name: &str) {
    println!("\n== {name}");
}
