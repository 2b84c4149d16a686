// SPDX-License-Identifier: Apache-2.0
//! Kernels of Debian's suites, fetched and unpacked beside the system and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// Whose kernels are booted: an old one that many run, and the newest there is.
pub(crate) const SUITES: &[&str] = &["bookworm", "forky"];

/// Needs another package of each release; all of a kernel's packages end like this.
const PACKAGE: &str = "linux-image-cloud-amd64";
const ENDING: &str = "-cloud-amd64";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MIRROR: &str = "http://deb.debian.org/debian";

/// A kernel that can be booted.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` tells it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// Its folder of modules.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// The kernel of a suite, fetched if it is not there or if a fresh one is asked for.
    pub(crate) fn of(suite: &str, fresh: bool) -> Result<Self> {
        let home = super::folder().join("kernels").join(suite);
        if fresh || !home.exists() {
            let unfinished = home.with_extension("unfinished");
            remove(&unfinished)?;
            fetch(suite, &unfinished).with_context(|| format!("cannot get the kernel of {suite}"))?;
            Kernel::find(&unfinished)?;
            remove(&home)?;
            fs::rename(&unfinished, &home)?;
        }
        Kernel::find(&home)
    }

    /// Older packages have all in `/boot` and `/lib`, newer ones in `/usr/lib`.
    fn find(root: &Path) -> Result<Self> {
        let mut folders = ["lib/modules", "usr/lib/modules"]
            .iter()
            .filter_map(|place| fs::read_dir(root.join(place)).ok())
            .flatten()
            .map_while(Result::ok);
        let modules = folders
            .next()
            .with_context(|| format!("no modules in {}", root.display()))?;
        let release = modules.file_name().to_string_lossy().into_owned();
        let modules = modules.path();
        let images = [
            root.join("boot").join(format!("vmlinuz-{release}")),
            modules.join("vmlinuz"),
        ];
        let image = images.into_iter().find(|path| path.is_file());
        Ok(Kernel {
            image: image.with_context(|| format!("no kernel image in {}", root.display()))?,
            release,
            modules,
        })
    }

    /// Whether it is of this version or a later one.
    pub(crate) fn at_least(&self, version: (u32, u32)) -> bool {
        let mut numbers = self
            .release
            .split(|c: char| !c.is_ascii_digit())
            .map_while(|n| n.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version
    }
}

/// Fetches and unpacks a suite's kernel packages.
fn fetch(suite: &str, to: &Path) -> Result<()> {
    println!("guest: fetching the kernel of {suite}");
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
        PACKAGE,
    ]))?;
    // A package's own line is not indented, one that a package needs is.
    let packages: Vec<&str> = tree
        .lines()
        .filter(|line| line.starts_with("linux-") && line.ends_with(ENDING))
        .collect();
    let archives = apt.folder.join("packages");
    fs::create_dir_all(&archives)?;
    sh::run(
        apt.command("apt-get")
            .args(["-qq", "download"])
            .args(&packages)
            .current_dir(&archives),
    )?;
    fs::create_dir_all(to)?;
    for archive in fs::read_dir(&archives)? {
        sh::run(sh::cmd("dpkg-deb", ["--extract"]).arg(archive?.path()).arg(to))?;
    }
    remove(&apt.folder)
}

/// apt with sources and a state of its own: of another suite, and nothing of the system's is changed.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str) -> Result<Self> {
        if sh::which("apt-get").is_none() || !Path::new(KEYRING).exists() {
            bail!("kernels are fetched by Debian's apt and its keys, which are not here");
        }
        let folder = super::folder().join("apt").join(suite);
        remove(&folder)?;
        let (state, cache) = (folder.join("state"), folder.join("cache"));
        let sources = folder.join("sources.list");
        fs::create_dir_all(state.join("lists/partial"))?;
        fs::create_dir_all(cache.join("archives/partial"))?;
        let mirror = mirror();
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
fn mirror() -> String {
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
    mirrors.next().unwrap_or(MIRROR).to_string()
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn versions_are_compared_as_numbers() {
        let kernel = |release: &str| Kernel {
            release: release.to_string(),
            image: "".into(),
            modules: "".into(),
        };
        assert!(!kernel("6.1.0-50-cloud-amd64").at_least((6, 12)));
        assert!(kernel("6.12.1").at_least((6, 12)));
        assert!(kernel("7.2.12+deb14-cloud-amd64").at_least((6, 12)));
    }
}
