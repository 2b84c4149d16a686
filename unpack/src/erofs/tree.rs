// SPDX-License-Identifier: Apache-2.0
//! A tree in memory: names, files and directories without content.
//!
//! An entry costs about 110 bytes and its name: a million of them stay below 150 MB. Nothing is given
//! back before the tree is: what a layer makes and replaces again is bounded too, by `max_bytes`.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::{Error, Limits};

use super::nodes::NONE;
pub(super) use super::nodes::{Bytes, Child, Content, Dir, Ino, Inode, Meta, NAME_MAX, Named, Node, ROOT};

/// About what the table takes for one name besides the entry and its bytes.
const SLOT: usize = 8;
/// The same for a name in a set.
const HIDDEN: usize = 64;

#[derive(Debug)]
pub(super) struct Tree {
    pub(super) inodes: Vec<Inode>,
    pub(super) dirs: Vec<Node>,
    entries: Vec<Named>,
    /// Entries by directory and name.
    table: HashTable<u32>,
    hasher: RandomState,
    bytes: Vec<u8>,
    /// Names of which the layer hides what lower layers have.
    hidden: HashSet<(Dir, Box<[u8]>)>,
    max_depth: usize,
    max_bytes: u64,
    counted: u64,
}

impl Tree {
    pub(super) fn new(limits: &Limits) -> Self {
        let root = Node {
            own: true,
            ..Node::new(ROOT, NONE, 0, 0)
        };
        Tree {
            inodes: vec![Inode {
                meta: Meta::IMPLIED,
                content: Content::Directory(ROOT),
            }],
            dirs: vec![root],
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: RandomState::new(),
            bytes: Vec::new(),
            hidden: HashSet::new(),
            max_depth: limits.depth,
            max_bytes: limits.record_bytes,
            counted: 0,
        }
    }

    pub(super) fn dir(&self, dir: Dir) -> &Node {
        // A `Dir` is only made together with its node, and nodes are never taken out; so it is with
        // inodes and entries.
        &self.dirs[dir.0 as usize]
    }

    pub(super) fn dir_mut(&mut self, dir: Dir) -> &mut Node {
        &mut self.dirs[dir.0 as usize]
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        &self.inodes[ino as usize]
    }

    pub(super) fn set_meta(&mut self, dir: Dir, meta: Meta) {
        let ino = self.dir(dir).ino;
        self.inodes[ino as usize].meta = meta;
    }

    pub(super) fn text(&self, bytes: Bytes) -> &[u8] {
        &self.bytes[bytes.at as usize..][..bytes.length as usize]
    }

    pub(super) fn entry(&self, entry: u32) -> &Named {
        &self.entries[entry as usize]
    }

    pub(super) fn child(&self, dir: Dir, name: &[u8]) -> Option<Child> {
        let found = self
            .table
            .find(self.hash(dir, name), |entry| self.is(*entry, dir, name))?;
        Some(self.entry(*found).child)
    }

