// SPDX-License-Identifier: Apache-2.0
//! Where everything of an image will stand, before any of it is written.

use std::cmp::Ordering;

use super::format::{
    COMPACT_BYTES, DIRENT_BYTES, EXTENDED_BYTES, INODE_UNIT, InodeFields, XATTR_HEADER, mode,
};
use super::format::{FLAT_INLINE, FLAT_PLAIN};
use super::tree::{Child, Content, Dir, Ino, ROOT, Tree};
use super::xattrs::Xattrs;
use crate::Error;

/// An entry of a directory's list: one of the tree's, or one of the two that every directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listed {
    Itself,
    Parent,
    Entry(u32),
}

/// What is written one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Inode(Ino),
    /// The one inode of all whiteouts.
    Whiteout,
}

/// Where an inode and its data stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    /// The inode's number: its place in units of 32 bytes. 0 of what is not in the image.
    pub(super) nid: u32,
    /// Names; for a directory the directories in it and two.
    pub(super) links: u32,
    /// The first of its own blocks, counted in the region of blocks.
    pub(super) block: u32,
}

#[derive(Debug)]
pub(super) struct Layout {
    pub(super) block_bytes: usize,
    pub(super) items: Vec<Item>,
    pub(super) places: Vec<Place>,
    pub(super) whiteout: Place,
    /// The lists of all directories, one after the other, and the range of each.
    lists: Vec<Listed>,
    ranges: Vec<(u32, u32)>,
    /// The time of compact inodes.
    pub(super) time: (i64, u32),
    /// Bytes up to the region of blocks, and the number of these.
    pub(super) blocks_at: u64,
    pub(super) blocks: u32,
}

impl Layout {
    /// Lays out a tree whose first inode stands at `start`.
    pub(super) fn new(tree: &Tree, xattrs: &Xattrs, block_bytes: usize, start: u64) -> Result<Self, Error> {
        let mut layout = Layout {
            block_bytes,
            items: Vec::with_capacity(tree.inodes.len() + 1),
            places: vec![Place::default(); tree.inodes.len()],
            whiteout: Place::default(),
            lists: Vec::new(),
            ranges: vec![(0, 0); tree.dirs.len()],
            time: (0, 0),
            blocks_at: 0,
            blocks: 0,
        };
        layout.collect(tree);
        layout.time = layout.most_common_time(tree);
        let mut at = start;
        for item in 0..layout.items.len() {
            at = layout.place(tree, xattrs, layout.items[item], at)?;
        }
        layout.blocks_at = at.next_multiple_of(block_bytes as u64);
        Ok(layout)
    }

    pub(super) fn list(&self, dir: Dir) -> &[Listed] {
        let (start, end) = self.ranges[dir.0 as usize];
        &self.lists[start as usize..end as usize]
    }

    /// Lists what the root leads to: what is in one directory stands together.
    fn collect(&mut self, tree: &Tree) {
        self.see(Item::Inode(tree.dir(ROOT).ino), tree);
        let mut todo = vec![ROOT];
        let mut list = Vec::new();
        while let Some(dir) = todo.pop() {
            list.clear();
            list.extend([Listed::Itself, Listed::Parent]);
            let shown = |entry: &u32| !matches!(tree.entry(*entry).child, Child::Link(_) | Child::Lower(_));
            list.extend(tree.children(dir).filter(shown).map(Listed::Entry));
            list.sort_unstable_by(|a, b| compare(tree, *a, *b));
            let start = self.lists.len() as u32;
            self.lists.extend_from_slice(&list);
            self.ranges[dir.0 as usize] = (start, self.lists.len() as u32);
            let inner = todo.len();
            for listed in &list {
                let Listed::Entry(entry) = listed else { continue };
                match tree.entry(*entry).child {
                    Child::File(ino) => self.see(Item::Inode(ino), tree),
                    Child::Whiteout => self.see(Item::Whiteout, tree),
                    Child::Directory(inner) => {
                        self.places[tree.dir(dir).ino as usize].links += 1;
                        self.see(Item::Inode(tree.dir(inner).ino), tree);
                        todo.push(inner);
                    }
                    Child::Link(_) | Child::Lower(_) => {}
                }
            }
            // They are taken from the end.
            todo[inner..].reverse();
        }
    }

    fn see(&mut self, item: Item, tree: &Tree) {
        let place = match item {
            Item::Inode(ino) => &mut self.places[ino as usize],
            Item::Whiteout => &mut self.whiteout,
        };
        let directory = matches!(item, Item::Inode(ino) if is_directory(&tree.inode(ino).content));
        place.links += if directory { 2 } else { 1 };
        if directory || place.links == 1 {
            self.items.push(item);
        }
    }

    /// The time that more than half of the inodes have; where none is so common, some inode's.
    fn most_common_time(&self, tree: &Tree) -> (i64, u32) {
        let (mut time, mut votes) = ((0, 0), 0u64);
        for item in &self.items {
            let Item::Inode(ino) = item else { continue };
            let mtime = tree.inode(*ino).meta.mtime;
            match (mtime == time, votes) {
                (true, _) => votes += 1,
                (false, 0) => (time, votes) = (mtime, 1),
                (false, _) => votes -= 1,
            }
        }
        time
    }

