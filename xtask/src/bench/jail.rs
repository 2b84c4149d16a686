// SPDX-License-Identifier: Apache-2.0
//! Where the other clients run: what they keep outside of the folders that they are told to use lies
//! on the measured disk too, and their programs may be those of another root folder.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::disk::Disk;
use crate::sh;

/// The list of blobs that skopeo and podman keep for all their storages, in a file synced at each change.
const CACHE: &str = "/var/lib/containers/cache";

const SCRIPT: &str = r#"
set -e
root=$1 disk=$2 image=$3 cache=$4
mkdir -p "$disk/cache" "$root$cache"
if [ -n "$root" ]; then
  for folder in /proc /sys /dev; do mount --rbind "$folder" "$root$folder"; done
  for folder in "$disk" "$image"; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
  done
fi
mount --bind "$disk/cache" "$root$cache"
echo ready
read -r end || true
"#;

const READY: &str = "ready";

/// A mount name space, and the process that keeps it while this lives.
#[derive(Debug)]
pub(super) struct Jail {
    keeper: Child,
    root: Option<PathBuf>,
}

impl Jail {
    pub(super) fn new(disk: &Disk, root: Option<&Path>, image: &Path) -> Result<Self> {
        let mut unshare = sh::cmd("unshare", ["--mount", "--propagation", "private"]);
        unshare.args(["sh", "-c", SCRIPT, "sh"]);
        unshare.arg(root.unwrap_or(Path::new("")));
        unshare.arg(disk.path()).arg(image).arg(CACHE);
        let keeper = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut jail = Jail {
            keeper: keeper.context("cannot run unshare")?,
            root: root.map(Path::to_path_buf),
        };
        let mut said = String::new();
        if let Some(output) = jail.keeper.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        if said.trim() != READY {
            bail!("cannot make a mount name space for other clients");
        }
        Ok(jail)
    }

    /// A command that becomes the program, without a process of its own beside it.
    pub(super) fn command(&self, program: &str) -> Command {
        let name = format!("--mount=/proc/{}/ns/mnt", self.keeper.id());
        let mut command = sh::cmd("nsenter", [name]);
        if let Some(root) = &self.root {
            command.arg("chroot").arg(root);
        }
        command.arg(program);
        command
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
