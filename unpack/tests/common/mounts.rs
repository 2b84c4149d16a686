// SPDX-License-Identifier: Apache-2.0
//! File systems made for one test. They need root and are unmounted when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A mounted file system.
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    /// ext4 on a loop device, of this size; none, and said so, where it cannot be had.
    pub fn ext4(test: &str, megabytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let image = dir.path().join("image");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(megabytes << 20).expect("a size");
        let made = run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image));
        Self::mount(test, dir, made, &["-t", "ext4", "-o", "loop"], Some(image))
    }

    pub fn tmpfs(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::mount(test, dir, true, &["-t", "tmpfs", "-o", "nr_inodes=0"], None)
    }

    /// A file system without extended attributes.
    pub fn ramfs(test: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::mount(test, dir, true, &["-t", "ramfs"], None)
    }

    fn mount(
        test: &str,
        dir: TempDir,
        made: bool,
        options: &[&str],
        device: Option<PathBuf>,
    ) -> Option<Self> {
        if !fixture::is_root(test) {
            return None;
        }
        let target = dir.path().join("fs");
        std::fs::create_dir(&target).expect("a mount point");
        let device = device.unwrap_or_else(|| "none".into());
        if !made || !run(Command::new("mount").args(options).arg(device).arg(&target)) {
            fixture::skip(test, &format!("cannot mount: {}", options.join(" ")));
            return None;
        }
        Some(Mounted { dir })
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("fs")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(
            run(Command::new("umount").arg("-l").arg(self.path())),
            "cannot unmount: {}",
            self.path().display()
        );
    }
}

fn run(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A test's folder: beside what tests are built to, or on a mounted file system. That for temporary files
/// may be a tmpfs, from whose files the kernel mounts no image.
pub fn folder(base: Option<&Path>) -> TempDir {
    let base = base.unwrap_or(Path::new(env!("CARGO_TARGET_TMPDIR")));
    tempfile::tempdir_in(base).expect("a temporary folder")
}
