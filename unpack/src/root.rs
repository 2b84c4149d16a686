// SPDX-License-Identifier: Apache-2.0
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, getegid, geteuid, mkdir};

use crate::Error;

/// A handle of the directory that a tree is made in. Everything is reached from it, nothing above it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    inherits_group: bool,
}

impl Root {
    /// Makes the directory, which must not exist, with the metadata that a root has when no layer
    /// describes it: mode 0755, owned by the caller, modified at the start of 1970.
    pub fn create(path: &Path) -> Result<Root, Error> {
        mkdir(path, Mode::from_bits_truncate(0o700)).map_err(|e| Error::io("make the root directory", e))?;
        let root = Root::open(path)?;
        let io = |e| Error::io("prepare the root directory", e);
        // A parent with the set-group-ID bit would pass it and its group on to the whole tree.
        fchown(&root.fd, Some(geteuid()), Some(getegid())).map_err(io)?;
        fchmod(&root.fd, Mode::from_bits_truncate(0o755)).map_err(io)?;
        futimens(&root.fd, &TimeSpec::new(0, 0), &TimeSpec::new(0, 0)).map_err(io)?;
        Ok(Root {
            inherits_group: false,
            ..root
        })
    }

    /// Opens an existing directory, not a link to one.
    pub fn open(path: &Path) -> Result<Root, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|e| Error::io("open the root directory", e))?;
        let stat = fstat(&fd).map_err(|e| Error::io("open the root directory", e))?;
        Ok(Root {
            fd,
            inherits_group: stat.st_mode & Mode::S_ISGID.bits() != 0,
        })
    }

    /// The owner that new files get by themselves, if it is certain.
    pub(crate) fn default_owner(&self) -> Option<(Uid, Gid)> {
        (!self.inherits_group).then(|| (geteuid(), getegid()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
