// SPDX-License-Identifier: Apache-2.0
//! Debian packages of third-party tools.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{debian, lab, sh};

/// What ISA-L is built with, what runs a bundle, and something to run.
const DEMO: &[&str] = &[
    "autoconf",
    "automake",
    "busybox-static",
    "crun",
    "libtool",
    "make",
    "nasm",
];

/// What makes the lab's images, judges ours in tests, and emulates machines.
const TEST: &[&str] = &[
    "apache2-utils",
    "attr",
    "buildah",
    "containerd",
    "curl",
    "debootstrap",
    "docker-registry",
    "e2fsprogs",
    "gnupg",
    "libcap2-bin",
    "nginx",
    "openssl",
    "podman",
    "python3",
    "python3-pip",
    "qemu-system-x86",
    "skopeo",
    "time",
    "tinyproxy-bin",
    "umoci",
    "xz-utils",
    "zstd",
];

/// Clients to compare with, and what measures them.
const BENCH: &[&str] = &["runc", "strace"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let level = arguments.first().map_or("test", String::as_str);
    packages(level)?;
    if level == "demo" {
        Ok(())
    } else {
        debian::erofs_utils()?;
        lab::make(&lab::default_folder(), lab::ALL)
    }
}

/// Installs what is missing for `demo`, `test` or `bench`; each includes the ones before it.
pub(crate) fn packages(level: &str) -> Result<()> {
    let wanted = match level {
        "demo" => DEMO.to_vec(),
        "test" => [DEMO, TEST].concat(),
        "bench" => [DEMO, TEST, BENCH].concat(),
        other => bail!("expected demo, test or bench: {other}"),
    };
    let missing: Vec<&str> = wanted.into_iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if sh::which("apt-get").is_none() {
        bail!("these Debian packages are needed, and this is no Debian: {list}");
    }
    if !sh::is_root() {
        bail!("run as root, or install these Debian packages first: {list}");
    }
    println!("installing: {list}");
    let _quiet = NoDaemons::new()?;
    let apt = || {
        let mut command = sh::cmd(
            "apt-get",
            ["-qq", "-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"],
        );
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let install = || {
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing)
            .status()
    };
    // The lists on the machine may do; where they are old or absent the first try fails.
    if !install().is_ok_and(|s| s.success()) {
        sh::run(apt().arg("update")).context("cannot reach the package mirror")?;
        if !install().is_ok_and(|s| s.success()) {
            bail!("apt-get could not install: {list}");
        }
    }
    Ok(())
}

fn installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Abbrev}", package]);
    query
        .output()
        .is_ok_and(|o| o.status.success() && o.stdout.starts_with(b"ii"))
}

/// While this lives, packages that bring a daemon do not start it.
struct NoDaemons(bool);

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoDaemons {
    fn new() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(NoDaemons(false));
        }
        fs::write(
            POLICY,
            "#!/bin/sh\n# 101: the action is forbidden by policy.\nexit 101\n",
        )?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(NoDaemons(true))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.0 {
            let _ = fs::remove_file(POLICY);
        }
    }
}
