// SPDX-License-Identifier: Apache-2.0
//! A work directory, bundles and images for one test, gone with all their mounts at its end.

#![allow(dead_code, reason = "each test program uses a part of it")]

#[cfg(feature = "cli")]
pub(crate) mod program;

use std::error::Error as _;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixture::Published;
use image_client::{Builder, Client, Error, ImageName};
use tempfile::TempDir;

/// Folders for one test.
#[derive(Debug)]
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    pub(crate) fn work_dir(&self) -> PathBuf {
        self.path("work")
    }

    /// Writes a layout that holds one image as `latest`, and names that image.
    pub(crate) fn layout(&self, name: &str, image: &dyn Published) -> ImageName {
        let path = self.path(name);
        fixture::write_layout(&path, &[("latest", image)]).unwrap();
        format!("oci-layout:{}:latest", path.display()).parse().unwrap()
    }

    /// A builder for this lab's store, without policy.
    pub(crate) fn builder(&self) -> Builder {
        Client::builder().work_dir(self.work_dir())
    }

    /// A client that accepts every image.
    pub(crate) fn client(&self) -> Client {
        self.builder().dangerous().accept_any_image().build().unwrap()
    }

    /// A client that accepts every image and mounts it in this way.
    pub(crate) fn client_with(&self, snapshotter: &str) -> Client {
        let builder = self.builder().snapshotter(snapshotter);
        builder.dangerous().accept_any_image().build().unwrap()
    }

    /// What is left in staging and of mounts, and which layers are in the store.
    pub(crate) fn left(&self) -> (Vec<String>, Vec<String>, usize) {
        let layers = names(&self.work_dir().join("layers")).len();
        (
            names(&self.work_dir().join("staging")),
            names(&self.work_dir().join("mounts")),
            layers,
        )
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failed test may leave mounts; the folder cannot be removed under them.
        let root = self.path("");
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for place in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if Path::new(place).starts_with(&root) {
                let _ = Command::new("umount").args(["-l", place]).status();
            }
        }
    }
}

/// The snapshotters that work in temporary folders here; says which does not.
pub(crate) fn snapshotters(test: &str) -> Vec<&'static str> {
    let dir = tempfile::tempdir().unwrap();
    let works = |name: &&str| match snapshot::choose(name, dir.path()) {
        Ok(_) => true,
        Err(error) => {
            fixture::skip(test, &format!("{name} does not work here: {error}"));
            false
        }
    };
    ["erofs", "overlay", "copy"].into_iter().filter(works).collect()
}

/// The names in a folder; none if there is no folder.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs a future, then waits for the threads it started.
pub(crate) fn run<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// The chain of causes, one a line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push('\n');
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
