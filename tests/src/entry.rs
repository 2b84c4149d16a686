// SPDX-License-Identifier: Apache-2.0
//! A layer as a list of entries, before it is a tar.

use crate::archive::{self, Dialect};
use crate::text;

/// One member of a layer's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// The name exactly as it will stand in the archive.
    pub name: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// Extended attributes, as `SCHILY.xattr.` records of a PAX header in every dialect.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Further PAX records, written as they are.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// A size for the header that differs from the content's.
    pub size: Option<u64>,
    /// A type flag for the header that differs from the kind's.
    pub flag: Option<u8>,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file with its content.
    File(Vec<u8>),
    /// A symbolic link to these bytes.
    Symlink(Vec<u8>),
    /// A hard link to the entry of this name.
    Hardlink(Vec<u8>),
    /// A character device, major and minor.
    Character(u32, u32),
    /// A block device, major and minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Entry {
    /// The time of entries that name none: 2023-11-14 22:13:20 UTC.
    pub const MTIME: i64 = 1_700_000_000;

    /// An entry owned by root with mode 0755 for directories, 0777 for links and 0644 otherwise.
    pub fn new(kind: Kind, name: impl Into<Vec<u8>>) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            _ => 0o644,
        };
        Entry {
            kind,
            name: name.into(),
            mode,
            uid: 0,
            gid: 0,
            mtime: (Self::MTIME, 0),
            xattrs: Vec::new(),
            pax: Vec::new(),
            size: None,
            flag: None,
        }
    }

    /// A regular file.
    pub fn file(name: impl Into<Vec<u8>>, content: impl Into<Vec<u8>>) -> Self {
        Entry::new(Kind::File(content.into()), name)
    }

    /// A directory; a slash is added to a name without one.
    pub fn directory(name: impl Into<Vec<u8>>) -> Self {
        let mut name = name.into();
        if name.last() != Some(&b'/') {
            name.push(b'/');
        }
        Entry::new(Kind::Directory, name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry(Entry),
    Global(Vec<(Vec<u8>, Vec<u8>)>),
    Raw(Vec<u8>),
}

/// One layer: entries in order, and bytes that no honest writer makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    pub(crate) items: Vec<Item>,
    pub(crate) open_end: bool,
}

impl Layer {
    /// A layer without entries.
    pub fn new() -> Self {
        Layer::default()
    }

    /// Reads a layer, one entry a line:
    ///
    /// ```text
    /// d /etc 0755 0:0                       directory (mode and owner may be left out everywhere)
    /// f /etc/motd 0644 0:0 "hello\n"        file; or fill=4096 for that many varied bytes, zero=4096 for zeros
    /// l /bin/sh -> busybox                  symbolic link
    /// h /bin/ash -> /bin/busybox            hard link
    /// c /dev/null 0666 0:0 1:3              character device; b: block device; the owner may be left out
    /// p /run/pipe                           named pipe
    /// w /etc/shadow                         whiteout of that path
    /// o /var/cache                          opaque whiteout in that directory
    /// g comment="x"                         PAX global header
    /// raw "\x00..."                         these bytes, neither padded nor checked
    /// open-end                              leave out the end of the archive and the last padding
    /// # a note
    /// ```
    ///
    /// Options after an entry: `mtime=-1.5`, `x.user.a="value"` (xattr), `pax.KEY="value"`,
    /// `size=N` and `type=C` (lies in the header). In names and values `\n \t \\ \" \0 \s` (space)
    /// and `\xNN` stand for bytes; a name may be quoted. One leading slash is taken off names and
    /// off hard link targets, so that `//etc` is a name that starts with a slash.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        text::layer(text)
    }

    /// Adds an entry.
    #[must_use]
    pub fn entry(mut self, entry: Entry) -> Self {
        self.items.push(Item::Entry(entry));
        self
    }

    /// Adds bytes as they are, for instance those of a [`Header`](crate::Header).
    #[must_use]
    pub fn raw(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.items.push(Item::Raw(bytes.into()));
        self
    }

    /// Leaves out the two zero blocks at the end and the padding of the last file.
    #[must_use]
    pub fn open_end(mut self) -> Self {
        self.open_end = true;
        self
    }

    /// The layer as an archive. Panics where the dialect cannot hold an entry.
    #[track_caller]
    pub fn tar(&self, dialect: Dialect) -> Vec<u8> {
        archive::write(self, dialect)
    }
}
