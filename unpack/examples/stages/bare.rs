// SPDX-License-Identifier: Apache-2.0
//! Makes files with the names, sizes, owners and times of a layer's, by the fewest calls that do.
//!
//! No checks, no attributes, no content: less than any unpacker can do with.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, futimens, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};
use tar::{Archive, EntryType};

use crate::{Failure, PIECE};

pub(crate) struct Entry {
    parent: Vec<u8>,
    name: Vec<u8>,
    kind: Kind,
    mode: Mode,
    /// None is the owner that files get by themselves.
    owner: Option<(Uid, Gid)>,
    modified: TimeSpec,
}

enum Kind {
    Directory,
    File(u64),
    Symlink(Vec<u8>),
    /// Folder and name of what it is linked to.
    Link(Vec<u8>, Vec<u8>),
    Node(SFlag, u64),
}

pub(crate) fn list(mut tar: Vec<u8>) -> Result<Vec<Entry>, Failure> {
    // Some writers leave out the padding of the last file and the two blocks behind it.
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    let mut archive = Archive::new(tar.as_slice());
    let mut list = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let header = entry.header();
        let Some((parent, name)) = split(&entry.path_bytes()) else {
            continue;
        };
        let target = entry.link_name_bytes().unwrap_or_default();
        let device = || {
            let number = |part: Option<u32>| u64::from(part.unwrap_or(0));
            let major = header.device_major().unwrap_or_default();
            let minor = header.device_minor().unwrap_or_default();
            nix::sys::stat::makedev(number(major), number(minor))
        };
        let (name, kind) = match (name.strip_prefix(b".wh."), header.entry_type()) {
            // An opaque directory is an attribute of the directory.
            (Some(b".wh..opq"), _) => continue,
            (Some(hidden), _) => (hidden.to_vec(), Kind::Node(SFlag::S_IFCHR, 0)),
            (None, EntryType::Directory) => (name, Kind::Directory),
            (None, EntryType::Symlink) => (name, Kind::Symlink(target.to_vec())),
            (None, EntryType::Link) => match split(&target) {
                Some((folder, target)) => (name, Kind::Link(folder, target)),
                None => continue,
            },
            (None, EntryType::Char) => (name, Kind::Node(SFlag::S_IFCHR, device())),
            (None, EntryType::Block) => (name, Kind::Node(SFlag::S_IFBLK, device())),
            (None, EntryType::Fifo) => (name, Kind::Node(SFlag::S_IFIFO, 0)),
            (None, _) => (name, Kind::File(entry.size())),
        };
        let (uid, gid) = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
        list.push(Entry {
            parent,
            name,
            kind,
            mode: Mode::from_bits_truncate(header.mode()?),
            owner: ((uid, gid) != (0, 0)).then(|| (Uid::from_raw(uid), Gid::from_raw(gid))),
            modified: TimeSpec::new(i64::try_from(header.mtime()?)?, 0),
        });
    }
    Ok(list)
}

/// Folder and last component of a name; none of the root's and of one that leads upwards.
fn split(path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<&[u8]> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    let (name, folder) = parts.split_last()?;
    let upwards = parts.contains(&b"..".as_slice());
    (!upwards).then(|| (folder.join(&b'/'), name.to_vec()))
}

pub(crate) struct Tree(OwnedFd);

impl Tree {
    pub(crate) fn open(path: &Path) -> nix::Result<Tree> {
        openat(
            AT_FDCWD,
            path,
            OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(Tree)
    }

    /// Leaves out what cannot be made of this layer alone, as a link to a file of the layer below.
    pub(crate) fn make(&self, list: &[Entry]) -> Result<(), Failure> {
        let content = vec![0; PIECE];
        let mut folder: Option<(&[u8], OwnedFd)> = None;
        let mut left_out = 0;
        for entry in list {
            // Entries of one folder follow one another.
            if folder.as_ref().is_none_or(|(path, _)| *path != entry.parent) {
                folder = Some((&entry.parent, self.folder(&entry.parent)?));
            }
            if let Some((_, folder)) = &folder {
                match self.one(folder, entry, &content) {
                    Ok(()) => {}
                    Err(Errno::EEXIST | Errno::ENOENT) => left_out += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // Their times change as long as something is made in them.
        for entry in list.iter().filter(|entry| matches!(entry.kind, Kind::Directory)) {
            let folder = self.folder(&entry.parent)?;
            stamp(&folder, entry)?;
        }
        if left_out > list.len() / 20 {
            return Err(format!("left out {left_out} of {} entries", list.len()).into());
        }
        Ok(())
    }

    fn one(&self, folder: &OwnedFd, entry: &Entry, content: &[u8]) -> nix::Result<()> {
        let name = OsStr::from_bytes(&entry.name);
        match &entry.kind {
            Kind::Directory => {
                mkdirat(folder, name, entry.mode)?;
                return own(folder, entry);
            }
            Kind::File(size) => return file(folder, entry, *size, content),
            Kind::Link(parent, target) => {
                let target = OsStr::from_bytes(target);
                return linkat(self.folder(parent)?, target, folder, name, AtFlags::empty());
            }
            Kind::Symlink(target) => symlinkat(OsStr::from_bytes(target), folder, name)?,
            Kind::Node(kind, device) => mknodat(folder, name, *kind, entry.mode, *device)?,
        }
        own(folder, entry)?;
        stamp(folder, entry)
    }

    /// Opens a folder, made where it is not there. Links in its path lead nowhere but below the tree.
    fn folder(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        match self.find(path) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let (parent, name) = split(path).ok_or(Errno::EINVAL)?;
        mkdirat(
            self.folder(&parent)?,
            OsStr::from_bytes(&name),
            Mode::from_bits_truncate(0o755),
        )?;
        self.find(path)
    }

    fn find(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.0, OsStr::from_bytes(path), how)
    }
}

fn file(folder: impl AsFd, entry: &Entry, size: u64, content: &[u8]) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(folder, OsStr::from_bytes(&entry.name), flags, entry.mode)?);
    let mut left = size;
    while left > 0 {
        let piece = left.min(content.len() as u64);
        file.write_all(&content[..piece as usize])
            .map_err(|e| e.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        left -= piece;
    }
    if let Some((uid, gid)) = entry.owner {
        fchown(&file, Some(uid), Some(gid))?;
    }
    futimens(&file, &entry.modified, &entry.modified)
}

fn own(folder: impl AsFd, entry: &Entry) -> nix::Result<()> {
    let Some((uid, gid)) = entry.owner else {
        return Ok(());
    };
    let name = OsStr::from_bytes(&entry.name);
    fchownat(folder, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn stamp(folder: impl AsFd, entry: &Entry) -> nix::Result<()> {
    let name = OsStr::from_bytes(&entry.name);
    let times = &entry.modified;
    utimensat(folder, name, times, times, UtimensatFlags::NoFollowSymlink)
}
