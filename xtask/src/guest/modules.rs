// SPDX-License-Identifier: Apache-2.0
//! Kernel modules, each after those it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::sh;

/// The modules of one kernel by name.
#[derive(Debug)]
pub(crate) struct Modules {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

/// A module as `insmod` takes it.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Modules {
    /// Reads what is in a folder such as `/lib/modules/6.1.0`.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let list = folder.join("modules.builtin");
        let builtin = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut modules = Modules {
            files: BTreeMap::new(),
            builtin: builtin.lines().filter_map(|line| name(Path::new(line))).collect(),
        };
        modules.find(&folder.join("kernel"))?;
        Ok(modules)
    }

    fn find(&mut self, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                self.find(&path)?;
            } else if let Some(name) = name(&path) {
                self.files.insert(name, path);
            }
        }
        Ok(())
    }

    /// The named modules in an order in which they can be loaded; without those that the kernel holds itself.
    pub(crate) fn in_order(&self, names: &[&str]) -> Result<Vec<Module>> {
        let mut order = Order {
            modules: self,
            seen: BTreeSet::new(),
            found: Vec::new(),
        };
        for name in names {
            order.visit(&plain(name), true)?;
        }
        Ok(order.found)
    }
}

struct Order<'a> {
    modules: &'a Modules,
    seen: BTreeSet<String>,
    found: Vec<Module>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str, required: bool) -> Result<()> {
        if self.modules.builtin.contains(name) || !self.seen.insert(name.to_string()) {
            return Ok(());
        }
        let Some(path) = self.modules.files.get(name) else {
            if required {
                bail!("this kernel has no module: {name}");
            }
            return Ok(());
        };
        let bytes = read(path)?;
        let needs = Needs::of(&bytes);
        // Soft ones may stand for something that is compiled in under another name.
        needs.soft.iter().try_for_each(|name| self.visit(name, false))?;
        needs.hard.iter().try_for_each(|name| self.visit(name, true))?;
        self.found.push(Module {
            name: name.to_string(),
            bytes,
        });
        Ok(())
    }
}

/// What a module says about itself, in its section `.modinfo`.
#[derive(Debug, Default, PartialEq)]
struct Needs {
    hard: Vec<String>,
    soft: Vec<String>,
}

impl Needs {
    /// The section is a row of `key=value`, each ended by a zero, and nothing else in a module looks like these.
    fn of(module: &[u8]) -> Self {
        let mut needs = Needs::default();
        for text in module
            .split(|&b| b == 0)
            .filter_map(|part| str::from_utf8(part).ok())
        {
            if let Some(list) = text.strip_prefix("depends=") {
                needs
                    .hard
                    .extend(list.split(',').filter(|n| !n.is_empty()).map(plain));
            } else if let Some(list) = text.strip_prefix("softdep=pre:") {
                let before = list.split("post:").next().unwrap_or_default();
                needs.soft.extend(before.split_whitespace().map(plain));
            }
        }
        needs
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut unpack = sh::cmd(tool, ["-d", "-c", "-q"]);
    unpack.arg(path);
    let output = unpack
        .output()
        .with_context(|| format!("cannot run {}", sh::show(&unpack)))?;
    if !output.status.success() {
        bail!("{}: {}", sh::show(&unpack), output.status);
    }
    Ok(output.stdout)
}

/// `kernel/fs/erofs/erofs.ko.xz` is the module `erofs`.
fn name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| plain(name))
}

/// Names are told with either.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::{Modules, Needs, name};

    #[test]
    fn a_module_tells_what_it_needs() {
        let section =
            b"\x7fELF\x01\0license=GPL\0depends=virtio-ring,virtio\0softdep=pre: crc32c post: x\0\xff";
        let needs = Needs::of(section);
        assert_eq!(needs.hard, ["virtio_ring", "virtio"]);
        assert_eq!(needs.soft, ["crc32c"]);
        assert_eq!(Needs::of(b"\0depends=\0"), Needs::default());
    }

    #[test]
    fn files_are_known_by_their_names_whatever_packs_them() {
        let known = |path| name(Path::new(path));
        assert_eq!(known("kernel/drivers/md/dm-mod.ko"), Some("dm_mod".to_string()));
        assert_eq!(known("dm-mod.ko.xz"), Some("dm_mod".to_string()));
        assert_eq!(known("modules.dep"), None);
    }

    #[test]
    fn each_comes_once_after_those_it_needs_and_what_is_built_in_does_not() {
        let folder = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        let needs = [
            ("net", "ring,failover"),
            ("failover", ""),
            ("ring", "core"),
            ("blk", "ring"),
        ];
        let mut files = BTreeMap::new();
        for (name, list) in needs {
            let path = folder.join(format!("{name}.ko"));
            std::fs::write(&path, format!("\0depends={list}\0")).expect("module");
            files.insert(name.to_string(), path);
        }
        let modules = Modules {
            files,
            builtin: ["core".to_string()].into(),
        };
        let order = modules.in_order(&["net", "blk", "core"]);
        let missing = modules.in_order(&["absent"]);
        std::fs::remove_dir_all(&folder).expect("remove");
        let order: Vec<String> = order.expect("all there").into_iter().map(|m| m.name).collect();
        assert_eq!(order, ["ring", "failover", "net", "blk"]);
        assert_eq!(
            missing.expect_err("not there").to_string(),
            "this kernel has no module: absent"
        );
    }
}
