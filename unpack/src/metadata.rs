// SPDX-License-Identifier: Apache-2.0
//! Owner, mode, attributes and time of what was made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, getegid, geteuid};
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::tar::Meta;
use crate::{Error, ErrorKind, files};

/// Attributes that overlayfs obeys. A layer's own would let it show or hide what it has no right to.
const OVERLAY_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
/// Attributes that a directory gives to what is made in it.
const INHERITED_XATTRS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
/// The kernel's own limit of a file's attribute names, and of one value (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_MAX: usize = 64 << 10;

/// What a process gives to the files it makes, and what got lost: shared by all entries of a layer.
#[derive(Debug)]
pub(crate) struct Metadata {
    /// The owner that new files get by themselves, if it is certain.
    pub(crate) default_owner: Option<(Uid, Gid)>,
    /// The thread's umask is 0, so that files are made with their mode.
    pub(crate) exact_mode: bool,
    /// Some directory may pass its group or access list on to what is made in it.
    pub(crate) inherits: bool,
    pub(crate) dropped_xattrs: u64,
}

impl Metadata {
    /// Gives an open file or directory its owner, mode, attributes and time, in the one order that
    /// keeps all of them: a change of owner strips set-id bits and capabilities.
    pub(crate) fn set(&mut self, fd: impl AsFd, meta: &Meta, made_with_mode: bool) -> Result<(), Error> {
        if let Some((uid, gid)) = self.owner(meta) {
            fchown(&fd, Some(uid), Some(gid)).map_err(|e| Error::io("set the owner", e))?;
        }
        if self.inherits {
            disinherit(&fd)?;
        }
        if !(made_with_mode && self.mode_is_exact(meta)) {
            fchmod(&fd, Mode::from_bits_truncate(meta.mode)).map_err(|e| Error::io("set the mode", e))?;
        }
        for (name, value) in obeyed(meta) {
            rustix::fs::fsetxattr(&fd, files::os(name), value, XattrFlags::empty())
                .map_err(|e| xattr_error(name, e))?;
        }
        set_time(fd, meta.mtime)
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
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(parent, files::os(name), Some(uid), Some(gid), flags)
                .map_err(|e| Error::io("set the owner", e))?;
        }
        if has_mode && self.inherits {
            let path = proc_path(parent, name);
            gone(rustix::fs::lremovexattr(files::os(&path), INHERITED_XATTRS[0]))?;
        }
        if has_mode && !self.mode_is_exact(meta) {
            let mode = Mode::from_bits_truncate(meta.mode);
            fchmodat(parent, files::os(name), mode, FchmodatFlags::NoFollowSymlink)
                .map_err(|e| Error::io("set the mode", e))?;
        }
        for (key, value) in obeyed(meta) {
            let path = proc_path(parent, name);
            match rustix::fs::lsetxattr(files::os(&path), files::os(key), value, XattrFlags::empty()) {
                Ok(()) => {}
                // No Linux file system gives these kinds of files attributes of users (xattr(7)).
                Err(Errno::PERM) if key.starts_with(b"user.") => self.dropped_xattrs += 1,
                Err(e) => return Err(xattr_error(key, e)),
            }
        }
        let time = time(meta.mtime);
        utimensat(
            parent,
            files::os(name),
            &time,
            &time,
            UtimensatFlags::NoFollowSymlink,
        )
        .map_err(|e| Error::io("set the time", e))
    }

    fn owner(&self, meta: &Meta) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        (self.default_owner != Some(owner)).then_some(owner)
    }

    /// Whether a file that was made with its permissions has all of its mode.
    fn mode_is_exact(&self, meta: &Meta) -> bool {
        self.exact_mode && !self.inherits && meta.mode & 0o7000 == 0
    }
}

/// Whether a directory of this description passes its group or access list on.
pub(crate) fn passes_on(meta: &Meta) -> bool {
    meta.mode & Mode::S_ISGID.bits() != 0 || meta.xattrs.contains_key(DEFAULT_ACL)
}

