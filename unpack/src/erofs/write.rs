// SPDX-License-Identifier: Apache-2.0
//! Writes a tree as an EROFS image, from its first byte to its last.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use image_spec::{Algorithm, Hasher};

use super::format::{
    DIRENT_BYTES, InodeFields, SLOT_BYTES, SUPER_BYTES, SUPER_OFFSET, Slot, Super, XATTR_HEADER,
};
use super::format::{FLAT_INLINE, kind, seal};
use super::layout::{Item, Layout, Listed, name, too_large};
use super::tree::{Child, Content, Dir, ROOT, Tree};
use super::xattrs::Xattrs;
use super::{Blocks, format};
use crate::Error;

/// The unit of a tar, to whose multiples file data is aligned.
const TAR_BLOCK: u64 = 512;

/// A file with data, as a device of the image or as several views of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    /// Bytes, whole blocks at every view.
    pub(super) bytes: u64,
}

/// A part of a volume that is a device of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    pub(super) volume: u16,
    /// Where in the volume it begins.
    pub(super) offset: u64,
}

#[derive(Debug)]
pub(super) struct Written {
    pub(super) parts: Vec<Part>,
    pub(super) inodes: u64,
    pub(super) bytes: u64,
}

/// Writes the image into an empty file.
pub(super) fn write(
    tree: &Tree,
    xattrs: &Xattrs,
    volumes: &[Volume],
    blocks: Blocks,
    file: &File,
) -> Result<Written, Error> {
    let parts = parts(tree, volumes, blocks);
    let start = SUPER_OFFSET + (SUPER_BYTES + parts.len() * SLOT_BYTES) as u64;
    let layout = Layout::new(tree, xattrs, blocks.bytes(), start)?;
    let block = blocks.bytes() as u64;
    let total = layout.blocks_at / block + u64::from(layout.blocks);
    let mut next = u32::try_from(total).map_err(|_| too_large())?;
    let mut slots = Vec::with_capacity(parts.len());
    for part in &parts {
        let bytes = volumes[usize::from(part.volume)].bytes - part.offset;
        let count = u32::try_from(bytes / block).map_err(|_| too_large())?;
        slots.push(Slot {
            blocks: count,
            start: next,
        });
        next = next.checked_add(count).ok_or_else(too_large)?;
    }
    let superblock = Super {
        block_bits: blocks.bytes().ilog2() as u8,
        root: u16::try_from(layout.places[tree.dir(ROOT).ino as usize].nid).map_err(|_| too_large())?,
        inodes: layout.items.len() as u64,
        time: layout.time,
        blocks: total as u32,
        devices: u16::try_from(parts.len()).map_err(|_| too_large())?,
        uuid: [0; 16],
    };
    let mut writer = Writer {
        tree,
        xattrs,
        layout: &layout,
        parts: &parts,
        slots: &slots,
        out: BufWriter::with_capacity(256 << 10, file),
        at: 0,
    };
    writer
        .all(&superblock)
        .and_then(|()| writer.out.flush())
        .and_then(|()| checksum(file, blocks))
        .map_err(|e| Error::io("write the EROFS image", e))?;
    drop(writer);
    Ok(Written {
        inodes: superblock.inodes,
        bytes: total * block,
        parts,
    })
}

/// The parts of volumes that files need: in blocks of 512 bytes each volume is one.
fn parts(tree: &Tree, volumes: &[Volume], blocks: Blocks) -> Vec<Part> {
    if blocks == Blocks::Small {
        let whole = |volume| Part { volume, offset: 0 };
        return (0..volumes.len() as u16).map(whole).collect();
    }
    let mut needed = BTreeSet::new();
    for inode in &tree.inodes {
        if let Content::File {
            size: 1..,
            offset,
            device,
        } = inode.content
        {
            needed.insert(Part {
                volume: device,
                offset: offset % blocks.bytes() as u64 / TAR_BLOCK * TAR_BLOCK,
            });
        }
    }
    needed.into_iter().collect()
}

/// What depends on the rest of the image: a UUID made of all of it, and the checksum of the superblock's
/// block.
fn checksum(file: &File, blocks: Blocks) -> io::Result<()> {
    let start = SUPER_OFFSET as usize;
    let mut first = vec![0; blocks.bytes().max(start + blocks.bytes() % start)];
    let (mut hasher, mut buffer, mut at) = (Hasher::new(Algorithm::Sha256), vec![0; 64 << 10], 0);
    loop {
        let length = file.read_at(&mut buffer, at)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    file.read_exact_at(&mut first, 0)?;
    format::name(&mut first, start, hasher.finish().bytes());
    seal(&mut first, start);
    file.write_all_at(&first, 0)
}

struct Writer<'a> {
    tree: &'a Tree,
    xattrs: &'a Xattrs,
    layout: &'a Layout,
    parts: &'a [Part],
    slots: &'a [Slot],
    out: BufWriter<&'a File>,
    at: u64,
}

