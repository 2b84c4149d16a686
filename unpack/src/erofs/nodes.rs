// SPDX-License-Identifier: Apache-2.0
//! What a tree in memory is made of.

/// A file of any kind, by its place in the tree's inodes.
pub(super) type Ino = u32;

/// A directory, by its place in the tree's directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Dir(pub(super) u32);

pub(super) const ROOT: Dir = Dir(0);

/// The longest name of one file (NAME_MAX).
pub(super) const NAME_MAX: usize = 255;

/// Owner, permissions, time and the place of the attributes among [`super::xattrs::Xattrs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// Permission, set-id and sticky bits.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: u32,
}

impl Meta {
    /// What a directory has that no entry describes.
    pub(super) const IMPLIED: Meta = Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        xattrs: 0,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Directory(Dir),
    /// `size` bytes at `offset` of a device.
    File {
        size: u64,
        offset: u64,
        device: u16,
    },
    /// The target, among the tree's bytes.
    Symlink(Bytes),
    /// Numbers as the kernel packs them into 32 bits.
    CharDevice(u32),
    BlockDevice(u32),
    Fifo,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) meta: Meta,
    pub(super) content: Content,
}

/// Some of the tree's bytes: a name or a link's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) at: u32,
    pub(super) length: u32,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    File(Ino),
    Directory(Dir),
    /// Hides what lower layers have under the name.
    Whiteout,
    /// A hard link to a lower layer's file, by its place in a list that the tree's user keeps.
    Link(u32),
    /// Whatever a lower layer has under the name: the layer links it to itself. Its place is in the same list.
    Lower(u32),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) dir: Dir,
    pub(super) name: Bytes,
    pub(super) child: Child,
    /// The entry of the same directory that was made before it.
    pub(super) before: u32,
    pub(super) gone: bool,
}

pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) parent: Dir,
    /// Its own entry in the parent; none of the root.
    pub(super) named: u32,
    pub(super) ino: Ino,
    pub(super) last: u32,
    pub(super) depth: u32,
    /// An entry of the layer says what the directory is.
    pub(super) described: bool,
    /// An entry describes it or is below it; otherwise it was only passed on the way to a whiteout.
    pub(super) own: bool,
    /// No lower layer's directory shows its metadata in it.
    pub(super) new: bool,
    /// Nothing of lower layers is in it any more.
    pub(super) alone: bool,
    /// Overlayfs has to be told so.
    pub(super) opaque: bool,
    /// Whiteouts were made in it.
    pub(super) whiteouts: bool,
    pub(super) removed: bool,
}

impl Node {
    pub(super) fn new(parent: Dir, named: u32, ino: Ino, depth: u32) -> Self {
        Node {
            parent,
            named,
            ino,
            last: NONE,
            depth,
            described: false,
            own: false,
            new: false,
            alone: false,
            opaque: false,
            whiteouts: false,
            removed: false,
        }
    }
}
