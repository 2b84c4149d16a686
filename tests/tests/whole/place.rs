// SPDX-License-Identifier: Apache-2.0
//! A place to run the command line in, and what came of it.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The program as `cargo test --workspace` has built it, or the one that `IMAGE_CLIENT_BIN` names.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("IMAGE_CLIENT_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("this test's program");
    path.pop();
    path.pop();
    path.push("image-client");
    assert!(path.exists(), "not built: {}", path.display());
    path
}

/// A temporary folder with a store; whatever is mounted below it goes with it.
pub struct Place {
    dir: TempDir,
}

/// What a run printed and how it ended.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Place {
            dir: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The program with a subcommand and the options that tests share.
    pub fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(program());
        command
            .arg(subcommand)
            .arg("--work-dir")
            .arg(self.store())
            .stdin(Stdio::null());
        if matches!(subcommand, "pull" | "unpack" | "inspect") {
            command.args(["--insecure-accept-any-image", "--progress", "none"]);
        }
        command
    }

    pub fn run<A: Into<OsString>>(&self, subcommand: &str, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(
            self.command(subcommand)
                .args(arguments.into_iter().map(Into::into)),
        )
    }

    /// Pulls into a bundle of this name; the options come first.
    pub fn pull(&self, options: &[&str], image: &str, bundle: &str) -> Run {
        let mut command = self.command("pull");
        command.args(options).arg(image).arg(self.path(bundle));
        Run::of(&mut command)
    }

    pub fn rootfs(&self, bundle: &str) -> PathBuf {
        self.path(bundle).join("rootfs")
    }

    /// What is mounted below the place.
    pub fn mounts(&self) -> Vec<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
        let below = format!("{}/", self.dir.path().display());
        let mut found: Vec<String> = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .filter(|target| target.starts_with(&below))
            .map(str::to_owned)
            .collect();
        found.reverse();
        found
    }

    /// Fails unless nothing is mounted, staged or half made.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.mounts(), Vec::<String>::new(), "something is still mounted");
        let staging = self.store().join("staging");
        if staging.exists() {
            let left: Vec<_> = std::fs::read_dir(&staging)
                .expect("staging")
                .map(|e| e.expect("entry").path())
                .collect();
            assert!(left.is_empty(), "left in staging: {left:?}");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for target in self.mounts() {
            let _ = Command::new("umount").args(["-l", &target]).status();
        }
    }
}

impl Run {
    pub fn of(command: &mut Command) -> Run {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("run the program");
        Run {
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The run failed with exit status 1 and its message holds each of these.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> Run {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in:\n{}", self.stderr);
        }
        self
    }
}

/// The ways to mount layers that work in temporary folders here; says which does not.
pub fn snapshotters(test: &str) -> Vec<&'static str> {
    let image = fixture::Image::parse("f /a \"1\"").build();
    let works = |name: &&str| {
        let place = Place::new();
        let layout_of_one = place.path("image");
        fixture::write_layout(&layout_of_one, &[("latest", &image)]).expect("a layout");
        let run = place.pull(&["--snapshotter", name], &layout(&layout_of_one), "bundle");
        let works = run.code == Some(0);
        if !works {
            fixture::skip(test, &format!("{name} does not work here: {}", run.stderr));
        }
        works
    };
    ["erofs", "overlay", "copy"].into_iter().filter(works).collect()
}

/// Whether a tool is here; says so if not.
pub fn has_tool(test: &str, tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|dir| dir.join(tool).exists())
        || ["/usr/sbin", "/sbin"]
            .iter()
            .any(|dir| Path::new(dir).join(tool).exists());
    if !found {
        fixture::skip(test, &format!("no {tool} here"));
    }
    found
}

/// Runs a tool that has to succeed.
#[track_caller]
pub fn tool(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("start a tool");
    if !output.status.success() {
        let _ = std::io::stderr().write_all(&output.stderr);
        panic!("{command:?}: {}", output.status);
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// How an OCI layout is named on the command line, by its tag `latest`.
pub fn layout(folder: &Path) -> String {
    format!("oci-layout:{}:latest", folder.display())
}
