// SPDX-License-Identifier: Apache-2.0
//! Single operations below a directory handle. Each names one component and follows no link.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstatat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, unlinkat};
use rustix::fs::XattrFlags;

use crate::Error;
use crate::tar::Meta;

/// Attributes that overlayfs obeys. A layer's own would let it show or hide what it has no right to.
const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Who owns what a process makes, and whether attributes get lost: shared by all entries of a layer.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(crate) default_owner: Option<(Uid, Gid)>,
    /// The thread's umask is 0, so that files are made with their mode.
    pub(crate) exact_mode: bool,
    pub(crate) dropped_xattrs: u64,
}

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Opens a directory to work below it.
pub(crate) fn open_dir(parent: impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(parent, os(name), how)
}

/// Makes a file that was not there.
pub(crate) fn create(parent: impl AsFd, name: &[u8], mode: u32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, os(name), flags, Mode::from_bits_truncate(mode & 0o777))
}

/// What is there under this name, if anything.
pub(crate) fn stat(parent: impl AsFd, name: &[u8]) -> nix::Result<Option<FileStat>> {
    match fstatat(parent, os(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(crate) fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

/// Whether it is what overlayfs takes for a whiteout.
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    is(stat, SFlag::S_IFCHR) && stat.st_rdev == 0
}

pub(crate) fn modified(stat: &FileStat) -> (i64, u32) {
    (
        stat.st_mtime,
        u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    )
}

fn times((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}

/// Removes whatever has this name, a directory with all that is in it.
pub(crate) fn remove(parent: impl AsFd, name: &[u8]) -> nix::Result<()> {
    match unlinkat(&parent, os(name), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(Errno::ENOENT) | Ok(()) => return Ok(()),
        Err(e) => return Err(e),
    }
    let top = open_dir(&parent, name)?;
    let mut moved = 0;
    loop {
        empty(&top, top.as_fd(), 0, &mut moved)?;
        match unlinkat(&parent, os(name), UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            done => return done,
        }
    }
}

/// Directories open at once while a tree is removed; what is deeper is moved up and removed later.
const OPEN_WHILE_REMOVING: u32 = 64;

fn empty(directory: &OwnedFd, top: BorrowedFd<'_>, depth: u32, moved: &mut u64) -> nix::Result<()> {
    for (name, is_dir) in list(directory)? {
        if !is_dir {
            unlinkat(directory, os(&name), UnlinkatFlags::NoRemoveDir)?;
        } else if depth < OPEN_WHILE_REMOVING {
            empty(&open_dir(directory, &name)?, top, depth + 1, moved)?;
            unlinkat(directory, os(&name), UnlinkatFlags::RemoveDir)?;
        } else {
            move_up(directory, &name, top, moved)?;
        }
    }
    Ok(())
}

fn move_up(directory: &OwnedFd, name: &[u8], top: BorrowedFd<'_>, moved: &mut u64) -> nix::Result<()> {
    loop {
        *moved += 1;
        let free = format!(".removed-{moved}");
        if stat(top, free.as_bytes())?.is_none() {
            return nix::fcntl::renameat(directory, os(name), top, free.as_str());
        }
    }
}

/// The names in a directory, and whether each is a directory.
pub(crate) fn list(directory: &OwnedFd) -> nix::Result<Vec<(Vec<u8>, bool)>> {
    let mut entries = Vec::new();
    // A handle of its own: reading moves the position that handles share.
    let mut open = Dir::openat(
        directory,
        ".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    for entry in open.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => stat(directory, name)?.is_some_and(|stat| is(&stat, SFlag::S_IFDIR)),
        };
        entries.push((name.to_vec(), is_dir));
    }
    Ok(entries)
}

impl Metadata {
    /// Gives an open file or directory its owner, mode, attributes and time, in the one order that
    /// keeps all of them: a change of owner strips set-id bits and capabilities.
    pub(crate) fn set(&mut self, fd: impl AsFd, meta: &Meta, made_with_mode: bool) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(meta) {
            fchown(&fd, Some(uid), Some(gid)).map_err(|e| Error::io("set the owner", e))?;
        }
        if !(made_with_mode && self.exact_mode && meta.mode & 0o7000 == 0) {
            fchmod(&fd, Mode::from_bits_truncate(meta.mode)).map_err(|e| Error::io("set the mode", e))?;
        }
        for (name, value) in obeyed(&meta.xattrs) {
            let result = rustix::fs::fsetxattr(&fd, os(name), value, XattrFlags::empty());
            self.xattr_result(name, result)?;
        }
        futimens(&fd, &times(meta.mtime), &times(meta.mtime)).map_err(|e| Error::io("set the time", e))
    }

    /// The same for what cannot be opened without side effects: links, devices, FIFOs.
    pub(crate) fn set_at(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        meta: &Meta,
        has_mode: bool,
    ) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(meta) {
            fchownat(
                parent,
                os(name),
                Some(uid),
                Some(gid),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .map_err(|e| Error::io("set the owner", e))?;
        }
        if has_mode && !(self.exact_mode && meta.mode & 0o7000 == 0) {
            let mode = Mode::from_bits_truncate(meta.mode);
            nix::sys::stat::fchmodat(
                parent,
                os(name),
                mode,
                nix::sys::stat::FchmodatFlags::NoFollowSymlink,
            )
            .map_err(|e| Error::io("set the mode", e))?;
        }
        for (key, value) in obeyed(&meta.xattrs) {
            let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            self.xattr_result(
                key,
                rustix::fs::lsetxattr(os(&path), os(key), value, XattrFlags::empty()),
            )?;
        }
        utimensat(
            parent,
            os(name),
            &times(meta.mtime),
            &times(meta.mtime),
            UtimensatFlags::NoFollowSymlink,
        )
        .map_err(|e| Error::io("set the time", e))
    }

    fn owner(&self, meta: &Meta) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        (self.default_owner != Some(owner)).then_some(owner)
    }

    /// A file system without `user` attributes, or a kind of file that cannot have them, loses
    /// those; any other attribute is needed for what the file may do.
    fn xattr_result(&mut self, name: &[u8], result: rustix::io::Result<()>) -> Result<(), Error> {
        use rustix::io::Errno;
        match result {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::PERM) if name.starts_with(b"user.") => {
                self.dropped_xattrs += 1;
                Ok(())
            }
            Err(e) => Err(Error::io("set an extended attribute", io::Error::from(e))),
        }
    }
}

