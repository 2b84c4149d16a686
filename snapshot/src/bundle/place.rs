// SPDX-License-Identifier: Apache-2.0
//! The bundle's directory and files.
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use image_spec::runtime::Spec;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use crate::dir::{DIRECTORY, beneath, file_type, open_dir, require_empty};
use crate::error::Context;
use crate::{Error, ErrorKind};

const ROOTFS: &str = "rootfs";

/// What [`prepare`] had to make, and [`remove`] is to take away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// The bundle's directory.
    pub bundle: bool,
    /// The directory `rootfs` in it.
    pub rootfs: bool,
}

/// Checks that a bundle can be made at a path: nothing there, or at most an empty `rootfs`.
///
/// # Errors
/// `Occupied` if there is a `config.json`, or a `rootfs` that holds anything, is a mount point, or is
/// no directory; any refusal of the system to look.
pub fn check_unused(bundle: &Path) -> Result<(), Error> {
    if matches!(bundle.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(());
    }
    let dir = open_dir(bundle)?;
    match fstatat(&dir, Spec::FILE, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => {}
        Ok(_) => return Err(occupied("bundle has a config.json already", bundle)),
        Err(error) => return Err(error).at("look for config.json in", bundle),
    }
    let rootfs = bundle.join(ROOTFS);
    match beneath(&dir, ROOTFS.as_bytes(), DIRECTORY) {
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EXDEV) => Err(occupied("something is mounted at", &rootfs)),
        Err(Errno::ELOOP | Errno::ENOTDIR) => Err(occupied("rootfs is no directory", &rootfs)),
        other => require_empty(other.at("open directory", &rootfs)?, &rootfs),
    }
}

/// Makes the bundle's directory (its parent must exist) and `rootfs` in it, if they are not there.
///
/// Directories get mode 0700: set-id programs of the image are not for the users of this system.
///
/// # Errors
/// As [`check_unused`], or the directories cannot be made; then none is left behind.
pub fn prepare(bundle: &Path) -> Result<Made, Error> {
    check_unused(bundle)?;
    let make = |result| match result {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(error) => Err(error),
    };
    let new = make(mkdirat(AT_FDCWD, bundle, Mode::S_IRWXU)).at("make directory", bundle)?;
    let made = Made {
        bundle: new,
        rootfs: false,
    };
    let rootfs = open_dir(bundle)
        .and_then(|dir| make(mkdirat(&dir, ROOTFS, Mode::S_IRWXU)).at("make directory", bundle.join(ROOTFS)));
    match rootfs {
        Ok(rootfs) => Ok(Made { rootfs, ..made }),
        Err(error) => {
            if let Err(left) = remove(bundle, made) {
                tracing::warn!(bundle = %bundle.display(), "cannot clean up after a failure: {left}");
            }
            Err(error)
        }
    }
}

/// Removes `config.json`, and of the directories those that were `made`, if they are empty.
///
/// Call it only for a bundle that was unused before, after its root filesystem was unmounted. Does
/// nothing, successfully, where there is nothing to remove.
///
/// # Errors
/// The system refuses to remove.
pub fn remove(bundle: &Path, made: Made) -> Result<(), Error> {
    if matches!(bundle.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(());
    }
    let dir = open_dir(bundle)?;
    match fstatat(&dir, Spec::FILE, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if file_type(&stat) == SFlag::S_IFREG => {
            unlinkat(&dir, Spec::FILE, UnlinkatFlags::NoRemoveDir).at("remove config.json in", bundle)?;
        }
        Ok(_) | Err(Errno::ENOENT) => {}
        Err(error) => return Err(error).at("look for config.json in", bundle),
    }
    let unless_used = |result| match result {
        Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => Ok(()),
        other => other,
    };
    if made.rootfs {
        unless_used(unlinkat(&dir, ROOTFS, UnlinkatFlags::RemoveDir)).at("remove", bundle.join(ROOTFS))?;
    }
    if made.bundle {
        unless_used(unlinkat(AT_FDCWD, bundle, UnlinkatFlags::RemoveDir)).at("remove", bundle)?;
    }
    Ok(())
}

/// Makes `config.json` with `text`, whole or not at all.
pub(super) fn save(dir: &OwnedFd, bundle: &Path, text: &[u8]) -> Result<(), Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(".{}.{}-{number}", Spec::FILE, std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file =
        File::from(openat(dir, temporary.as_str(), flags, mode).at("make a temporary file in", bundle)?);
    let saved = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .at("write config.json in", bundle)
        // Unlike a rename, a link never replaces what is there.
        .and_then(
            |()| match linkat(dir, temporary.as_str(), dir, Spec::FILE, AtFlags::empty()) {
                Err(Errno::EEXIST) => Err(occupied("bundle has a config.json already", bundle)),
                other => other.at("make config.json in", bundle),
            },
        );
    let removed = unlinkat(dir, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    saved.and_then(|()| removed.at("remove a temporary file in", bundle))
}

fn occupied(what: &str, path: &Path) -> Error {
    Error::new(
        ErrorKind::Occupied,
        format!("{what}: `{}`", crate::error::quoted(path.as_os_str())),
    )
}
