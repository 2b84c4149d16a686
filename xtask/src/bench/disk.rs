// SPDX-License-Identifier: Apache-2.0
//! A file system that nothing has used, in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::sh;

/// Room for the largest image and a client that keeps it twice. Memory is taken only as it is written.
const SIZE: &str = "12G";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Journalled, in a file.
    Ext4,
    Tmpfs,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Ext4 => "ext4",
            Kind::Tmpfs => "tmpfs",
        }
    }
}

#[derive(Debug)]
pub(super) struct Disk {
    base: PathBuf,
    path: PathBuf,
    /// The block device, where there is one.
    device: Option<String>,
}

impl Disk {
    pub(super) fn new(kind: Kind) -> Result<Self> {
        let base = sh::target("bench");
        fs::create_dir_all(&base)?;
        let base = base.canonicalize()?;
        let (memory, path) = (base.join("memory"), base.join("disk"));
        let mut disk = Disk {
            base,
            path,
            device: None,
        };
        disk.unmount()?;
        fs::create_dir_all(&memory)?;
        fs::create_dir_all(&disk.path)?;
        match kind {
            Kind::Tmpfs => tmpfs(&disk.path)?,
            Kind::Ext4 => {
                tmpfs(&memory)?;
                let file = memory.join("ext4");
                sh::run(sh::cmd("truncate", ["--size", SIZE]).arg(&file))?;
                // Lazy tables are written by a kernel thread, in the middle of what is measured, unless told
                // not to be.
                sh::run(sh::cmd("mkfs.ext4", ["-q", "-E", "lazy_itable_init=1"]).arg(&file))?;
                let mut mount = sh::cmd("mount", ["-o", "loop,noinit_itable"]);
                sh::run(mount.arg(&file).arg(&disk.path))?;
                let device = sh::output(sh::cmd("findmnt", ["-n", "-o", "SOURCE"]).arg(&disk.path))?;
                disk.device = Some(device.trim().trim_start_matches("/dev/").to_string());
            }
        }
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything has reached the device; returns the seconds that it took.
    pub(super) fn sync(&self) -> Result<f64> {
        let start = Instant::now();
        sh::run(sh::cmd("sync", ["--file-system"]).arg(&self.path))?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Bytes that have reached the device, the journal's included; none where memory is the disk.
    pub(super) fn written(&self) -> Result<Option<u64>> {
        let Some(device) = &self.device else {
            return Ok(None);
        };
        let stat = fs::read_to_string(format!("/sys/block/{device}/stat"))
            .with_context(|| format!("no statistics of {device}"))?;
        // The seventh number counts sectors of 512 bytes.
        let sectors = stat.split_whitespace().nth(6).and_then(|s| s.parse::<u64>().ok());
        Ok(Some(sectors.context("statistics without sectors")? * 512))
    }

    pub(super) fn remove(self) -> Result<()> {
        self.unmount()
    }

    fn unmount(&self) -> Result<()> {
        // The disk's file lies in the memory.
        for folder in ["disk", "memory"] {
            for mount in sh::mounts_below(&self.base.join(folder))? {
                umount(&mount)?;
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

fn tmpfs(folder: &Path) -> Result<()> {
    sh::run(sh::cmd("mount", ["-t", "tmpfs", "-o", "mode=0700,size=100%", "tmpfs"]).arg(folder))
}

/// A loop device, or a name space that has just lost its last process, is given up in the background.
fn umount(mount: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !sh::succeeds(sh::cmd("umount", [mount]).arg("--quiet")) {
        if Instant::now() > deadline {
            return sh::run(&mut sh::cmd("umount", [mount]));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
