// SPDX-License-Identifier: Apache-2.0
//! The two ways to have the kernel mount an image.
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::check::{Checked, check};
use super::{loops, share};
use crate::context::refusal;
use crate::dir::proc_path;
use crate::error::{Context as _, quoted};
use crate::meta::errno;
use crate::{Error, ErrorKind, Image};

/// The kernel takes no longer value for an option, its final zero included.
const MAX_VALUE: usize = 256;

/// What the kernel reads an image from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The files themselves (Linux 6.12), as far as their file system has a page cache like a disk's.
    File,
    /// Loop devices over the files.
    Loop,
}

/// Fails if this kernel cannot mount any image.
pub(super) fn require() -> Result<(), Error> {
    match fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Ok(()),
        Err(error) => {
            let (kind, why) = explain(errno(error));
            let what = format!("cannot mount images, {why}");
            Err(Error::with_source(kind, what, refusal(errno(error), None)))
        }
    }
}

/// A mounted image, not attached yet.
#[derive(Debug)]
pub(super) struct Loose {
    pub(super) mount: OwnedFd,
    /// Locked, until the mount is attached and others find it.
    _index: File,
}

/// Mounts an image, or clones what is mounted of it, in the first way that works.
///
/// With `direct` its files are read past their page cache, if that can be done in units of 512 bytes.
pub(super) fn mount(image: &Image, ways: &[Way], direct: bool) -> Result<Loose, Error> {
    let Checked { index, aligned } = check(image)?;
    // Two that begin together would not find each other's mount. Where nothing can be locked they make
    // two, which both work.
    if let Err(error) = index.lock() {
        tracing::debug!(image = %image.index.display(), "cannot lock an image to mount it once: {error}");
    }
    let mount = match share::clone(&image.index, &index) {
        Some(mount) => mount,
        None => anew(image, ways, direct && aligned)?,
    };
    Ok(Loose { mount, _index: index })
}

fn anew(image: &Image, ways: &[Way], direct: bool) -> Result<OwnedFd, Error> {
    let mut refused = None;
    for way in ways {
        let tried = match way {
            // A file cannot be given to the kernel from the middle on.
            Way::File if image.devices.iter().any(|device| device.offset != 0) => continue,
            Way::File => by_file(image, direct),
            Way::Loop => by_loop(image, direct),
        };
        match tried {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                tracing::debug!(?way, "{}", error.in_full());
                refused = Some(error);
            }
            other => return other,
        }
    }
    Err(refused.unwrap_or_else(|| {
        let what = "an image whose devices begin within files needs loop devices";
        Error::new(ErrorKind::Unsupported, what)
    }))
}

fn by_file(image: &Image, direct: bool) -> Result<OwnedFd, Error> {
    let context = Context::new(&image.index)?;
    let mut names = Names::default();
    context.put("source", names.of(&image.index)?)?;
    for device in &image.devices {
        context.put("device", names.of(&device.file)?)?;
    }
    // Linux 6.13.
    if direct && fsconfig_set_flag(&context.fd, "directio").is_err() {
        tracing::debug!("this kernel's EROFS does not read past the page cache");
    }
    context.mount()
}

fn by_loop(image: &Image, direct: bool) -> Result<OwnedFd, Error> {
    let context = Context::new(&image.index)?;
    let index = loops::bind(&image.index, 0, direct)?;
    context.put("source", index.path.as_os_str().as_bytes().to_vec())?;
    let mut held = vec![index];
    for device in &image.devices {
        let bound = loops::bind(&device.file, device.offset, direct)?;
        context.put("device", bound.path.as_os_str().as_bytes().to_vec())?;
        held.push(bound);
    }
    context.mount()
}

/// Names of files for the kernel: their paths, or those of handles where they are too long for it.
#[derive(Debug, Default)]
struct Names {
    held: Vec<OwnedFd>,
}

impl Names {
    fn of(&mut self, path: &Path) -> Result<Vec<u8>, Error> {
        let plain = path.as_os_str().as_bytes();
        if plain.len() < MAX_VALUE {
            return Ok(plain.to_vec());
        }
        let handle = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty());
        let handle = handle.at("open part of image", path)?;
        let name = proc_path(&handle).into_bytes();
        self.held.push(handle);
        Ok(name)
    }
}

/// A mount that is being prepared.
#[derive(Debug)]
struct Context<'a> {
    fd: OwnedFd,
    index: &'a Path,
}

impl<'a> Context<'a> {
    fn new(index: &'a Path) -> Result<Self, Error> {
        match fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(fd) => Ok(Context { fd, index }),
            Err(error) => Err(failure(index, errno(error), None)),
        }
    }

    fn put(&self, key: &str, value: Vec<u8>) -> Result<(), Error> {
        fsconfig_set_string(&self.fd, key, value).map_err(|error| self.failure(error))
    }

    fn mount(&self) -> Result<OwnedFd, Error> {
        fsconfig_set_flag(&self.fd, "ro")
            .and_then(|()| fsconfig_create(&self.fd))
            .and_then(|()| {
                let flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
                fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, flags)
            })
            .map_err(|error| self.failure(error))
    }

    fn failure(&self, error: rustix::io::Errno) -> Error {
        failure(self.index, errno(error), Some(&self.fd))
    }
}

fn failure(index: &Path, error: Errno, context: Option<&OwnedFd>) -> Error {
    let (kind, why) = explain(error);
    let what = format!("cannot mount image, {why}: `{}`", quoted(index.as_os_str()));
    Error::with_source(kind, what, refusal(error, context))
}

fn explain(error: Errno) -> (ErrorKind, &'static str) {
    match error {
        Errno::EPERM | Errno::EACCES => (
            ErrorKind::NotPermitted,
            "root or CAP_SYS_ADMIN in the first user namespace is needed",
        ),
        Errno::ENODEV => (ErrorKind::Unsupported, "this kernel has no EROFS"),
        Errno::ENOSYS => (ErrorKind::Unsupported, "this kernel has no mount contexts"),
        Errno::ENOTBLK => (
            ErrorKind::Unsupported,
            "this kernel takes no image from a file, or none of this file system",
        ),
        Errno::EINVAL | Errno::EOPNOTSUPP => (
            ErrorKind::Unsupported,
            "it is damaged, or has what this kernel does not know (the kernel's log may say more)",
        ),
        Errno::EUCLEAN | Errno::EBADMSG => (ErrorKind::Layer, "it is damaged"),
        Errno::ENOSPC => (ErrorKind::NoSpace, "too many mounts in this namespace"),
        _ => (ErrorKind::Io, "the kernel refused"),
    }
}
