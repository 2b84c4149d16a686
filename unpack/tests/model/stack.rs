// SPDX-License-Identifier: Apache-2.0
//! Layers unpacked for overlayfs, each alone, put upon one another in memory as the kernel and the
//! notes say.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use unpack::Notes;

use super::tree::{self, Ino, Meta, Node, ROOT, Tree};

const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// One unpacked layer.
struct Sheet<'a> {
    root: &'a Path,
    notes: &'a Notes,
    /// Files of the layer by their inode numbers on disk.
    files: HashMap<u64, Ino>,
}

/// Puts a layer upon the tree of those below it.
///
/// # Errors
/// A hard link of the notes leads to no file.
pub(super) fn put(tree: &mut Tree, root: &Path, notes: &Notes) -> Result<(), String> {
    let below = tree.clone();
    let mut sheet = Sheet {
        root,
        notes,
        files: HashMap::new(),
    };
    if notes.opaque_root {
        clear(tree, ROOT);
    }
    if !sheet.is_implied(b"") {
        *tree.meta(ROOT) = meta(root);
    }
    sheet.put_names(tree, ROOT, b"");
    let mut links: Vec<(&[u8], Ino)> = Vec::new();
    for (name, target) in &notes.links {
        let ino = find(&below, target).filter(|ino| !below.is_directory(*ino));
        let ino = ino.ok_or_else(|| format!("a link leads to no file: {}", name.escape_ascii()))?;
        links.push((name, ino));
    }
    for (name, ino) in links {
        let (parent, name) = name.split_at(name.iter().rposition(|b| *b == b'/').unwrap_or(0));
        let name = name.strip_prefix(b"/").unwrap_or(name);
        let mut at = ROOT;
        for part in parent.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            at = directory(tree, at, part);
        }
        tree.put(at, name, ino);
    }
    Ok(())
}

impl Sheet<'_> {
    fn is_implied(&self, path: &[u8]) -> bool {
        self.notes.implied.iter().any(|implied| implied == path)
    }

    fn on_disk(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    fn names(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = fs::read_dir(self.on_disk(path))
            .expect("read a directory")
            .map(|entry| entry.expect("an entry").file_name().as_bytes().to_vec())
            .collect();
        names.sort();
        names
    }

    /// Whether a directory is there for its whiteouts only, and makes none where there is none.
    fn is_hollow(&self, path: &[u8]) -> bool {
        let linked = |(name, _): &(Vec<u8>, Vec<u8>)| name.starts_with(&[path, b"/"].concat());
        self.is_implied(path)
            && !self.notes.links.iter().any(linked)
            && self.names(path).iter().all(|name| {
                let path = join(path, name);
                let stat = fs::symlink_metadata(self.on_disk(&path)).expect("metadata");
                is_whiteout(&stat) || (stat.is_dir() && self.is_hollow(&path))
            })
    }

    fn put_names(&mut self, tree: &mut Tree, at: Ino, path: &[u8]) {
        for name in self.names(path) {
            let path = join(path, &name);
            let disk = self.on_disk(&path);
            let stat = fs::symlink_metadata(&disk).expect("metadata");
            if is_whiteout(&stat) {
                tree.remove(at, &name);
            } else if stat.is_dir() {
                let lower = tree.child(at, &name).filter(|ino| tree.is_directory(*ino));
                if lower.is_none() && self.is_hollow(&path) {
                    continue;
                }
                let meta = meta(&disk);
                let opaque = xattr(&disk, OPAQUE).is_some();
                let ino = directory(tree, at, &name);
                if opaque {
                    clear(tree, ino);
                }
                if lower.is_none() || !self.is_implied(&path) {
                    *tree.meta(ino) = meta;
                }
                self.put_names(tree, ino, &path);
            } else {
                let ino = *self
                    .files
                    .entry(stat.ino())
                    .or_insert_with(|| tree.add(node(&disk, &stat), meta(&disk)));
                tree.put(at, &name, ino);
            }
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

fn clear(tree: &mut Tree, at: Ino) {
    for (name, _) in tree.names(at) {
        tree.remove(at, &name);
    }
}

fn directory(tree: &mut Tree, at: Ino, name: &[u8]) -> Ino {
    match tree.child(at, name) {
        Some(ino) if tree.is_directory(ino) => ino,
        _ => {
            let ino = tree.add(tree::directory(at), Meta::implied());
            tree.put(at, name, ino);
            ino
        }
    }
}

fn find(tree: &Tree, path: &[u8]) -> Option<Ino> {
    path.split(|b| *b == b'/')
        .try_fold(ROOT, |at, name| tree.child(at, name))
}

fn is_whiteout(stat: &fs::Metadata) -> bool {
    stat.file_type().is_char_device() && stat.rdev() == 0
}

fn node(path: &Path, stat: &fs::Metadata) -> Node {
    let device = || (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev()));
    let kind = stat.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path).expect("a link");
        Node::Symlink(target.as_os_str().as_bytes().to_vec())
    } else if kind.is_char_device() {
        Node::Character(device().0, device().1)
    } else if kind.is_block_device() {
        Node::Block(device().0, device().1)
    } else if kind.is_fifo() {
        Node::Fifo
    } else {
        Node::File(fs::read(path).expect("content"))
    }
}

/// What is on disk, but for what is said to overlayfs.
fn meta(path: &Path) -> Meta {
    let stat = fs::symlink_metadata(path).expect("metadata");
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..]).expect("attributes");
    let xattrs = names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty() && *name != OPAQUE && *name != b"security.selinux");
    Meta {
        mode: stat.mode() & 0o7777,
        uid: stat.uid().into(),
        gid: stat.gid().into(),
        mtime: (
            stat.mtime(),
            u32::try_from(stat.mtime_nsec()).expect("nanoseconds"),
        ),
        xattrs: xattrs
            .map(|name| (name.to_vec(), xattr(path, name).expect("an attribute")))
            .collect(),
    }
}

fn xattr(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}
