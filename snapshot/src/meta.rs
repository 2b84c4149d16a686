// SPDX-License-Identifier: Apache-2.0
//! What an inode carries besides its content.
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};
use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};

use crate::dir::{file_type, proc_path};

/// The kernel's limits (XATTR_LIST_MAX, XATTR_SIZE_MAX): larger lists and values do not exist.
const XATTR_MAX: usize = 64 << 10;
/// Attributes by which overlayfs takes notes; they describe a layer, not the merged tree.
const OVERLAY: &[u8] = b"trusted.overlay.";
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// Owner, mode, times and extended attributes.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    mode: u32,
    uid: u32,
    gid: u32,
    accessed: TimeSpec,
    modified: TimeSpec,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Meta {
    /// What a directory has that nobody described: 0755, root, 1970.
    pub(crate) fn unnamed_directory() -> Self {
        let epoch = TimeSpec::new(0, 0);
        Meta {
            mode: 0o755,
            uid: 0,
            gid: 0,
            accessed: epoch,
            modified: epoch,
            xattrs: Vec::new(),
        }
    }

    /// Reads from any handle, one opened with O_PATH included.
    pub(crate) fn read(fd: impl AsFd) -> nix::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(Meta {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            accessed: TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
            modified: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            xattrs: xattrs(&proc_path(&fd))?,
        })
    }

    /// Writes to any handle, one opened with O_PATH included.
    ///
    /// The order matters: a change of owner clears set-id bits and `security.capability`, and every
    /// change but that of times is a change of a directory's times.
    pub(crate) fn apply(&self, fd: impl AsFd) -> nix::Result<()> {
        let path = proc_path(&fd);
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        fchownat(&fd, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        if file_type(&fstat(&fd)?) != SFlag::S_IFLNK {
            let mode = Mode::from_bits_truncate(self.mode);
            fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)?;
        }
        for (name, value) in &self.xattrs {
            setxattr(path.as_str(), name.as_c_str(), value, XattrFlags::empty()).map_err(errno)?;
        }
        utimensat(
            AT_FDCWD,
            path.as_str(),
            &self.accessed,
            &self.modified,
            UtimensatFlags::FollowSymlink,
        )
    }
}

/// Whether a layer's directory hides what lower layers have in it.
pub(crate) fn is_opaque(fd: impl AsFd) -> nix::Result<bool> {
    let mut value = [0; 2];
    match getxattr(proc_path(fd).as_str(), OPAQUE, &mut value[..]).map_err(errno) {
        Ok(length) => Ok(value.get(..length) == Some(b"y")),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP | Errno::ERANGE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an inode is overlayfs' mark for a name that is not there.
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    file_type(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

fn xattrs(path: &str) -> nix::Result<Vec<(CString, Vec<u8>)>> {
    let mut names = Vec::with_capacity(256);
    match read_growing(&mut names, |space| listxattr(path, space)) {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    }
    let mut found = Vec::new();
    for name in names
        .split_inclusive(|&byte| byte == 0)
        .filter(|name| !name.starts_with(OVERLAY))
    {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let mut value = Vec::with_capacity(256);
        match read_growing(&mut value, |space| getxattr(path, name, space)) {
            Ok(()) => found.push((name.to_owned(), value)),
            Err(Errno::ENODATA) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Reads into `buffer`, and once more with all the room there can be when its capacity is too small.
fn read_growing(
    buffer: &mut Vec<u8>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> nix::Result<()> {
    buffer.resize(buffer.capacity(), 0);
    let mut length = read(buffer);
    if length == Err(rustix::io::Errno::RANGE) {
        buffer.resize(XATTR_MAX, 0);
        length = read(buffer);
    }
    buffer.truncate(length.map_err(errno)?);
    Ok(())
}

pub(crate) fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
