// SPDX-License-Identifier: Apache-2.0
//! The three ways to ask the kernel for an overlay, newest first.
use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::context::refusal;
use crate::dir::proc_path;
use crate::meta::errno;
use crate::{Error, ErrorKind};

/// Options of every mount:
///
/// - `redirect_dir=nofollow`, `metacopy=off`: a directory or file is what its layer holds, never what
///   an attribute in a layer points to. Layers come without such attributes; this is the second lock.
/// - `index=off`: the index would tie the writable directory to file handles of the layers, which not
///   every file system has, and refuse a store that was moved.
/// - `xino=auto`: one device number and stable inode numbers where the file systems allow it, so that
///   tools which compare inodes see hard links as such.
///
/// `userxattr` stays off: `user.overlay.*` attributes of a layer are plain data.
const OPTIONS: [(&str, &str); 4] = [
    ("redirect_dir", "nofollow"),
    ("metacopy", "off"),
    ("index", "off"),
    ("xino", "auto"),
];
const VOLATILE: &str = "volatile";
/// mount(2) takes one page of options, with the zero at the end.
const PAGE: usize = 4096;

/// How directories are named to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By handle, one call each (Linux 6.13).
    Handle,
    /// By the path of a handle, one call each (Linux 6.5).
    Path,
    /// By the paths of all handles in one page.
    Page,
}

impl Way {
    pub(crate) const ALL: &[Way] = &[Way::Handle, Way::Path, Way::Page];
}

/// How to mount.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    /// Tried in this order.
    pub(crate) ways: &'a [Way],
    /// Nothing written has to outlive the machine (Linux 5.10). The end of any other overlay waits
    /// until the whole file system of its writable directory is on the disk, whoever wrote to it.
    pub(crate) volatile: bool,
}

impl How<'_> {
    /// For every tree that we mount: its writable directory is never mounted a second time, so nothing
    /// that was written to it has a use after the machine went down.
    pub(crate) const BUNDLE: How<'static> = How {
        ways: Way::ALL,
        volatile: true,
    };
}

/// Mounts an overlay of `lower`, topmost first, at `target`.
pub(super) fn mount(
    how: How<'_>,
    lower: &[BorrowedFd<'_>],
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), Error> {
    for &way in how.ways {
        let attempt = |volatile| match way {
            Way::Page => by_page(volatile, lower, upper, work, target).map(|()| true),
            way => by_context(way, volatile, lower, upper, work, target),
        };
        // A kernel that does not know the word keeps everything.
        let tried = match attempt(how.volatile) {
            Err(_) if how.volatile => attempt(false),
            other => other,
        };
        match tried {
            Ok(true) => return Ok(()),
            Ok(false) => tracing::debug!(?way, "this kernel does not take overlay layers so"),
            Err(error) => return Err(error),
        }
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "this kernel takes overlay layers in none of the known ways",
    ))
}

/// Returns false if this kernel does not know the way.
fn by_context(
    way: Way,
    volatile: bool,
    lower: &[BorrowedFd<'_>],
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<bool, Error> {
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(rustix::io::Errno::NOSYS) => return Ok(false),
        other => other.map_err(|error| failure("open an overlay context", errno(error), None))?,
    };
    if is_legacy(lower) {
        return Ok(false);
    }
    let put = |key: &str, dir: BorrowedFd<'_>| match way {
        Way::Handle => fsconfig_set_fd(&context, key, dir),
        Way::Path | Way::Page => fsconfig_set_string(&context, key, proc_path(dir)),
    };
    for (position, dir) in lower.iter().enumerate() {
        match put("lowerdir+", *dir) {
            Err(rustix::io::Errno::INVAL) if position == 0 => return Ok(false),
            other => other.map_err(|error| failure("add an overlay layer", errno(error), Some(&context)))?,
        }
    }
    put("upperdir", upper)
        .and_then(|()| put("workdir", work))
        .and_then(|()| fsconfig_set_string(&context, "source", "overlay"))
        .and_then(|()| {
            OPTIONS
                .iter()
                .try_for_each(|(key, value)| fsconfig_set_string(&context, *key, *value))
        })
        .and_then(|()| match volatile {
            true => fsconfig_set_flag(&context, VOLATILE),
            false => Ok(()),
        })
        .and_then(|()| fsconfig_create(&context))
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()))
        .and_then(|mount| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&mount, c"", target, c"", flags)
        })
        .map_err(|error| failure("mount overlay", errno(error), Some(&context)))?;
    Ok(true)
}

/// Whether this kernel's overlayfs only collects what it is told, in one page, and looks at it when
/// the mount is made: then it takes strings under any name, and handles under none (before Linux 6.5).
///
/// Asked of a context of its own, since other kernels write a complaint into it.
fn is_legacy(lower: &[BorrowedFd<'_>]) -> bool {
    let (Some(dir), Ok(context)) = (lower.first(), fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)) else {
        return false;
    };
    fsconfig_set_fd(&context, "lowerdir+", *dir) == Err(rustix::io::Errno::OPNOTSUPP)
}

fn by_page(
    volatile: bool,
    lower: &[BorrowedFd<'_>],
    upper: BorrowedFd<'_>,
    work: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<(), Error> {
    let mut options = lower.iter().map(proc_path).collect::<Vec<_>>().join(":");
    options.insert_str(0, "lowerdir=");
    for (key, value) in [("upperdir", proc_path(upper)), ("workdir", proc_path(work))]
        .iter()
        .map(|(k, v)| (*k, v.as_str()))
        .chain(OPTIONS)
    {
        options.extend([",", key, "=", value]);
    }
    if volatile {
        options.extend([",", VOLATILE]);
    }
    if options.len() >= PAGE {
        let what = format!(
            "this kernel takes layers only in one page of mount options (Linux 6.5 lifts that), which cannot name: {} layers",
            lower.len()
        );
        return Err(Error::new(ErrorKind::TooManyLayers, what));
    }
    nix::mount::mount(
        Some("overlay"),
        proc_path(target).as_str(),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .map_err(|error| failure("mount overlay", error, None))
}

/// Explains a refusal, with what the kernel itself says about it.
fn failure(doing: &str, error: Errno, context: Option<&OwnedFd>) -> Error {
    let (kind, why) = match error {
        Errno::EPERM | Errno::EACCES => (
            ErrorKind::NotPermitted,
            "root or CAP_SYS_ADMIN in the user namespace is needed",
        ),
        Errno::ENODEV => (ErrorKind::Unsupported, "this kernel has no overlayfs"),
        Errno::EINVAL => (
            ErrorKind::Unsupported,
            "the file system of the state directory cannot hold an overlay's writable directory, or a layer's cannot be stacked",
        ),
        Errno::ENOSPC => (
            ErrorKind::NoSpace,
            "too many mounts in this namespace, or no space for the work directory",
        ),
        Errno::ELOOP => (ErrorKind::Unsupported, "file systems are stacked too deep"),
        _ => (ErrorKind::Io, "the kernel refused"),
    };
    Error::with_source(kind, format!("cannot {doing}: {why}"), refusal(error, context))
}