    /// The entries of a directory, the newest first.
    pub(super) fn children(&self, dir: Dir) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.dir(dir).last;
        std::iter::from_fn(move || {
            while next != NONE {
                let at = next;
                let entry = self.entry(at);
                next = entry.before;
                if !entry.gone {
                    return Some(at);
                }
            }
            None
        })
    }

    /// The directories in a directory.
    pub(super) fn directories(&self, dir: Dir) -> Vec<Dir> {
        let children = self.children(dir).map(|entry| self.entry(entry).child);
        children
            .filter_map(|child| match child {
                Child::Directory(dir) => Some(dir),
                _ => None,
            })
            .collect()
    }

    pub(super) fn add_inode(&mut self, meta: Meta, content: Content) -> Result<Ino, Error> {
        self.remember(size_of::<Inode>())?;
        let ino = place(self.inodes.len())?;
        self.inodes.push(Inode { meta, content });
        Ok(ino)
    }

    pub(super) fn add_text(&mut self, text: &[u8]) -> Result<Bytes, Error> {
        self.remember(text.len())?;
        let at = place(self.bytes.len())?;
        self.bytes.extend_from_slice(text);
        Ok(Bytes {
            at,
            length: place(text.len())?,
        })
    }

    /// Gives a name its meaning; what had the name before is removed.
    pub(super) fn set(&mut self, dir: Dir, name: &[u8], child: Child) -> Result<(), Error> {
        self.remove(dir, name);
        self.insert(dir, name, child).map(drop)
    }

    fn insert(&mut self, dir: Dir, name: &[u8], child: Child) -> Result<u32, Error> {
        if name.len() > NAME_MAX {
            return Err(Error::refused("a part of its name is longer than 255 bytes"));
        }
        self.remember(size_of::<Named>() + SLOT)?;
        let entry = Named {
            dir,
            name: self.add_text(name)?,
            child,
            before: self.dir(dir).last,
            gone: false,
        };
        let at = place(self.entries.len())?;
        self.entries.push(entry);
        self.dir_mut(dir).last = at;
        let hash = self.hash(dir, name);
        let Tree {
            table,
            entries,
            bytes,
            hasher,
            ..
        } = self;
        table.insert_unique(hash, at, |entry| {
            let Named { dir, name, .. } = entries[*entry as usize];
            hasher.hash_one((dir, &bytes[name.at as usize..][..name.length as usize]))
        });
        Ok(at)
    }

    /// Makes a directory under a name that is free.
    pub(super) fn add_dir(&mut self, parent: Dir, name: &[u8]) -> Result<Dir, Error> {
        let depth = self.dir(parent).depth.saturating_add(1);
        if depth as usize > self.max_depth {
            return Err(Error::limit("depth", self.max_depth as u64));
        }
        self.remember(size_of::<Node>())?;
        let dir = Dir(place(self.dirs.len())?);
        let named = self.insert(parent, name, Child::Directory(dir))?;
        let ino = self.add_inode(Meta::IMPLIED, Content::Directory(dir))?;
        self.dirs.push(Node::new(parent, named, ino, depth));
        Ok(dir)
    }

    /// Takes a name away, and everything below it if it was a directory.
    pub(super) fn remove(&mut self, dir: Dir, name: &[u8]) -> Option<Child> {
        let hash = self.hash(dir, name);
        let Tree {
            table,
            entries,
            bytes,
            ..
        } = self;
        let same = |entry: &u32| {
            let named = &entries[*entry as usize];
            named.dir == dir && bytes[named.name.at as usize..][..named.name.length as usize] == *name
        };
        let (at, _) = table.find_entry(hash, same).ok()?.remove();
        entries[at as usize].gone = true;
        let child = entries[at as usize].child;
        if let Child::Directory(gone) = child {
            self.dir_mut(gone).removed = true;
            self.empty(gone);
        }
        Some(child)
    }

    /// Takes everything out of a directory.
    pub(super) fn empty(&mut self, dir: Dir) {
        let mut todo = vec![dir];
        while let Some(dir) = todo.pop() {
            let mut next = std::mem::replace(&mut self.dir_mut(dir).last, NONE);
            while next != NONE {
                let Named {
                    name,
                    child,
                    before,
                    gone,
                    ..
                } = *self.entry(next);
                if !gone {
                    self.entries[next as usize].gone = true;
                    let hash = self.hash(dir, self.text(name));
                    if let Ok(found) = self.table.find_entry(hash, |entry| *entry == next) {
                        found.remove();
                    }
                    if let Child::Directory(inner) = child {
                        self.dir_mut(inner).removed = true;
                        todo.push(inner);
                    }
                }
                next = before;
            }
        }
    }

    pub(super) fn hide(&mut self, dir: Dir, name: &[u8]) -> Result<(), Error> {
        self.remember(HIDDEN + name.len())?;
        self.hidden.insert((dir, name.into()));
        Ok(())
    }

    /// Whether the layer keeps a name from showing anything of lower layers.
    pub(super) fn is_alone(&self, dir: Dir, name: &[u8]) -> bool {
        self.dir(dir).alone || self.is_hidden(dir, name)
    }

    pub(super) fn is_hidden(&self, dir: Dir, name: &[u8]) -> bool {
        !self.hidden.is_empty() && self.hidden.contains(&(dir, Box::from(name)))
    }

    /// Marks a directory and those above it as the layer's own.
    pub(super) fn own(&mut self, mut dir: Dir) {
        while !std::mem::replace(&mut self.dir_mut(dir).own, true) {
            dir = self.dir(dir).parent;
        }
    }

    /// The name of a directory in its parent; the root has none.
    pub(super) fn name(&self, dir: Dir) -> &[u8] {
        match self.dir(dir).named {
            NONE => b"",
            entry => self.text(self.entry(entry).name),
        }
    }

    /// The path from the root, without a slash in front.
    pub(super) fn path(&self, dir: Dir) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != ROOT {
            names.push(self.name(at));
            at = self.dir(at).parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path of a name in a directory.
    pub(super) fn path_of(&self, dir: Dir, name: &[u8]) -> Vec<u8> {
        let mut path = self.path(dir);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// Counts memory, never back.
    pub(super) fn remember(&mut self, bytes: usize) -> Result<(), Error> {
        self.counted = self.counted.saturating_add(bytes as u64);
        match self.counted > self.max_bytes {
            true => Err(Error::limit("record_bytes", self.max_bytes)),
            false => Ok(()),
        }
    }

    fn is(&self, entry: u32, dir: Dir, name: &[u8]) -> bool {
        let entry = self.entry(entry);
        entry.dir == dir && self.text(entry.name) == name
    }

    fn hash(&self, dir: Dir, name: &[u8]) -> u64 {
        self.hasher.hash_one((dir, name))
    }
}

/// A place in one of the tree's lists, of which the last is not used.
fn place(length: usize) -> Result<u32, Error> {
    u32::try_from(length)
        .ok()
        .filter(|place| *place != NONE)
        .ok_or(Error::limit("record_bytes", u64::from(u32::MAX)))
}
