// SPDX-License-Identifier: Apache-2.0
//! Where a snapshotter is tried.
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Error;
use crate::error::Context;

/// A directory of one's own, gone at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(parent: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".probe-{}-{number}", std::process::id()));
        make(&path)?;
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), "cannot remove a probe's directory: {error}");
        }
    }
}

/// Makes a directory for nobody else.
pub(crate) fn make(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .at("make directory", dir)
}