fn obeyed(xattrs: &[(Vec<u8>, Vec<u8>)]) -> impl Iterator<Item = (&[u8], &[u8])> {
    xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| !OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)))
}

/// Only sets the time of an open directory.
pub(crate) fn set_time(fd: impl AsFd, mtime: (i64, u32)) -> Result<(), Error> {
    futimens(&fd, &times(mtime), &times(mtime)).map_err(|e| Error::io("set the time", e))
}

/// Takes every attribute of a directory away, before a layer describes it anew.
pub(crate) fn clear_xattrs(fd: impl AsFd) -> Result<(), Error> {
    let error = |e| Error::io("remove an extended attribute", io::Error::from(e));
    let mut names = vec![0u8; 64 << 10];
    let length = match rustix::fs::flistxattr(&fd, &mut names[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(error(e)),
    };
    for name in names
        .get(..length)
        .unwrap_or_default()
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
    {
        match rustix::fs::fremovexattr(&fd, os(name)) {
            // Labels that the system puts on every file cannot be taken away.
            Ok(())
            | Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NODATA) => {}
            Err(e) => return Err(error(e)),
        }
    }
    Ok(())
}

/// Marks a directory as hiding whatever lower layers have in it.
pub(crate) fn set_opaque(fd: impl AsFd) -> Result<(), Error> {
    rustix::fs::fsetxattr(&fd, "trusted.overlay.opaque", b"y", XattrFlags::empty())
        .map_err(|e| Error::io("mark a directory as opaque", io::Error::from(e)))
}
