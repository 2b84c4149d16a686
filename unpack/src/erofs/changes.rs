// SPDX-License-Identifier: Apache-2.0
//! Applies a layer's entries to a tree in memory.
//!
//! The rules are those of [`crate::extract`], which makes files of the same entries; where both could
//! differ, a test compares them.

use crate::names::{AUFS, OPAQUE, WHITEOUT, components, is_below};
use crate::tar::{self, Entry, Kind};
use crate::{Error, Limits, Notes};

use super::tree::{Child, Content, Dir, Ino, Meta, ROOT, Tree};
use super::walk::{Gone, Missing};
use super::xattrs::Xattrs;

/// The longest target of a symbolic link (PATH_MAX without its NUL).
const TARGET_MAX: usize = 4095;

/// A layer as far as its entries were read.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) tree: Tree,
    pub(super) xattrs: Xattrs,
    pub(super) dropped_xattrs: u64,
    limits: Limits,
    /// Targets of hard links to lower layers' files, in the order of their entries.
    links: Vec<Vec<u8>>,
}

impl Changes {
    pub(super) fn new(limits: &Limits) -> Self {
        Changes {
            tree: Tree::new(limits),
            xattrs: Xattrs::default(),
            dropped_xattrs: 0,
            limits: limits.clone(),
            links: Vec::new(),
        }
    }

