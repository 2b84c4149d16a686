// SPDX-License-Identifier: Apache-2.0
//! Hard links, also more of them than a file system allows to one file.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, mknodat};
use nix::unistd::{LinkatFlags, linkat, symlinkat};

use super::{Extractor, content};
use crate::dirs::{Child, Gone, Id, Missing};
use crate::names::{components, is_below};
use crate::{Error, Whiteouts, files, metadata};

/// Copies of files that have as many names as their file system allows: 65,000 on ext4. Of each such
/// file the newest copy takes the further names.
#[derive(Debug, Default)]
pub(super) struct Copies {
    newest: HashMap<(u64, u64), OwnedFd>,
    /// Bytes that the copies hold.
    bytes: u64,
}

impl Extractor {
    pub(super) fn hard_link(&mut self, parent: Id, name: &[u8], target: &[u8]) -> Result<Child, Error> {
        let components = components(target, &self.limits)?;
        let Some((target_name, target_parents)) = components.split_last() else {
            return Err(Error::refused("it is a hard link to the root"));
        };
        let id = match self.dirs.walk(target_parents, Missing::Stop)? {
            Ok(id) => id,
            Err(gone) => {
                let lower = self.dirs.lower_path(target_parents, target_name)?;
                return self.lower_target(parent, name, lower, gone);
            }
        };
        let from = self.dirs.fd(id)?;
        let stat =
            files::stat(&from, target_name).map_err(|e| Error::io("look up a hard link's target", e))?;
        let recorded = self.dirs.child(id, target_name);
        let itself = (id, *target_name) == (parent, name);
        match (stat, recorded) {
            // A directory that is only there for whiteouts; what the lower layer has is not known.
            (_, Some(Child::Directory(child)))
                if self.whiteouts == Whiteouts::Overlay && !self.dirs.node(child).own =>
            {
                let lower = self.dirs.path_of(id, target_name);
                self.lower_target(parent, name, lower, Gone::Missing)
            }
            (Some(stat), _) if files::kind(&stat) == SFlag::S_IFDIR => {
                Err(Error::refused("it is a hard link to a directory"))
            }
            (Some(stat), _) if !files::is_whiteout(&stat) => {
                // A file is not to be replaced by itself.
                if !itself {
                    self.link(&from, target_name, &stat, parent, name)?;
                }
                Ok(recorded.unwrap_or(Child::Other))
            }
            // A link of this layer to a lower one's file, which may yet be replaced.
            (None, Some(_)) => {
                let link = self.links.get(&(id, target_name.to_vec()));
                let first = link.map(|(_, first)| first.clone());
                let lower = first.unwrap_or_else(|| self.dirs.path_of(id, target_name));
                self.missing_target(parent, name, lower, Gone::Missing)
            }
            _ => {
                let gone = match self.dirs.is_alone(id, target_name) {
                    true => Gone::Hidden,
                    false => Gone::Missing,
                };
                let lower = self.dirs.path_of(id, target_name);
                self.lower_target(parent, name, lower, gone)
            }
        }
    }

    fn link(
        &mut self,
        from: &OwnedFd,
        target: &[u8],
        stat: &FileStat,
        parent: Id,
        name: &[u8],
    ) -> Result<(), Error> {
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(copy) = self.copies.newest.remove(&inode) {
            let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
            let made = self.try_replacing(parent, name, |to| {
                let flags = LinkatFlags::AT_SYMLINK_FOLLOW;
                linkat(AT_FDCWD, path.as_str(), to, files::os(name), flags)
            })?;
            // Otherwise it is full too, or all of its names were replaced since.
            if made.is_ok() {
                self.copies.newest.insert(inode, copy);
                return Ok(());
            }
        }
        let made = self.try_replacing(parent, name, |to| {
            linkat(from, files::os(target), to, files::os(name), LinkatFlags::empty())
        })?;
        match made {
            Ok(()) => Ok(()),
            Err(Errno::EMLINK) => {
                let copy = self.copy(from, target, stat, parent, name)?;
                self.copies.newest.insert(inode, copy);
                Ok(())
            }
            // It was there, before the name was made free.
            Err(Errno::ENOENT) => Err(Error::refused("it is a hard link to a file below its own name")),
            Err(e) => Err(Error::io("make a hard link", e)),
        }
    }

    /// Makes the name as a file of its own, like the target in everything. Gives a handle to link to.
    fn copy(
        &mut self,
        from: &OwnedFd,
        target: &[u8],
        stat: &FileStat,
        parent: Id,
        name: &[u8],
    ) -> Result<OwnedFd, Error> {
        let error = |e| Error::io("copy a file with too many hard links", e);
        let bytes = u64::try_from(stat.st_blocks)
            .unwrap_or_default()
            .saturating_mul(512);
        self.copies.bytes = self.copies.bytes.saturating_add(bytes);
        if self.copies.bytes > self.limits.layer_bytes {
            return Err(Error::limit("layer_bytes", self.limits.layer_bytes));
        }
        let meta = metadata::read(from, target, stat)?;
        let to = self.dirs.fd(parent)?;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match files::kind(stat) {
            SFlag::S_IFREG => {
                let source =
                    openat(from, files::os(target), flags | OFlag::O_RDONLY, Mode::empty()).map_err(error)?;
                let file = File::from(files::create(&to, name, meta.mode).map_err(error)?);
                content::duplicate(&File::from(source), &file)
                    .map_err(|e| Error::io("copy a file with too many hard links", e))?;
                self.metadata.set(&file, &meta, true)?;
            }
            SFlag::S_IFLNK => {
                let text = readlinkat(from, files::os(target)).map_err(error)?;
                symlinkat(text.as_os_str(), &to, files::os(name)).map_err(error)?;
                self.metadata.set_at(to.as_fd(), name, &meta, false)?;
            }
            kind => {
                let mode = Mode::from_bits_truncate(meta.mode & 0o777);
                mknodat(&to, files::os(name), kind, mode, stat.st_rdev).map_err(error)?;
                self.metadata.set_at(to.as_fd(), name, &meta, true)?;
            }
        }
        openat(&to, files::os(name), flags | OFlag::O_PATH, Mode::empty()).map_err(error)
    }

    /// What a lower layer has under this path is the target, unless the link takes its directory's place.
    fn lower_target(&mut self, parent: Id, name: &[u8], target: Vec<u8>, gone: Gone) -> Result<Child, Error> {
        if is_below(&target, &self.dirs.path_of(parent, name)) {
            return Err(Error::refused("it is a hard link to a file below its own name"));
        }
        self.missing_target(parent, name, target, gone)
    }

    /// The target may be what a lower layer has under this path; then the link is left to the notes.
    fn missing_target(
        &mut self,
        parent: Id,
        name: &[u8],
        target: Vec<u8>,
        gone: Gone,
    ) -> Result<Child, Error> {
        if self.whiteouts == Whiteouts::Remove || gone == Gone::Hidden {
            return Err(Error::refused("it is a hard link to a file that is not there"));
        }
        let own = self.dirs.path_of(parent, name);
        self.dirs.clear(parent, name)?;
        // To itself: what the lower layer has is seen where nothing else is.
        if target != own {
            self.dirs.hide(parent, name)?;
        }
        // The notes hold the whole path of it.
        self.dirs.remember(own.len() + target.len())?;
        self.links.insert((parent, name.to_vec()), (self.entries, target));
        self.dirs.set_child(parent, name, Child::Other)?;
        Ok(Child::Other)
    }
}
