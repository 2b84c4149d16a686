// SPDX-License-Identifier: Apache-2.0
//! The images of a bundle, mounted in its state directory as `images/NUMBER`.
//!
//! They are attached there, since older kernels take no detached mount for a layer of an overlay, and
//! stay, so that the next bundle of an image finds them.
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::mount::{MoveMountFlags, move_mount};

use crate::Error;
use crate::dir::{DIRECTORY, HANDLE, beneath, entries, proc_path};
use crate::error::Context;
use crate::meta::errno;

const IMAGES: &CStr = c"images";
/// What statfs(2) says of EROFS.
const MAGIC: FsType = FsType(0xe0f5_e1e2);

/// Attaches a mounted image and opens its root.
pub(super) fn attach(state: &OwnedFd, number: usize, mount: &OwnedFd) -> Result<OwnedFd, Error> {
    let name = number.to_string();
    place(state, &name)
        .and_then(|place| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(mount, c"", &place, c"", flags).map_err(errno)?;
            beneath(mount, b"", DIRECTORY)
        })
        .at("attach image", name)
}

/// Makes the directory that an image is attached at.
fn place(state: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    match mkdirat(state, IMAGES, Mode::S_IRWXU) {
        Err(Errno::EEXIST) => {}
        other => other?,
    }
    let images = beneath(state, IMAGES.to_bytes(), DIRECTORY)?;
    mkdirat(&images, name, Mode::S_IRWXU)?;
    beneath(&images, name.as_bytes(), HANDLE)
}

/// Unmounts every image in a state directory, whatever else of the mount there is, or is not.
pub(crate) fn remove(state: &OwnedFd) -> nix::Result<()> {
    let images = match beneath(state, IMAGES.to_bytes(), DIRECTORY) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    for entry in entries(&images)?.collect::<nix::Result<Vec<_>>>()? {
        while is_image(&images, &entry.name)? {
            unmount(&images, &entry.name)?;
        }
        // Whatever else is mounted there is not ours, and keeps the directory.
        unlinkat(&images, entry.name.as_c_str(), UnlinkatFlags::RemoveDir)?;
    }
    unlinkat(state, IMAGES, UnlinkatFlags::RemoveDir)
}

/// Whether an image is mounted there: no state directory is on EROFS, which cannot be written.
fn is_image(images: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    is_erofs(openat(images, name, flags, Mode::empty())?)
}

pub(super) fn is_erofs(fd: impl AsFd) -> nix::Result<bool> {
    Ok(fstatfs(fd)?.filesystem_type() == MAGIC)
}

fn unmount(images: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let path = format!("{}/{}", proc_path(images), name.to_string_lossy());
    match umount2(path.as_str(), MntFlags::UMOUNT_NOFOLLOW) {
        Err(Errno::EBUSY) => umount2(path.as_str(), MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
        other => other,
    }
}