    /// Takes one entry. `place` keeps the data of a file and says where: it is called for each file that
    /// counts, after everything else about the entry was found right.
    pub(super) fn entry(
        &mut self,
        entry: Entry,
        place: impl FnOnce(&Kind) -> Result<Content, Error>,
    ) -> Result<(), Error> {
        let components = components(&entry.name, &self.limits)?;
        let Some((name, parents)) = components.split_last() else {
            return match entry.kind {
                Kind::Directory => self.describe(ROOT, &entry.meta),
                _ => Err(Error::refused("the root is no directory")),
            };
        };
        if let Some(parent) = parents.iter().find(|parent| parent.starts_with(WHITEOUT)) {
            return match parent.starts_with(AUFS) {
                true => Ok(()),
                false => Err(Error::refused("it lies below the name of a whiteout")),
            };
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parents, name, hidden);
        }
        // Overlayfs takes this device for a whiteout, so no tree can show it; it opens nothing anyway.
        if entry.kind == Kind::CharDevice(0, 0) {
            return Ok(());
        }
        let dir = self.walk_making(parents)?;
        let content = match &entry.kind {
            Kind::Directory => {
                let made = self.make(dir, name)?;
                self.tree.own(made);
                return self.describe(made, &entry.meta);
            }
            Kind::HardLink(target) => return self.hard_link(dir, name, target),
            Kind::File { .. } => place(&entry.kind)?,
            Kind::Symlink(target) => {
                if target.contains(&0) {
                    return Err(Error::archive("a link's target holds a NUL byte"));
                }
                if target.len() > TARGET_MAX {
                    return Err(Error::refused("its target is longer than 4095 bytes"));
                }
                Content::Symlink(self.tree.add_text(target)?)
            }
            Kind::Fifo => Content::Fifo,
            Kind::CharDevice(major, minor) => Content::CharDevice(device(*major, *minor)),
            Kind::BlockDevice(major, minor) => Content::BlockDevice(device(*major, *minor)),
        };
        let meta = self.meta(&entry.meta, &content)?;
        let ino = self.tree.add_inode(meta, content)?;
        self.tree.set(dir, name, Child::File(ino))
    }

    /// The notes of the layer, and the targets of the links that the tree still has.
    pub(super) fn finish(&mut self) -> Result<Notes, Error> {
        let mut notes = Notes::default();
        for dir in (0..self.tree.dirs.len() as u32).map(Dir) {
            let node = self.tree.dir(dir);
            if node.removed {
                continue;
            }
            let (implied, whiteouts) = (!node.described && !node.new, node.whiteouts);
            let (opaque, ino) = (node.opaque, node.ino);
            for (wanted, paths) in [(implied, &mut notes.implied), (whiteouts, &mut notes.whiteouts)] {
                if wanted {
                    let path = self.tree.path(dir);
                    self.tree.remember(path.len())?;
                    paths.push(path);
                }
            }
            match (opaque, dir) {
                (false, _) => {}
                // Overlayfs has no opaque root: the layers below are left out instead.
                (true, ROOT) => notes.opaque_root = true,
                (true, _) => {
                    let meta = &mut self.tree.inodes[ino as usize].meta;
                    meta.xattrs = self.xattrs.opaque(meta.xattrs);
                }
            }
        }
        let mut links = Vec::new();
        for dir in (0..self.tree.dirs.len() as u32).map(Dir) {
            if self.tree.dir(dir).removed || self.links.is_empty() {
                continue;
            }
            for entry in self.tree.children(dir) {
                let entry = self.tree.entry(entry);
                let link = match entry.child {
                    Child::Link(link) => link,
                    // It shows by itself, unless its directory hides it.
                    Child::Lower(link) if self.tree.dir(dir).alone => link,
                    _ => continue,
                };
                links.push((link, self.tree.path_of(dir, self.tree.text(entry.name))));
            }
        }
        links.sort_unstable();
        let targets = &self.links;
        notes.links = links
            .into_iter()
            .map(|(link, path)| (path, targets[link as usize].clone()))
            .collect();
        Ok(notes)
    }

    fn describe(&mut self, dir: Dir, meta: &tar::Meta) -> Result<(), Error> {
        let meta = self.meta(meta, &Content::Directory(dir))?;
        self.tree.dir_mut(dir).described = true;
        self.tree.set_meta(dir, meta);
        Ok(())
    }

    fn meta(&mut self, meta: &tar::Meta, content: &Content) -> Result<Meta, Error> {
        let mut mode = match content {
            // Links have no permissions of their own.
            Content::Symlink(_) => 0o777,
            _ => (meta.mode & 0o7777) as u16,
        };
        let (xattrs, new, dropped) = self.xattrs.take(meta, content, &mut mode)?;
        self.dropped_xattrs = self.dropped_xattrs.saturating_add(dropped);
        if new {
            self.tree.remember(meta.weight().saturating_mul(2))?;
        }
        Ok(Meta {
            mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            xattrs,
        })
    }

    fn walk_making(&mut self, components: &[&[u8]]) -> Result<Dir, Error> {
        // `Missing::Make` always arrives.
        Ok(self.walk(components, Missing::Make)?.unwrap_or(ROOT))
    }

    /// The directory of this name, new or already there; anything else gives way.
    pub(super) fn make(&mut self, dir: Dir, name: &[u8]) -> Result<Dir, Error> {
        match self.tree.child(dir, name) {
            Some(Child::Directory(there)) => return Ok(there),
            None => {}
            Some(child) => {
                self.tree.remove(dir, name);
                // What it replaces has hidden what lower layers have under this name.
                if !matches!(child, Child::Lower(_)) {
                    self.tree.hide(dir, name)?;
                }
            }
        }
        let made = self.tree.add_dir(dir, name)?;
        let opaque = self.tree.is_hidden(dir, name);
        let new = self.tree.is_alone(dir, name);
        let node = self.tree.dir_mut(made);
        (node.opaque, node.new, node.alone) = (opaque, new, new);
        Ok(made)
    }

    fn hard_link(&mut self, dir: Dir, name: &[u8], target: &[u8]) -> Result<(), Error> {
        let parts = components(target, &self.limits)?;
        let Some((target_name, target_parents)) = parts.split_last() else {
            return Err(Error::refused("it is a hard link to the root"));
        };
        let at = match self.walk(target_parents, Missing::Stop)? {
            Ok(at) => at,
            Err(gone) => {
                let lower = self.lower_path(target_parents, target_name)?;
                return self.lower_target(dir, name, lower, gone);
            }
        };
        let lower = |tree: &Tree| tree.path_of(at, target_name);
        match self.tree.child(at, target_name) {
            // A directory that is only there for whiteouts; what the lower layer has is not known.
            Some(Child::Directory(there)) if !self.tree.dir(there).own => {
                self.lower_target(dir, name, lower(&self.tree), Gone::Missing)
            }
            Some(Child::Directory(_)) => Err(Error::refused("it is a hard link to a directory")),
            // A file is not to be replaced by itself.
            Some(Child::File(_)) if (at, *target_name) == (dir, name) => Ok(()),
            Some(Child::File(ino)) => self.link(dir, name, at, ino),
            // A link of this layer to a lower one's file, which may yet be replaced.
            Some(Child::Link(link)) => {
                let first = self.links[link as usize].clone();
                self.missing_target(dir, name, first, Gone::Missing)
            }
            Some(Child::Lower(_)) => self.lower_target(dir, name, lower(&self.tree), Gone::Missing),
            Some(Child::Whiteout) | None => {
                let gone = match self.tree.is_alone(at, target_name) {
                    true => Gone::Hidden,
                    false => Gone::Missing,
                };
                self.lower_target(dir, name, lower(&self.tree), gone)
            }
        }
    }

    fn link(&mut self, dir: Dir, name: &[u8], at: Dir, ino: Ino) -> Result<(), Error> {
        self.tree.remove(dir, name);
        // It was there, before the name was made free.
        if self.tree.dir(at).removed {
            return Err(Error::refused("it is a hard link to a file below its own name"));
        }
        self.tree.set(dir, name, Child::File(ino))
    }

    /// What a lower layer has under this path is the target, unless the link takes its directory's place.
    fn lower_target(&mut self, dir: Dir, name: &[u8], target: Vec<u8>, gone: Gone) -> Result<(), Error> {
        if is_below(&target, &self.tree.path_of(dir, name)) {
            return Err(Error::refused("it is a hard link to a file below its own name"));
        }
        self.missing_target(dir, name, target, gone)
    }

    /// The target may be what a lower layer has under this path; then the link is left to the notes.
    fn missing_target(&mut self, dir: Dir, name: &[u8], target: Vec<u8>, gone: Gone) -> Result<(), Error> {
        if gone == Gone::Hidden {
            return Err(Error::refused("it is a hard link to a file that is not there"));
        }
        let own = self.tree.path_of(dir, name);
        let itself = target == own;
        if !itself {
            self.tree.hide(dir, name)?;
        }
        self.tree.remember(size_of::<Vec<u8>>() + target.len())?;
        let link = self.links.len() as u32;
        self.links.push(target);
        let child = match itself {
            true => Child::Lower(link),
            false => Child::Link(link),
        };
        self.tree.set(dir, name, child)
    }

    /// A whiteout hides what lower layers have, never what its own layer has, wherever it stands.
    fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Error> {
        if name == OPAQUE {
            if let Ok(dir) = self.walk(parents, Missing::MakeIfLower)? {
                self.hide_below(dir);
            }
            return Ok(());
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::refused("it is a whiteout of no name"));
        }
        let Ok(dir) = self.walk(parents, Missing::MakeIfLower)? else {
            return Ok(());
        };
        if self.tree.dir(dir).alone {
            return Ok(());
        }
        self.tree.hide(dir, hidden)?;
        match self.tree.child(dir, hidden) {
            Some(Child::Directory(there)) if self.tree.dir(there).own => {
                self.tree.dir_mut(there).new = true;
                self.hide_below(there);
            }
            // A directory here was only passed on the way to other whiteouts.
            None | Some(Child::Directory(_)) => {
                self.tree.set(dir, hidden, Child::Whiteout)?;
                self.tree.dir_mut(dir).whiteouts = true;
            }
            // The layer's own file stays.
            Some(Child::File(_) | Child::Link(_) | Child::Lower(_) | Child::Whiteout) => {}
        }
        Ok(())
    }

    /// Makes a directory show nothing that this layer has not put there. Each directory is gone through
    /// once: from then on all that is in it is the layer's own.
    fn hide_below(&mut self, dir: Dir) {
        self.tree.dir_mut(dir).opaque = true;
        let mut todo = vec![dir];
        while let Some(dir) = todo.pop() {
            if std::mem::replace(&mut self.tree.dir_mut(dir).alone, true) {
                continue;
            }
            for inner in self.tree.directories(dir) {
                if self.tree.dir(inner).own {
                    self.tree.dir_mut(inner).new = true;
                    todo.push(inner);
                } else {
                    // It is only there for whiteouts in it.
                    let name = self.tree.name(inner).to_vec();
                    self.tree.remove(dir, &name);
                }
            }
        }
    }
}

/// A device's numbers as the kernel packs them (`new_encode_dev`); the archive's reader has checked that
/// they fit.
fn device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}
