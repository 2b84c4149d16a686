// SPDX-License-Identifier: Apache-2.0
//! Layers written as text, and listings of trees.
#![allow(dead_code, clippy::print_stderr)]

pub(crate) mod image;
pub(crate) mod place;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};
use snapshot::{Copy, Layer, Overlay, Snapshotter};
use tempfile::TempDir;

/// Says loudly when a test cannot run.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// A directory with layers, state and target.
pub(crate) struct Lab {
    pub(crate) temp: TempDir,
    pub(crate) layers: Vec<Layer>,
}

impl Lab {
    /// Makes layers, bottom first, from one script each.
    pub(crate) fn new(scripts: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let layers = scripts
            .iter()
            .enumerate()
            .map(|(number, script)| layer(&temp.path().join(format!("layer{number}")), script))
            .collect();
        Lab { temp, layers }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Mounts, lists, unmounts, and checks that nothing is left.
    pub(crate) fn tree(&self, snapshotter: &dyn Snapshotter) -> BTreeMap<String, String> {
        let (state, target) = (self.dir("state"), self.dir("target"));
        snapshotter
            .mount(&self.layers, &state, &target)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        let listing = list(&target);
        snapshotter.unmount(&state, &target).unwrap();
        self.assert_clean();
        listing
    }

    pub(crate) fn assert_clean(&self) {
        for name in ["state", "target"] {
            let left = fs::read_dir(self.dir(name))
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect::<Vec<_>>();
            assert!(left.is_empty(), "left in {name}: {left:?}");
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(
            !mounts.contains(self.temp.path().to_str().unwrap()),
            "still mounted"
        );
    }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// One layer from lines of `kind path arguments`; times count up from line to line.
///
/// `d` directory, `f` file, `s` symlink, `h` hard link in the layer, `w` whiteout, `o` opaque mark,
/// `p` fifo, `c` device; `mode`, `own`, `time`, `x` (attribute) change the path before them;
/// `implied` makes a directory and a note; `link` and `opaque-root` are notes.
fn layer(tree: &Path, script: &str) -> Layer {
    let mut layer = Layer {
        tree: tree.to_owned(),
        ..Layer::default()
    };
    fs::create_dir(tree).unwrap();
    let mut times = Vec::new();
    for (number, line) in script
        .lines()
        .map(str::trim)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let words = line.split(' ').collect::<Vec<_>>();
        let name = words.get(1).copied().unwrap_or_default().trim_start_matches('/');
        let path = tree.join(name);
        let arg = |at: usize| *words.get(at).unwrap_or_else(|| panic!("{line}"));
        match words[0] {
            "d" if name.is_empty() => {}
            "d" => fs::create_dir(&path).unwrap(),
            "f" => fs::write(&path, words[2..].join(" ")).unwrap(),
            "s" => symlink(arg(2), &path).unwrap(),
            "h" => fs::hard_link(tree.join(arg(2)), &path).unwrap(),
            "p" => mknod(&path, SFlag::S_IFIFO, Mode::from_bits_truncate(0o640), 0).unwrap(),
            "c" => mknod(
                &path,
                SFlag::S_IFCHR,
                Mode::from_bits_truncate(0o666),
                makedev(5, 1),
            )
            .unwrap(),
            "w" => {
                mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0).unwrap();
                let parent = Path::new(name).parent().unwrap().as_os_str().as_bytes().to_vec();
                if !layer.whiteouts.contains(&parent) {
                    layer.whiteouts.push(parent);
                }
            }
            "o" => lsetxattr(&path, c"trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap(),
            "x" => {
                let (key, value) = arg(2).split_once('=').unwrap();
                lsetxattr(&path, key, value.as_bytes(), XattrFlags::empty()).unwrap();
            }
            "mode" => {
                let mode = Mode::from_bits_truncate(u32::from_str_radix(arg(2), 8).unwrap());
                fchmodat(AT_FDCWD, &path, mode, FchmodatFlags::FollowSymlink).unwrap();
            }
            "own" => {
                let (uid, gid) = arg(2).split_once(':').unwrap();
                let (uid, gid) = (
                    Uid::from_raw(uid.parse().unwrap()),
                    Gid::from_raw(gid.parse().unwrap()),
                );
                fchownat(
                    AT_FDCWD,
                    &path,
                    Some(uid),
                    Some(gid),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                )
                .unwrap();
            }
            "implied" => {
                fs::create_dir_all(&path).unwrap();
                layer.implied.push(name.as_bytes().to_vec());
            }
            "link" => layer
                .links
                .push((name.as_bytes().to_vec(), arg(2).as_bytes().to_vec())),
            "opaque-root" => layer.opaque_root = true,
            other => panic!("unknown line: {other}"),
        }
        if matches!(words[0], "d" | "f" | "s" | "p" | "c" | "implied") {
            times.push((path, number as i64));
        }
    }
    for (path, number) in times.iter().rev() {
        let implied = layer
            .implied
            .iter()
            .any(|dir| tree.join(OsStr::from_bytes(dir)) == *path);
        let time = if implied {
            TimeSpec::new(0, 0)
        } else {
            TimeSpec::new(1_000_000 + number, number * 1001)
        };
        utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::NoFollowSymlink).unwrap();
    }
    layer
}

/// One line for every path of a tree. Sizes of directories and link counts are left out, since only
/// files of their own have them in an overlay; names of one file show as such.
pub(crate) fn list(root: &Path) -> BTreeMap<String, String> {
    let mut listing = BTreeMap::new();
    let mut first_name = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let Ok(meta) = path.symlink_metadata() else {
            listing.insert(name, "listed but not there".to_owned());
            continue;
        };
        let kind = meta.file_type();
        let text = if kind.is_dir() {
            let mut children = fs::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect::<Vec<_>>();
            children.sort_unstable_by(|a, b| b.cmp(a));
            pending.extend(children);
            "dir".to_owned()
        } else if kind.is_symlink() {
            format!("symlink -> {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_file() {
            let content = fs::read(&path).unwrap();
            let shown = if content.len() > 64 {
                format!("{} bytes", content.len())
            } else {
                content.escape_ascii().to_string()
            };
            format!("file {shown:?}")
        } else if kind.is_char_device() {
            format!("char {}", meta.rdev())
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            "other".to_owned()
        };
        let mut line = format!(
            "{text} {:o} {}:{} {}.{:09}{}",
            meta.mode() & 0o7777,
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            xattrs(&path),
        );
        if !kind.is_dir() {
            let first = first_name
                .entry((meta.dev(), meta.ino()))
                .or_insert_with(|| name.clone());
            if *first != name {
                line += &format!(" = {first}");
            }
        }
        listing.insert(name, line);
    }
    listing
}

fn xattrs(path: &Path) -> String {
    let mut names = vec![0; 4096];
    let length = llistxattr(path, &mut names[..]).unwrap();
    let mut names = names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect::<Vec<_>>();
    names.sort();
    let mut text = String::new();
    for name in names {
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, CString::new(name.clone()).unwrap(), &mut value[..]).unwrap();
        text += &format!(" {}={}", name.escape_ascii(), value[..length].escape_ascii());
    }
    text
}

/// Checks the names that the tree of `layers` has, and parts of some lines.
pub(crate) fn check(layers: &[&str], names: &str, lines: &[(&str, &str)]) {
    if !is_root() {
        return;
    }
    let lab = Lab::new(layers);
    let overlay = lab.tree(&Overlay);
    let copy = lab.tree(&Copy);
    for (name, line) in &copy {
        assert_eq!(overlay.get(name), Some(line), "overlay against copy: {name}");
    }
    let seen = overlay
        .keys()
        .filter(|name| !name.is_empty())
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(seen, names);
    for (name, want) in lines {
        let line = &overlay[*name];
        assert!(line.contains(want), "{name}: `{line}` has no `{want}`");
    }
}
