// SPDX-License-Identifier: Apache-2.0
//! Kernels of Debian's suites, fetched and unpacked beside the system and never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::{debian, sh};

/// Whose kernels are booted: an old one that many run, and the newest there is.
pub(crate) const SUITES: &[&str] = &["bookworm", "forky"];

/// Needs another package of each release.
const PACKAGE: &str = "linux-image-cloud-amd64";
const ENDING: &str = "-cloud-amd64";

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
            sh::remove(&unfinished)?;
            // All of a kernel's packages have names of this form.
            let wanted = |name: &str| name.starts_with("linux-") && name.ends_with(ENDING);
            debian::fetch(suite, PACKAGE, wanted, &unfinished)
                .with_context(|| format!("cannot get the kernel of {suite}"))?;
            Kernel::find(&unfinished)?;
            sh::remove(&home)?;
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
