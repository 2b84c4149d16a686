// SPDX-License-Identifier: Apache-2.0
//! Single operations below a directory handle. None follows a link.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// Opens a directory to work below it. The path may have several components: none may be a link, a
/// mount or lead upwards.
pub(crate) fn open_dir(parent: impl AsFd, path: &[u8]) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS
                | ResolveFlag::RESOLVE_NO_XDEV,
        );
    openat2(parent, os(path), how)
}

/// Makes a file that was not there.
pub(crate) fn create(parent: impl AsFd, name: &[u8], mode: u32) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, os(name), flags, Mode::from_bits_truncate(mode & 0o777))
}

/// Makes a file of the process's own that was not there, to be written and read.
pub(crate) fn create_readable(parent: impl AsFd, name: &[u8]) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, os(name), flags, Mode::S_IRUSR | Mode::S_IWUSR)
}

/// What is there under this name, if anything.
pub(crate) fn stat(parent: impl AsFd, name: &[u8]) -> nix::Result<Option<FileStat>> {
    match fstatat(parent, os(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Whether it is what overlayfs takes for a whiteout.
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
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
    each(directory, |name, is_dir| {
        if !is_dir {
            unlinkat(directory, os(name), UnlinkatFlags::NoRemoveDir)
        } else if depth < OPEN_WHILE_REMOVING {
            empty(&open_dir(directory, name)?, top, depth + 1, moved)?;
            match unlinkat(directory, os(name), UnlinkatFlags::RemoveDir) {
                // What is left, because it was moved here, is removed on the next way through.
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
                done => done,
            }
        } else {
            move_up(directory, name, top, moved)
        }
    })
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

/// Calls `visit` with each name in a directory and whether it is a directory. The name may be removed
/// meanwhile; names are never held together, since there may be millions.
pub(crate) fn each<E: From<Errno>>(
    directory: &OwnedFd,
    mut visit: impl FnMut(&[u8], bool) -> Result<(), E>,
) -> Result<(), E> {
    // A handle of its own: reading moves the position that handles share.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut open = Dir::openat(directory, ".", flags, Mode::empty())?;
    for entry in open.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => stat(directory, name)?.is_some_and(|stat| kind(&stat) == SFlag::S_IFDIR),
        };
        visit(name, is_dir)?;
    }
    Ok(())
}
