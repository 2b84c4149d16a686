// SPDX-License-Identifier: Apache-2.0
//! Images of real tools, and tests that have to do without.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Says that a test did not run, past the capture of test output, so that `cargo xtask test` counts it.
pub fn skip(test: &str, reason: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {reason}");
}

/// The folder of an image that `cargo xtask lab` made, for instance `tiny/gzip`; says so if it is not there.
pub fn lab_image(test: &str, name: &str) -> Option<PathBuf> {
    let folder = lab().join("images").join(name);
    // Without `..`, which some tools take for a part of a name.
    if let Ok(folder) = folder.canonicalize() {
        return Some(folder);
    }
    skip(test, &format!("`cargo xtask lab` has not made the image: {name}"));
    None
}

/// A program of the newest erofs-utils, which `cargo xtask setup` fetches; says so if it is not there.
pub fn erofs_tool(test: &str, name: &str) -> Option<PathBuf> {
    if let Ok(tool) = lab().join("erofs-utils").join(name).canonicalize() {
        return Some(tool);
    }
    skip(test, &format!("`cargo xtask setup` has not fetched: {name}"));
    None
}

fn lab() -> PathBuf {
    std::env::var_os("IMAGE_CLIENT_LAB").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab"),
        PathBuf::from,
    )
}

/// Whether this process is root; says so if not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "only root may do this");
    }
    root
}