    /// Gives an item its place at or behind `at`; returns where it ends.
    fn place(&mut self, tree: &Tree, xattrs: &Xattrs, item: Item, at: u64) -> Result<u64, Error> {
        let fields = self.fields(tree, xattrs, item);
        let block = self.block_bytes as u64;
        let head = self.head_bytes(&fields) as u64;
        let (blocks, tail) = (self.own_blocks(&fields), self.tail_bytes(&fields) as u64);
        let mut at = at.next_multiple_of(INODE_UNIT);
        // What stands behind an inode lies in one block.
        let room = block - (at + head) % block;
        if tail > room {
            at = (at + room).next_multiple_of(INODE_UNIT);
        }
        let place = Place {
            nid: u32::try_from(at / INODE_UNIT).map_err(|_| too_large())?,
            links: fields.links,
            block: self.blocks,
        };
        self.blocks = self.blocks.checked_add(blocks).ok_or_else(too_large)?;
        match item {
            Item::Inode(ino) => self.places[ino as usize] = place,
            Item::Whiteout => self.whiteout = place,
        }
        Ok(at + head + tail)
    }

    /// Bytes of an inode with its attributes.
    pub(super) fn head_bytes(&self, fields: &InodeFields) -> usize {
        let inode = match fields.is_compact(self.time) {
            true => COMPACT_BYTES,
            false => EXTENDED_BYTES,
        };
        match fields.xattr_bytes {
            0 => inode,
            bytes => inode + XATTR_HEADER + bytes,
        }
    }

    /// Bytes of its data that stand behind the inode.
    pub(super) fn tail_bytes(&self, fields: &InodeFields) -> usize {
        match fields.layout {
            FLAT_INLINE => ((fields.size - 1) % self.block_bytes as u64) as usize + 1,
            _ => 0,
        }
    }

    /// Blocks of directories and link targets; those of files are on devices.
    fn own_blocks(&self, fields: &InodeFields) -> u32 {
        let block = self.block_bytes as u64;
        let blocks = match (fields.mode & mode::TYPE, fields.layout) {
            (mode::DIRECTORY | mode::SYMLINK, FLAT_INLINE) => (fields.size - 1) / block,
            (mode::DIRECTORY | mode::SYMLINK, _) => fields.size.div_ceil(block),
            _ => 0,
        };
        // A directory of so many blocks has too many entries before.
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// The inode without what depends on places.
    pub(super) fn fields(&self, tree: &Tree, xattrs: &Xattrs, item: Item) -> InodeFields {
        let Item::Inode(ino) = item else {
            return InodeFields {
                layout: FLAT_PLAIN,
                xattr_bytes: 0,
                mode: mode::CHAR_DEVICE,
                size: 0,
                where_: 0,
                number: 0,
                uid: 0,
                gid: 0,
                mtime: self.time,
                links: self.whiteout.links,
            };
        };
        let inode = tree.inode(ino);
        let (kind, size, inline) = match inode.content {
            Content::Directory(dir) => (mode::DIRECTORY, self.list_bytes(tree, dir), true),
            Content::File { size, .. } => (mode::FILE, size, false),
            Content::Symlink(target) => (mode::SYMLINK, tree.text(target).len() as u64, true),
            Content::CharDevice(_) => (mode::CHAR_DEVICE, 0, false),
            Content::BlockDevice(_) => (mode::BLOCK_DEVICE, 0, false),
            Content::Fifo => (mode::FIFO, 0, false),
        };
        let block = self.block_bytes as u64;
        // Behind any inode, at any multiple of its unit, this much fits into a block. A link's target is
        // not spread over two places.
        let last = size.checked_sub(1).map_or(0, |size| size % block + 1);
        let fits = last > 0 && last + 2 * INODE_UNIT <= block && (kind == mode::DIRECTORY || size <= block);
        InodeFields {
            layout: if inline && fits { FLAT_INLINE } else { FLAT_PLAIN },
            xattr_bytes: xattrs.set(inode.meta.xattrs).len(),
            mode: kind | inode.meta.mode,
            size,
            where_: match inode.content {
                Content::CharDevice(numbers) | Content::BlockDevice(numbers) => numbers,
                _ => 0,
            },
            number: ino + 1,
            uid: inode.meta.uid,
            gid: inode.meta.gid,
            mtime: inode.meta.mtime,
            links: self.places[ino as usize].links,
        }
    }

    /// Bytes of a directory's list: full blocks, and of the last what is used.
    fn list_bytes(&self, tree: &Tree, dir: Dir) -> u64 {
        let (mut full, mut used) = (0, 0);
        for listed in self.list(dir) {
            let bytes = DIRENT_BYTES + name(tree, *listed).len();
            if used + bytes > self.block_bytes {
                full += 1;
                used = 0;
            }
            used += bytes;
        }
        full * self.block_bytes as u64 + used as u64
    }

    /// Cuts a directory's list into what its blocks hold.
    pub(super) fn list_blocks<'a>(
        &'a self,
        tree: &'a Tree,
        dir: Dir,
    ) -> impl Iterator<Item = &'a [Listed]> + 'a {
        let mut rest = self.list(dir);
        std::iter::from_fn(move || {
            let mut used = 0;
            let fits = |listed: &&Listed| {
                used += DIRENT_BYTES + name(tree, **listed).len();
                used <= self.block_bytes
            };
            let count = rest.iter().take_while(fits).count();
            let (block, more) = rest.split_at(count);
            rest = more;
            (!block.is_empty()).then_some(block)
        })
    }
}

pub(super) fn name(tree: &Tree, listed: Listed) -> &[u8] {
    match listed {
        Listed::Itself => b".",
        Listed::Parent => b"..",
        Listed::Entry(entry) => tree.text(tree.entry(entry).name),
    }
}

fn compare(tree: &Tree, a: Listed, b: Listed) -> Ordering {
    name(tree, a).cmp(name(tree, b))
}

fn is_directory(content: &Content) -> bool {
    matches!(content, Content::Directory(_))
}

pub(super) fn too_large() -> Error {
    Error::refused("the layers are larger than one EROFS image can be")
}
