// SPDX-License-Identifier: Apache-2.0
//! Removal of trees whose depth is the choice of a container.
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::dir::{DIRECTORY, beneath, entries};

/// Removes everything in a directory, but not the directory.
///
/// Nested directories are first moved up beside their parents, so that two handles are enough for any
/// depth, and no path grows.
pub(crate) fn contents(top: impl AsFd) -> nix::Result<()> {
    let mut moved = 0;
    loop {
        let mut found = false;
        for entry in entries(&top)?.collect::<nix::Result<Vec<_>>>()? {
            found = true;
            if let Some(dir) = unlink(&top, &entry.name)? {
                empty(&top, &dir, &mut moved)?;
                ignore_missing(unlinkat(&top, entry.name.as_c_str(), UnlinkatFlags::RemoveDir))?;
            }
        }
        if !found {
            return Ok(());
        }
    }
}

/// Removes one name, with everything below it, if it exists.
pub(crate) fn name(top: impl AsFd, name: &CStr) -> nix::Result<()> {
    if let Some(dir) = unlink(&top, name)? {
        contents(&dir)?;
        ignore_missing(unlinkat(&top, name, UnlinkatFlags::RemoveDir))?;
    }
    Ok(())
}

/// Removes a name unless it is a directory, which is opened instead.
fn unlink(dir: impl AsFd, name: &CStr) -> nix::Result<Option<OwnedFd>> {
    match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => match beneath(&dir, name.to_bytes(), DIRECTORY) {
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => Err(Errno::EPERM),
            other => other.map(Some),
        },
        other => ignore_missing(other).map(|()| None),
    }
}

/// Empties `dir`: its directories go up to `top`, under names that are free there.
fn empty(top: impl AsFd, dir: &OwnedFd, moved: &mut u64) -> nix::Result<()> {
    for entry in entries(dir)? {
        let entry = entry?;
        if unlink(dir, &entry.name)?.is_none() {
            continue;
        }
        // A small directory is not worth a move.
        if unlinkat(dir, entry.name.as_c_str(), UnlinkatFlags::RemoveDir).is_ok() {
            continue;
        }
        loop {
            *moved += 1;
            let free = CString::new(format!(".removed-{moved}")).map_err(|_| Errno::EINVAL)?;
            match renameat2(
                dir,
                entry.name.as_c_str(),
                &top,
                free.as_c_str(),
                RenameFlags::RENAME_NOREPLACE,
            ) {
                Err(Errno::EEXIST) => {}
                other => break ignore_missing(other)?,
            }
        }
    }
    Ok(())
}

fn ignore_missing(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
