// SPDX-License-Identifier: Apache-2.0
use std::collections::BTreeMap;

use super::Piece;

/// One member of an archive with everything that its header and the extensions before it say.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name as written, undecoded.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `size` bytes; with `pieces`, these are what of it is no hole, and only they are in the archive.
    File {
        size: u64,
        pieces: Option<Vec<Piece>>,
    },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// Owner, permissions, time and attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission, set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970 and nanoseconds of that second.
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Meta {
    /// Bytes of memory beside the structure itself.
    pub(crate) fn weight(&self) -> usize {
        self.xattrs
            .iter()
            .map(|(name, value)| xattr_weight(name, value))
            .sum()
    }
}

/// What one attribute takes, with the map's and the allocator's share.
pub(super) fn xattr_weight(name: &[u8], value: &[u8]) -> usize {
    name.len().saturating_add(value.len()).saturating_add(96)
}
