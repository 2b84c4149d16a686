// SPDX-License-Identifier: Apache-2.0
//! Lock files: `flock(2)` held on a file that has a name.

use std::ffi::CStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use crate::dirs::is;

/// Opens the lock file `name` in `dir`, making it when missing. Refuses anything but a regular
/// file, unopened.
pub(crate) fn open(dir: impl AsFd, name: &CStr) -> io::Result<File> {
    let dir = dir.as_fd();
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if !is(&stat, SFlag::S_IFREG) => return Err(io::Error::other("not a regular file")),
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Writable because some network file systems lock nothing else; never blocks, should the name
    // change meanwhile.
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(File::from(openat(
        dir,
        name,
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
    )?))
}

/// Waits until the lock is this handle's alone.
pub(crate) fn exclusive(file: &File) -> io::Result<()> {
    uninterrupted(|| file.lock())
}

/// Waits until nobody holds the lock alone.
pub(crate) fn shared(file: &File) -> io::Result<()> {
    uninterrupted(|| file.lock_shared())
}

fn uninterrupted(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Takes the lock for this handle alone, or answers false when somebody has it.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

/// Whether what is open is still what its name leads to. A lock on an unlinked file guards nothing.
pub(crate) fn in_place(open: impl AsFd, dir: impl AsFd, name: &CStr) -> io::Result<bool> {
    let own = fstat(open)?;
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
