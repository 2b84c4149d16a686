// SPDX-License-Identifier: Apache-2.0
//! Reads a kept layer's index back. It was written by this crate, but lay on a disk since: nothing in
//! it is believed that was not looked at.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::format::{
    DIRENT_BYTES, FLAT_INLINE, INODE_UNIT, InodeFields, SLOT_BYTES, SUPER_BYTES, SUPER_OFFSET, Slot, Super,
    View, XATTR_HEADER, mode,
};
use super::tree::NAME_MAX;
use crate::{Error, ErrorKind};

#[derive(Debug)]
pub(super) struct Index<'a> {
    bytes: &'a [u8],
    superblock: Super,
    slots: Vec<Slot>,
}

/// An inode and where its parts are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) fields: InodeFields,
    /// The entries of its attributes.
    pub(super) xattrs: &'a [u8],
    /// What stands behind it.
    tail: usize,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
}

impl<'a> Index<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let start = SUPER_OFFSET as usize;
        let superblock = bytes.get(start..).and_then(Super::decode);
        let superblock = superblock.ok_or_else(|| damaged("its superblock"))?;
        if u64::from(superblock.blocks) << superblock.block_bits != bytes.len() as u64 {
            return Err(damaged("its length"));
        }
        let table = bytes.get(start + SUPER_BYTES..).unwrap_or_default();
        let slots = table.chunks_exact(SLOT_BYTES).take(superblock.devices.into());
        let slots: Option<Vec<Slot>> = slots.map(Slot::decode).collect();
        let slots = slots.filter(|slots| slots.len() == usize::from(superblock.devices));
        Ok(Index {
            bytes,
            superblock,
            slots: slots.ok_or_else(|| damaged("its devices"))?,
        })
    }

    /// The blocks of each device.
    pub(super) fn devices(&self) -> impl ExactSizeIterator<Item = u32> {
        self.slots.iter().map(|slot| slot.blocks)
    }

    pub(super) fn inodes(&self) -> u64 {
        self.superblock.inodes
    }

    pub(super) fn root(&self) -> u64 {
        self.superblock.root.into()
    }

    pub(super) fn inode(&self, nid: u64) -> Result<Found<'a>, Error> {
        self.find(nid).ok_or_else(|| damaged("an inode"))
    }

    fn find(&self, nid: u64) -> Option<Found<'a>> {
        let at = usize::try_from(nid.checked_mul(INODE_UNIT)?).ok()?;
        let (fields, length) = InodeFields::decode(self.bytes.get(at..)?, self.superblock.time)?;
        let at = at.checked_add(length)?;
        let (xattrs, tail) = match fields.xattr_bytes {
            0 => (&[][..], at),
            bytes => {
                let at = at.checked_add(XATTR_HEADER)?;
                let end = at.checked_add(bytes)?;
                (self.bytes.get(at..end)?, end)
            }
        };
        Some(Found { fields, xattrs, tail })
    }

    /// The target of a symbolic link.
    pub(super) fn target(&self, link: &Found<'a>) -> Result<&'a [u8], Error> {
        let at = match link.fields.layout {
            FLAT_INLINE => Some(link.tail),
            _ => self.block(link.fields.where_.into()),
        };
        let target = at.and_then(|at| self.slice(at, link.fields.size));
        target.ok_or_else(|| damaged("a link's target"))
    }

    /// Where a file's data is: a device, by its place in the table, and an offset in it.
    pub(super) fn data(&self, fields: &InodeFields) -> Result<(usize, u64), Error> {
        let block = fields.where_;
        let inside = |slot: &Slot| (slot.start..slot.start.saturating_add(slot.blocks)).contains(&block);
        let found = || {
            let at = self.slots.iter().position(inside)?;
            let slot = self.slots.get(at)?;
            let offset = u64::from(block.checked_sub(slot.start)?) << self.superblock.block_bits;
            let end = offset.checked_add(fields.size)?;
            (end <= u64::from(slot.blocks) << self.superblock.block_bits).then_some((at, offset))
        };
        found().ok_or_else(|| damaged("a file's place"))
    }

    /// Calls `visit` with the entries of a directory but `.` and `..`.
    pub(super) fn each(
        &self,
        dir: &Found<'a>,
        mut visit: impl FnMut(Entry<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let blocks = self.blocks_of(dir).ok_or_else(|| damaged("a directory"))?;
        for number in 0..blocks {
            let block = self
                .list_block(dir, number)
                .ok_or_else(|| damaged("a directory"))?;
            for entry in 0..block.length {
                let entry = block.entry(entry).ok_or_else(|| damaged("a directory's entry"))?;
                match entry.name {
                    b"." | b".." => {}
                    name if name.is_empty() || name.len() > NAME_MAX || name.contains(&b'/') => {
                        return Err(damaged("a name"));
                    }
                    _ => visit(entry)?,
                }
            }
        }
        Ok(())
    }

    /// Finds a name in a directory, whose entries are sorted.
    pub(super) fn lookup(&self, dir: &Found<'a>, name: &[u8]) -> Result<Option<u64>, Error> {
        self.search(dir, name).ok_or_else(|| damaged("a directory"))
    }

    fn search(&self, dir: &Found<'a>, name: &[u8]) -> Option<Option<u64>> {
        let (mut low, mut high) = (0, self.blocks_of(dir)?);
        // The last block whose first name is not behind the one that is looked for.
        while low < high {
            let middle = low.midpoint(high);
            match self.list_block(dir, middle)?.entry(0)?.name <= name {
                true => low = middle.checked_add(1)?,
                false => high = middle,
            }
        }
        let Some(number) = low.checked_sub(1) else {
            return Some(None);
        };
        let block = self.list_block(dir, number)?;
        let (mut low, mut high) = (0, block.length);
        while low < high {
            let middle = low.midpoint(high);
            let entry = block.entry(middle)?;
            match entry.name.cmp(name) {
                std::cmp::Ordering::Equal => return Some(Some(entry.nid)),
                std::cmp::Ordering::Less => low = middle.checked_add(1)?,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Some(None)
    }

    fn blocks_of(&self, dir: &Found<'a>) -> Option<u64> {
        let is_dir = dir.fields.mode & mode::TYPE == mode::DIRECTORY;
        // A list is never longer than the index.
        let inside = dir.fields.size <= self.bytes.len() as u64;
        (is_dir && inside).then(|| dir.fields.size.div_ceil(self.block_bytes()))
    }

    fn list_block(&self, dir: &Found<'a>, number: u64) -> Option<List<'a>> {
        let before = number.checked_mul(self.block_bytes())?;
        let length = dir.fields.size.checked_sub(before)?.min(self.block_bytes());
        let last = before.checked_add(length)? == dir.fields.size;
        let at = match last && dir.fields.layout == FLAT_INLINE {
            true => dir.tail,
            false => self.block(u64::from(dir.fields.where_).checked_add(number)?)?,
        };
        let bytes = self.slice(at, length)?;
        // The first name stands where the entries end.
        let entries = usize::from(View(bytes).u16(8)?);
        let length = entries.checked_div(DIRENT_BYTES)?;
        (length > 0 && entries % DIRENT_BYTES == 0).then_some(List { bytes, length })
    }

    fn block_bytes(&self) -> u64 {
        1 << self.superblock.block_bits
    }

    fn block(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_mul(self.block_bytes())?).ok()
    }

    fn slice(&self, at: usize, length: u64) -> Option<&'a [u8]> {
        self.bytes.get(at..)?.get(..usize::try_from(length).ok()?)
    }
}

/// A block of a directory.
struct List<'a> {
    bytes: &'a [u8],
    length: usize,
}

impl<'a> List<'a> {
    fn entry(&self, number: usize) -> Option<Entry<'a>> {
        let name_at = |number: usize| {
            let at = number.checked_mul(DIRENT_BYTES)?.checked_add(8)?;
            View(self.bytes).u16(at).map(usize::from)
        };
        let at = number.checked_mul(DIRENT_BYTES)?;
        let start = name_at(number)?;
        let next = number.checked_add(1)?;
        let name = match next < self.length {
            true => self.bytes.get(start..name_at(next)?)?,
            // What follows the last name of a full block is zeros.
            false => self.bytes.get(start..)?.split(|b| *b == 0).next()?,
        };
        Some(Entry {
            name,
            nid: View(self.bytes).u64(at)?,
        })
    }
}

pub(super) fn damaged(what: &'static str) -> Error {
    Error::new(ErrorKind::Damaged(what))
}
