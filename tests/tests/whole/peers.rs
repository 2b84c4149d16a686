// SPDX-License-Identifier: Apache-2.0
//! Trees as umoci and containerd make them, to compare.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::place::tool;

/// A listing, by name.
pub type Lines = BTreeMap<String, String>;

pub fn lines(tree: &str) -> Lines {
    tree.lines()
        .map(|line| match line.split_once(' ') {
            Some((name, rest)) => (name.to_owned(), rest.to_owned()),
            None => (line.to_owned(), String::new()),
        })
        .collect()
}

/// What umoci makes of an OCI layout; none where it refuses.
pub fn umoci(layout: &Path) -> Option<Lines> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let bundle = dir.path().join("bundle");
    let done = Command::new("umoci")
        .arg("unpack")
        .arg("--image")
        .arg(format!("{}:latest", layout.display()))
        .arg(&bundle)
        .stderr(Stdio::null())
        .status()
        .expect("run umoci");
    done.success()
        .then(|| lines(&fixture::tree(bundle.join("rootfs"))))
}

/// A containerd of its own.
pub struct Containerd {
    dir: TempDir,
    child: Child,
}

impl Containerd {
    pub fn start() -> Containerd {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().display();
        let config = format!(
            "version = 2\nroot = \"{path}/root\"\nstate = \"{path}/state\"\n[grpc]\naddress = \"{path}/sock\"\n"
        );
        std::fs::write(dir.path().join("config.toml"), config).expect("config");
        let child = Command::new("containerd")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start containerd");
        let daemon = Containerd { dir, child };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !daemon
            .ctr()
            .arg("version")
            .output()
            .is_ok_and(|o| o.status.success())
        {
            assert!(Instant::now() < deadline, "containerd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        daemon
    }

    fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.dir.path().join("sock"));
        command
    }

    /// What it makes of an image of a plain-http registry; none where it refuses.
    pub fn tree(&self, image: &str) -> Option<Lines> {
        let pulled = self
            .ctr()
            .args(["images", "pull", "--plain-http", image])
            .output()
            .expect("run ctr");
        if !pulled.status.success() {
            return None;
        }
        let target = self.dir.path().join("mounted");
        std::fs::create_dir_all(&target).expect("a mount point");
        tool(self.ctr().args(["images", "mount", image]).arg(&target));
        let tree = lines(&fixture::tree(&target));
        tool(Command::new("umount").arg(&target));
        Some(tree)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fails where both peers say the same of a name and we say something else.
#[track_caller]
pub fn assert_agrees(image: &str, ours: &Lines, umoci: &Lines, containerd: &Lines) {
    let mut wrong = Vec::new();
    for (name, line) in umoci {
        // The root's own time is the moment of unpacking in either.
        if name != "." && containerd.get(name) == Some(line) && ours.get(name) != Some(line) {
            wrong.push(format!(
                "{name}\n  both {line}\n  we   {}",
                ours.get(name).map_or("nothing", |l| l)
            ));
        }
    }
    for (name, line) in ours {
        if !umoci.contains_key(name) && !containerd.contains_key(name) {
            wrong.push(format!("{name}\n  both nothing\n  we   {line}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{image}: {} differences\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}
