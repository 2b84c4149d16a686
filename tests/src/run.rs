// SPDX-License-Identifier: Apache-2.0
//! Bundles put to use.

use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs a bundle with crun under this name and returns what it printed; says so where crun is not there.
pub fn crun(test: &str, bundle: &Path, name: &str) -> Option<Output> {
    // crun refuses a machine with both versions of control groups; there it gets a view with the second only.
    let mut command = if Path::new("/sys/fs/cgroup/unified").exists() {
        let mut command = Command::new("unshare");
        let view =
            "mount --make-private /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
        command.args([
            "--mount",
            "--propagation",
            "unchanged",
            "sh",
            "-c",
            view,
            "sh",
            "crun",
        ]);
        command
    } else {
        Command::new("crun")
    };
    match Command::new("crun")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            crate::skip(test, "crun is not installed");
            return None;
        }
        _ => {}
    }
    command
        .args(["--cgroup-manager=disabled", "run", "--bundle"])
        .arg(bundle)
        .arg(name);
    Some(command.stdin(Stdio::null()).output().expect("run crun"))
}