/// What the tree itself says of a file, as an entry would say it.
pub(crate) fn read(parent: &OwnedFd, name: &[u8], stat: &FileStat) -> Result<Meta, Error> {
    let error = |e| Error::io("read an extended attribute", io::Error::from(e));
    let path = proc_path(parent.as_fd(), name);
    let mut buffer = vec![0u8; XATTR_MAX];
    let length = match rustix::fs::llistxattr(files::os(&path), &mut buffer[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result.map_err(error)?,
    };
    let names = buffer.get(..length).unwrap_or_default().to_vec();
    let mut meta = Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: modified(stat),
        ..Meta::default()
    };
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let length =
            rustix::fs::lgetxattr(files::os(&path), files::os(name), &mut buffer[..]).map_err(error)?;
        let value = buffer.get(..length).unwrap_or_default().to_vec();
        meta.xattrs.insert(name.to_vec(), value);
    }
    Ok(meta)
}

pub(crate) fn modified(stat: &FileStat) -> (i64, u32) {
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    (stat.st_mtime, nanos)
}

/// Only sets the time of an open directory.
pub(crate) fn set_time(fd: impl AsFd, mtime: (i64, u32)) -> Result<(), Error> {
    let time = time(mtime);
    futimens(&fd, &time, &time).map_err(|e| Error::io("set the time", e))
}

fn time((seconds, nanos): (i64, u32)) -> TimeSpec {
    TimeSpec::new(seconds, i64::from(nanos))
}

/// Takes away what a file or directory got from the directory it was made in.
pub(crate) fn disinherit(fd: impl AsFd) -> Result<(), Error> {
    INHERITED_XATTRS
        .iter()
        .try_for_each(|name| gone(rustix::fs::fremovexattr(&fd, *name)))
}

/// Makes a lower layer's directory like a new one, before a layer describes it: without attributes,
/// owned by the process.
pub(crate) fn renew(fd: impl AsFd) -> Result<(), Error> {
    fchown(&fd, Some(geteuid()), Some(getegid())).map_err(|e| Error::io("set the owner", e))?;
    let mut names = vec![0u8; XATTR_MAX];
    let length = match rustix::fs::flistxattr(&fd, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        result => result.map_err(|e| Error::io("list the extended attributes", io::Error::from(e)))?,
    };
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        match rustix::fs::fremovexattr(&fd, files::os(name)) {
            // Labels that the system puts on every file cannot be taken away.
            Err(Errno::PERM | Errno::ACCESS) => {}
            result => gone(result)?,
        }
    }
    Ok(())
}

/// Marks a directory as hiding whatever lower layers have in it.
pub(crate) fn set_opaque(fd: impl AsFd) -> Result<(), Error> {
    rustix::fs::fsetxattr(&fd, OPAQUE_XATTR, b"y", XattrFlags::empty())
        .map_err(|e| xattr_error(OPAQUE_XATTR.as_bytes(), e))
}

/// An attribute that is not there, or cannot be there, need not be removed.
fn gone(result: rustix::io::Result<()>) -> Result<(), Error> {
    match result {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(Error::io("remove an extended attribute", io::Error::from(e))),
    }
}

fn xattr_error(name: &[u8], error: Errno) -> Error {
    let kind = match error {
        Errno::OPNOTSUPP => ErrorKind::Xattr(name.to_vec()),
        _ => ErrorKind::Io("set an extended attribute"),
    };
    Error::with_source(kind, io::Error::from(error))
}

/// A path for the calls that take no directory handle. It leads through the handle to the one name,
/// which none of these calls follows.
fn proc_path(parent: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

pub(crate) fn obeyed(meta: &Meta) -> impl Iterator<Item = (&[u8], &[u8])> {
    meta.xattrs
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .filter(|(name, _)| !OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)))
}
