// SPDX-License-Identifier: Apache-2.0
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{fchown, getegid, geteuid, mkdir};

use crate::{Error, metadata};

/// A handle of the directory that a tree is made in. Everything is reached from it, nothing above it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Everything below was made through this handle, and no directory passes its group or access
    /// list on to what is made in it.
    plain: AtomicBool,
}

impl Root {
    /// Makes the directory, which must not exist, with the metadata that a root has when no layer
    /// describes it: mode 0755, owned by the caller, modified at the start of 1970.
    pub fn create(path: &Path) -> Result<Root, Error> {
        mkdir(path, Mode::from_bits_truncate(0o700)).map_err(|e| Error::io("make the root directory", e))?;
        let root = Root::open(path)?;
        let io = |e| Error::io("prepare the root directory", e);
        // A parent's set-group-ID bit or access list would go on to the whole tree.
        fchown(&root.fd, Some(geteuid()), Some(getegid())).map_err(io)?;
        metadata::disinherit(&root.fd)?;
        fchmod(&root.fd, Mode::from_bits_truncate(0o755)).map_err(io)?;
        futimens(&root.fd, &TimeSpec::new(0, 0), &TimeSpec::new(0, 0)).map_err(io)?;
        root.set_plain(true);
        Ok(root)
    }

    /// Opens an existing directory, not a link to one. Files are a little slower to make in it than in
    /// one from [`Root::create`], since nothing is known of the directories there.
    pub fn open(path: &Path) -> Result<Root, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|e| Error::io("open the root directory", e))?;
        Ok(Root {
            fd,
            plain: AtomicBool::new(false),
        })
    }

    /// Whether new files get the owner and mode of the process alone. A layer takes the answer and
    /// gives it back when it is complete.
    pub(crate) fn take_plain(&self) -> bool {
        self.plain.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn set_plain(&self, plain: bool) {
        self.plain.store(plain, Ordering::Relaxed);
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
