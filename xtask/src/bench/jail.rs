// SPDX-License-Identifier: Apache-2.0
//! Where the other clients run: what they keep outside of the folders that they are told to use lies
//! on the measured disk too, and their programs may be those of another root folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::disk::Disk;
use crate::sh;

/// The list of blobs that skopeo and podman keep for all their storages, in a file synced at each change.
const CACHE: &str = "/var/lib/containers/cache";

const SCRIPT: &str = r#"
set -e
root=$1 disk=$2 images=$3 cache=$4
mkdir -p "$disk/cache" "$root$cache"
if [ -n "$root" ]; then
  for folder in /proc /sys /dev; do mount --rbind "$folder" "$root$folder"; done
  for folder in "$disk" "$images"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
  done
fi
mount --bind "$disk/cache" "$root$cache"
"#;

/// A mount name space that stays while it has a name, and is gone with the disk.
#[derive(Debug)]
pub(super) struct Jail {
    name: PathBuf,
    root: Option<PathBuf>,
}

impl Jail {
    pub(super) fn new(disk: &Disk, root: Option<&Path>, images: &Path) -> Result<Self> {
        let folder = disk.base().join("jail");
        fs::create_dir_all(&folder)?;
        // The kernel takes names of name spaces only where mounts do not spread.
        sh::run(sh::cmd("mount", ["-t", "tmpfs", "tmpfs"]).arg(&folder))?;
        sh::run(sh::cmd("mount", ["--make-private"]).arg(&folder))?;
        let name = folder.join("mounts");
        fs::write(&name, "")?;
        let mut option = std::ffi::OsString::from("--mount=");
        option.push(&name);
        let mut unshare = sh::cmd("unshare", [option]);
        unshare.args(["--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        unshare.arg(root.unwrap_or(Path::new("")));
        unshare.arg(disk.path()).arg(images).arg(CACHE);
        sh::run(&mut unshare).context("cannot make a mount name space")?;
        Ok(Jail {
            name,
            root: root.map(Path::to_path_buf),
        })
    }

    /// A command that becomes the program, without a process of its own beside it.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut option = std::ffi::OsString::from("--mount=");
        option.push(&self.name);
        let mut command = sh::cmd("nsenter", [option]);
        if let Some(root) = &self.root {
            command.arg("chroot").arg(root);
        }
        command.arg(program);
        command
    }
}