impl Writer<'_> {
    fn all(&mut self, superblock: &Super) -> io::Result<()> {
        self.pad(SUPER_OFFSET)?;
        self.put(&superblock.encode())?;
        for slot in self.slots {
            self.put(&slot.encode())?;
        }
        for item in &self.layout.items {
            self.item(*item)?;
        }
        self.pad(self.layout.blocks_at)?;
        for item in &self.layout.items {
            self.blocks(*item)?;
        }
        Ok(())
    }

    fn item(&mut self, item: Item) -> io::Result<()> {
        let fields = self.fields(item);
        let nid = match item {
            Item::Inode(ino) => self.layout.places[ino as usize].nid,
            Item::Whiteout => self.layout.whiteout.nid,
        };
        self.pad(u64::from(nid) * super::format::INODE_UNIT)?;
        match fields.is_compact(self.layout.time) {
            true => self.put(&fields.compact())?,
            false => self.put(&fields.extended())?,
        }
        let Item::Inode(ino) = item else { return Ok(()) };
        let inode = self.tree.inode(ino);
        if fields.xattr_bytes > 0 {
            self.put(&[0; XATTR_HEADER])?;
            self.put(self.xattrs.set(inode.meta.xattrs))?;
        }
        if fields.layout != FLAT_INLINE {
            return Ok(());
        }
        match inode.content {
            Content::Symlink(target) => self.put(self.tree.text(target)),
            Content::Directory(dir) => match self.layout.list_blocks(self.tree, dir).last() {
                Some(last) => self.list(dir, last),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The blocks of its own that an item has.
    fn blocks(&mut self, item: Item) -> io::Result<()> {
        let Item::Inode(ino) = item else { return Ok(()) };
        let fields = self.fields(item);
        match self.tree.inode(ino).content {
            Content::Symlink(target) if fields.layout != FLAT_INLINE => {
                self.put(self.tree.text(target))?;
                self.fill()
            }
            Content::Directory(dir) => {
                let mut blocks = self.layout.list_blocks(self.tree, dir).peekable();
                while let Some(block) = blocks.next() {
                    if fields.layout == FLAT_INLINE && blocks.peek().is_none() {
                        break;
                    }
                    self.list(dir, block)?;
                    self.fill()?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn fields(&self, item: Item) -> InodeFields {
        let mut fields = self.layout.fields(self.tree, self.xattrs, item);
        let Item::Inode(ino) = item else { return fields };
        let own = || {
            let block = self.layout.blocks_at / self.layout.block_bytes as u64;
            block as u32 + self.layout.places[ino as usize].block
        };
        match self.tree.inode(ino).content {
            Content::Directory(_) | Content::Symlink(_) => fields.where_ = own(),
            Content::File {
                size: 1..,
                offset,
                device,
            } => fields.where_ = self.data_block(device, offset),
            _ => {}
        }
        fields
    }

    /// The block where a file's data begins, among those of all devices.
    fn data_block(&self, volume: u16, offset: u64) -> u32 {
        let block = self.layout.block_bytes as u64;
        let part = Part {
            volume,
            offset: offset % block,
        };
        // It was made for this file, and the number of its blocks was checked.
        match self.parts.binary_search(&part) {
            Ok(at) => self.slots[at].start + ((offset - part.offset) / block) as u32,
            Err(_) => 0,
        }
    }

    /// One block of a directory: what is said of each name, then the names.
    fn list(&mut self, dir: Dir, block: &[Listed]) -> io::Result<()> {
        let mut name_at = block.len() * DIRENT_BYTES;
        for listed in block {
            let (nid, kind) = self.target(dir, *listed);
            self.put(&u64::from(nid).to_le_bytes())?;
            self.put(&(name_at as u16).to_le_bytes())?;
            self.put(&[kind, 0])?;
            name_at += name(self.tree, *listed).len();
        }
        for listed in block {
            self.put(name(self.tree, *listed))?;
        }
        Ok(())
    }

    fn target(&self, dir: Dir, listed: Listed) -> (u32, u8) {
        let nid_of = |dir: Dir| self.layout.places[self.tree.dir(dir).ino as usize].nid;
        let entry = match listed {
            Listed::Itself => return (nid_of(dir), kind::DIRECTORY),
            Listed::Parent => return (nid_of(self.tree.dir(dir).parent), kind::DIRECTORY),
            Listed::Entry(entry) => self.tree.entry(entry),
        };
        match entry.child {
            Child::Directory(inner) => (nid_of(inner), kind::DIRECTORY),
            Child::File(ino) => {
                let kind = match self.tree.inode(ino).content {
                    Content::File { .. } => kind::FILE,
                    Content::Directory(_) => kind::DIRECTORY,
                    Content::Symlink(_) => kind::SYMLINK,
                    Content::CharDevice(_) => kind::CHAR_DEVICE,
                    Content::BlockDevice(_) => kind::BLOCK_DEVICE,
                    Content::Fifo => kind::FIFO,
                };
                (self.layout.places[ino as usize].nid, kind)
            }
            // The two last are on no list.
            Child::Whiteout | Child::Link(_) | Child::Lower(_) => {
                (self.layout.whiteout.nid, kind::CHAR_DEVICE)
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Zeros up to a place.
    fn pad(&mut self, to: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.at < to {
            let length = (to - self.at).min(ZEROS.len() as u64) as usize;
            self.put(&ZEROS[..length])?;
        }
        Ok(())
    }

    /// Zeros up to the end of the block.
    fn fill(&mut self) -> io::Result<()> {
        self.pad(self.at.next_multiple_of(self.layout.block_bytes as u64))
    }
}
