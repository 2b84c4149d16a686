// SPDX-License-Identifier: Apache-2.0
//! Directories by handle: every name is resolved beneath an open directory, through no link.
use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::Error;
use crate::error::Context;

pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);
pub(crate) const HANDLE: OFlag = OFlag::O_PATH;

/// Opens a directory that the caller names; its last component may not be a symbolic link.
pub(crate) fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    open(
        path,
        DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .at("open directory", path)
}

/// Opens `path` beneath `dir`, on the same mount; the empty path is `dir` itself.
pub(crate) fn beneath(dir: impl AsFd, path: &[u8], flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(dir, if path.is_empty() { &b"."[..] } else { path }, how)
}

/// A path that leads to an open handle, for the calls which take no handle.
pub(crate) fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Splits off the last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

/// Every directory above `path`, the nearest last; the root is left out.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| &path[..at])
}

pub(crate) fn shown(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"/" } else { path })
}

pub(crate) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) inode: u64,
    /// None where the file system does not say; ask the inode then.
    kind: Option<Type>,
}

impl Entry {
    /// Whether the entry of the directory `dir` is a directory itself.
    pub(crate) fn is_dir(&self, dir: impl AsFd) -> nix::Result<bool> {
        match self.kind {
            Some(kind) => Ok(kind == Type::Directory),
            None => fstatat(
                dir,
                self.name.as_c_str(),
                nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .map(|stat| file_type(&stat) == SFlag::S_IFDIR),
        }
    }
}

/// The entries of an open directory, without `.` and `..`.
pub(crate) fn entries(dir: impl AsFd) -> nix::Result<impl Iterator<Item = nix::Result<Entry>>> {
    let own = openat(dir, c".", DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(Dir::from_fd(own)?.into_iter().filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(Ok(Entry {
            name: entry.file_name().to_owned(),
            inode: entry.ino(),
            kind: entry.file_type(),
        })),
        Err(error) => Some(Err(error)),
    }))
}

/// Refuses a directory that holds anything.
pub(crate) fn require_empty(dir: impl AsFd, path: &Path) -> Result<(), Error> {
    match entries(dir).at("read directory", path)?.next() {
        None => Ok(()),
        Some(_) => Err(Errno::ENOTEMPTY).at("use a directory which is not empty", path),
    }
}

/// Calls `visit` with the path of every entry below `root`, parents first, and its directory's handle.
///
/// What disappears meanwhile is passed over: the tree may be in use.
pub(crate) fn walk(
    root: impl AsFd,
    mut visit: impl FnMut(&OwnedFd, &[u8], &Entry) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let dir = match beneath(&root, &path, DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) if !path.is_empty() => continue,
            other => other?,
        };
        for entry in entries(&dir)? {
            let entry = entry?;
            let below = join(&path, entry.name.to_bytes());
            visit(&dir, &below, &entry)?;
            if entry.is_dir(&dir).or_else(gone(false))? {
                pending.push(below);
            }
        }
    }
    Ok(())
}

/// Turns "no longer there" into a value.
fn gone<T>(value: T) -> impl FnOnce(Errno) -> nix::Result<T> {
    move |error| {
        if error == Errno::ENOENT {
            Ok(value)
        } else {
            Err(error)
        }
    }
}

/// Bytes of storage that everything below `root` takes, hard links counted once.
pub(crate) fn usage(root: impl AsFd) -> nix::Result<u64> {
    // stat(2) counts in this unit whatever the file system's own block size is.
    const BLOCK: u64 = 512;
    let blocks = |stat: &FileStat| u64::try_from(stat.st_blocks).unwrap_or(0);
    let mut total = blocks(&fstat(&root)?);
    let mut linked = HashSet::new();
    walk(&root, |dir, _, entry| {
        let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
        let Some(stat) = fstatat(dir, entry.name.as_c_str(), flags)
            .map(Some)
            .or_else(gone(None))?
        else {
            return Ok(());
        };
        let many = stat.st_nlink > 1 && file_type(&stat) != SFlag::S_IFDIR;
        if !many || linked.insert((stat.st_dev, stat.st_ino)) {
            total = total.saturating_add(blocks(&stat));
        }
        Ok(())
    })?;
    Ok(total.saturating_mul(BLOCK))
}
