// SPDX-License-Identifier: Apache-2.0
//! Staging: private directories for content that is not believed yet.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::dirs::{Dirs, c_name, fresh_dir, fresh_name, is};
use crate::error::Error;
use crate::{lock, remove};

const LOCK: &CStr = c"lock";
const SWEEP: &str = "cannot sweep staging";

/// A private directory (mode 0700) of one writer. Dropped, it is gone with all its content.
///
/// A writer that is killed leaves the directory behind, but not the lock on the file `lock` inside
/// it; the next [`Store::open`](crate::Store::open) of any process removes what nobody has locked.
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    name: String,
    staging: OwnedFd,
    dir: OwnedFd,
    // Closed after `drop` has removed the directory: who sweeps meanwhile sees it locked.
    _lock: File,
}

impl Stage {
    pub(crate) fn new(dirs: &Dirs) -> Result<Stage, Error> {
        Stage::make(dirs).map_err(|source| Error::io("cannot make a staging directory", &dirs.path, source))
    }

    fn make(dirs: &Dirs) -> io::Result<Stage> {
        loop {
            let name = fresh_dir(&dirs.staging)?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            // Until it is locked, a sweep of another process may take the directory for a dead
            // one: then the lock is held, or the directory is no longer in place. Another is made.
            let dir = match openat(&dirs.staging, name.as_str(), flags, Mode::empty()) {
                Ok(dir) => dir,
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let lock = match lock::open(&dir, LOCK) {
                Ok(lock) => lock,
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => {
                    let _ = remove::remove_tree(&dirs.staging, &c_name(&name));
                    return Err(source);
                }
            };
            if lock::try_exclusive(&lock)? && lock::in_place(&dir, &dirs.staging, &c_name(&name))? {
                let staging = dirs.staging.try_clone()?;
                return Ok(Stage {
                    path: dirs.path.join("staging").join(&name),
                    name,
                    staging,
                    dir,
                    _lock: lock,
                });
            }
        }
    }

    /// The directory, absolute. Any name but `lock` is free for use.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn dir(&self) -> &OwnedFd {
        &self.dir
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = remove::remove_tree(&self.staging, &c_name(&self.name)) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a staging directory");
        }
    }
}

/// Removes what dead writers left. An entry that cannot be removed is reported and does not stop
/// the others.
pub(crate) fn sweep(dirs: &Dirs) -> Result<(), Error> {
    let path = dirs.path.join("staging");
    for name in remove::names(&dirs.staging).map_err(|errno| Error::io(SWEEP, &path, errno))? {
        if let Err(error) = sweep_one(&dirs.staging, &name) {
            tracing::warn!(path = %path.display(), ?name, %error, "cannot remove a dead staging directory");
        }
    }
    Ok(())
}

fn sweep_one(staging: impl AsFd, name: &CStr) -> io::Result<()> {
    let staging = staging.as_fd();
    match fstatat(staging, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if is(&stat, SFlag::S_IFDIR) => {}
        // Nothing but directories is ever made here.
        Ok(_) => return Ok(unlinkat(staging, name, UnlinkatFlags::NoRemoveDir)?),
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let dir = match remove::open_dir(staging, name) {
        Ok(dir) => dir,
        Err(Errno::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    // A lock file that cannot be opened or made is held by nobody either.
    let held = match lock::open(&dir, LOCK) {
        Ok(lock) if !lock::try_exclusive(&lock)? => return Ok(()),
        Ok(lock) => Some(lock),
        Err(_) => None,
    };
    // Away from its name before its lock file is: a writer who has just made the directory, and
    // locks whatever lock file it then finds in it, sees that it is gone.
    let dead = fresh_name();
    match renameat(staging, name, staging, dead.as_str()) {
        Err(Errno::ENOENT) => return Ok(()),
        done => done?,
    }
    remove::remove_tree(staging, &c_name(&dead))?;
    drop(held);
    Ok(())
}
