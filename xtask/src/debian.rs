// SPDX-License-Identifier: Apache-2.0
//! Packages of any suite of Debian, fetched and unpacked beside the system and never installed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{lab, sh};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The suite whose programs judge ours.
const NEWEST: &str = "forky";

/// Fetches a package and of what it needs the packages of wanted names, and unpacks all into a folder.
pub(crate) fn fetch(suite: &str, package: &str, wanted: impl Fn(&str) -> bool, to: &Path) -> Result<()> {
    println!("fetching {package} of {suite}");
    let apt = Apt::new(suite)?;
    sh::run(apt.command("apt-get").args(["-qq", "update"]))?;
    let tree = sh::output(apt.command("apt-cache").args([
        "depends",
        "--recurse",
        "--no-recommends",
        "--no-suggests",
        "--no-conflicts",
        "--no-breaks",
        "--no-replaces",
        "--no-enhances",
        package,
    ]))?;
    // A package's own line is not indented, one that a package needs is.
    let own = |line: &&str| !line.starts_with([' ', '<', '|']);
    let packages: Vec<&str> = tree.lines().filter(own).filter(|name| wanted(name)).collect();
    let archives = apt.folder.join("packages");
    fs::create_dir_all(&archives)?;
    let mut download = apt.command("apt-get");
    sh::run(
        download
            .args(["-qq", "download"])
            .args(&packages)
            .current_dir(&archives),
    )?;
    fs::create_dir_all(to)?;
    for archive in fs::read_dir(&archives)? {
        sh::run(sh::cmd("dpkg-deb", ["--extract"]).arg(archive?.path()).arg(to))?;
    }
    sh::remove(&apt.folder)
}

/// The newest erofs-utils, for tests to judge images by: Debian 12's know neither small blocks nor other
/// devices. They run with the libraries of their own suite.
pub(crate) fn erofs_utils() -> Result<()> {
    let home = lab::default_folder().join("erofs-utils");
    if home.join("fsck.erofs").exists() {
        return Ok(());
    }
    let unfinished = home.with_extension("unfinished");
    sh::remove(&unfinished)?;
    let wanted = |name: &str| name == "erofs-utils" || name.starts_with("lib");
    fetch(NEWEST, "erofs-utils", wanted, &unfinished.join("root"))?;
    for tool in ["dump.erofs", "fsck.erofs", "mkfs.erofs"] {
        let script = unfinished.join(tool);
        fs::write(&script, starter(tool))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    }
    sh::remove(&home)?;
    fs::rename(&unfinished, &home)?;
    Ok(())
}

/// A script that starts a program with the loader and the libraries beside it.
fn starter(tool: &str) -> String {
    format!(
        "#!/bin/sh\n\
         root=$(dirname \"$(readlink -f \"$0\")\")/root/usr\n\
         exec \"$root/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\" \\\n  \
         --library-path \"$root/lib/x86_64-linux-gnu\" \"$root/bin/{tool}\" \"$@\"\n"
    )
}

/// apt with sources and a state of its own: of another suite, and nothing of the system's is changed.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str) -> Result<Self> {
        if sh::which("apt-get").is_none() || !Path::new(KEYRING).exists() {
            bail!("packages are fetched by Debian's apt and its keys, which are not here");
        }
        let folder = lab::default_folder().join("apt").join(suite);
        sh::remove(&folder)?;
        let (state, cache) = (folder.join("state"), folder.join("cache"));
        let sources = folder.join("sources.list");
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(cache.join("archives/partial"))?;
        let mirror = mirror()?;
        fs::write(
            &sources,
            format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"),
        )?;
        let folders = [
            ("Dir::State", state.as_path()),
            ("Dir::State::status", Path::new("/dev/null")),
            ("Dir::Cache", &cache),
            ("Dir::Etc::sourcelist", &sources),
            ("Dir::Etc::sourceparts", Path::new("/dev/null")),
        ];
        let mut options: Vec<String> = folders
            .iter()
            .map(|(name, path)| format!("{name}={}", path.display()))
            .collect();
        options.extend([
            "APT::Architecture=amd64".to_string(),
            "APT::Architectures=amd64".to_string(),
            "APT::Sandbox::User=root".to_string(),
            "Acquire::Languages=none".to_string(),
        ]);
        Ok(Apt { folder, options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = sh::cmd(program, [""; 0]);
        for option in &self.options {
            command.args(["-o", option]);
        }
        command
    }
}

/// The mirror that the system's own apt uses.
fn mirror() -> Result<String> {
    let mut query = sh::cmd(
        "apt-get",
        [
            "indextargets",
            "--format",
            "$(ORIGIN) $(REPO_URI)",
            "Created-By: Packages",
        ],
    );
    let targets = sh::output(&mut query).unwrap_or_default();
    let mut mirrors = targets
        .lines()
        .filter_map(|line| line.strip_prefix("Debian "))
        .filter(|uri| !uri.contains("security"));
    let mirror = mirrors
        .next()
        .context("the system's apt knows no mirror of Debian")?;
    Ok(mirror.to_string())
}
