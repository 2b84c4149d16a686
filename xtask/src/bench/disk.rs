// SPDX-License-Identifier: Apache-2.0
//! A journalled ext4 that nothing has used, in memory.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::sh;

/// Room for the largest image and a client that keeps it twice. Memory is taken only as it is written.
const SIZE: &str = "12G";

#[derive(Debug)]
pub(super) struct Disk {
    memory: PathBuf,
    path: PathBuf,
    device: String,
}

impl Disk {
    pub(super) fn new() -> Result<Self> {
        let base = sh::target("bench");
        let mut disk = Disk {
            memory: base.join("memory"),
            path: base.join("disk"),
            device: String::new(),
        };
        disk.unmount()?;
        fs::create_dir_all(&disk.memory)?;
        fs::create_dir_all(&disk.path)?;
        sh::run(sh::cmd("mount", ["-t", "tmpfs", "-o", "mode=0700,size=100%", "tmpfs"]).arg(&disk.memory))?;
        let file = disk.memory.join("ext4");
        sh::run(sh::cmd("truncate", ["--size", SIZE]).arg(&file))?;
        // Lazy tables are written by a kernel thread, in the middle of what is measured, unless told not to be.
        sh::run(sh::cmd("mkfs.ext4", ["-q", "-E", "lazy_itable_init=1"]).arg(&file))?;
        sh::run(
            sh::cmd("mount", ["-o", "loop,noinit_itable"])
                .arg(&file)
                .arg(&disk.path),
        )?;
        let device = sh::output(sh::cmd("findmnt", ["-n", "-o", "SOURCE"]).arg(&disk.path))?;
        disk.device = device.trim().trim_start_matches("/dev/").to_string();
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that have reached the device, the journal's included.
    pub(super) fn written(&self) -> Result<u64> {
        sh::run(sh::cmd("sync", ["--file-system"]).arg(&self.path))?;
        let stat = fs::read_to_string(format!("/sys/block/{}/stat", self.device))
            .with_context(|| format!("no statistics of {}", self.device))?;
        // The seventh number counts sectors of 512 bytes.
        let sectors = stat.split_whitespace().nth(6).and_then(|s| s.parse::<u64>().ok());
        Ok(sectors.context("statistics without sectors")? * 512)
    }

    pub(super) fn remove(self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&self) -> Result<()> {
        for folder in [&self.path, &self.memory] {
            for mount in sh::mounts_below(folder)? {
                sh::run(&mut sh::cmd("umount", [mount]))?;
            }
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}
