// SPDX-License-Identifier: Apache-2.0
//! Turns entries into files.

mod content;
mod finish;
mod links;
mod whiteouts;

pub(crate) use content::write_pieces;

use std::collections::HashMap;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat, umask};
use nix::unistd::{getegid, geteuid, symlinkat};

use crate::dirs::{Child, Dirs, Id, Missing, ROOT};
use crate::metadata::Metadata;
use crate::names::{AUFS, WHITEOUT, components};
use crate::tar::{Entries, Entry, Kind, Meta, Piece};
use crate::{Error, Limits, Notes, Root, Whiteouts, files};

pub(crate) struct Extractor {
    dirs: Dirs,
    whiteouts: Whiteouts,
    limits: Limits,
    metadata: Metadata,
    entries: u64,
    /// Hard links to a lower layer's file, by directory and name, with the entry's place in the layer.
    links: HashMap<(Id, Vec<u8>), (u64, Vec<u8>)>,
    copies: links::Copies,
    /// Where the entry before was made; the next one is mostly there too.
    near: Option<Near>,
    /// No directory passes anything on to what is made in it, so far.
    plain: bool,
}

/// A directory by the name that led to it, which has no link in it. As long as the directory is there,
/// the name leads to it.
struct Near {
    /// With the slash behind it; empty for the root.
    name: Vec<u8>,
    id: Id,
}

pub(crate) struct Done {
    pub(crate) entries: u64,
    pub(crate) dropped_xattrs: u64,
    pub(crate) plain: bool,
    pub(crate) notes: Notes,
}

impl Extractor {
    /// To be called on the thread that extracts, which from then on has a umask of its own.
    pub(crate) fn new(root: &Root, whiteouts: Whiteouts, limits: &Limits) -> Result<Self, Error> {
        // The umask belongs to the process; this thread leaves it before it changes it.
        let exact_mode = unshare(CloneFlags::CLONE_FS).is_ok();
        if exact_mode {
            umask(Mode::empty());
        }
        let lower = whiteouts == Whiteouts::Remove;
        let plain = root.take_plain();
        Ok(Extractor {
            dirs: Dirs::new(root, lower, limits)?,
            whiteouts,
            limits: limits.clone(),
            metadata: Metadata {
                default_owner: plain.then(|| (geteuid(), getegid())),
                exact_mode,
                inherits: !plain,
                dropped_xattrs: 0,
            },
            entries: 0,
            links: HashMap::new(),
            copies: links::Copies::default(),
            near: None,
            plain,
        })
    }

    pub(crate) fn extract(mut self, input: impl BufRead) -> Result<Done, Error> {
        let mut archive = Entries::new(input, self.limits.clone());
        while let Some(entry) = archive.next()? {
            self.entries += 1;
            let Entry { name, kind, meta } = entry;
            self.entry(&name, kind, meta, &mut archive)
                .map_err(|e| e.at(&name))?;
        }
        let notes = self.finish()?;
        Ok(Done {
            entries: self.entries,
            dropped_xattrs: self.metadata.dropped_xattrs,
            plain: self.plain,
            notes,
        })
    }

    fn entry(
        &mut self,
        name: &[u8],
        kind: Kind,
        meta: Meta,
        archive: &mut Entries<impl BufRead>,
    ) -> Result<(), Error> {
        // Overlayfs takes this device for a whiteout, so no tree can show it; it opens nothing anyway.
        let hidden = kind == Kind::CharDevice(0, 0);
        if !hidden && let Some((parent, name)) = self.near(name) {
            return self.make(parent, name, kind, meta, archive);
        }
        let whole = name;
        let components = components(whole, &self.limits)?;
        let Some((name, parents)) = components.split_last() else {
            return match kind {
                Kind::Directory => {
                    self.dirs.remember(meta.weight())?;
                    self.dirs.node(ROOT).meta = Some(meta);
                    Ok(())
                }
                _ => Err(Error::refused("the root is no directory")),
            };
        };
        if let Some(parent) = parents.iter().find(|parent| parent.starts_with(WHITEOUT)) {
            return match parent.starts_with(AUFS) {
                true => Ok(()),
                false => Err(Error::refused("it lies below the name of a whiteout")),
            };
        }
        if let Some(lower) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parents, name, lower);
        }
        if hidden {
            return Ok(());
        }
        // `Missing::Make` always arrives.
        let parent = self.dirs.walk(parents, Missing::Make)?.unwrap_or(ROOT);
        let before = whole.strip_suffix(b"/").unwrap_or(whole).strip_suffix(*name);
        self.near = before
            .filter(|before| matches!(before, [] | [.., b'/']) && self.dirs.is_at(parent, parents))
            .map(|before| Near {
                name: before.to_vec(),
                id: parent,
            });
        self.make(parent, name, kind, meta, archive)
    }

    /// The directory and last part of a name that differs from the one before in nothing else.
    fn near<'a>(&mut self, name: &'a [u8]) -> Option<(Id, &'a [u8])> {
        let near = self.near.as_ref()?;
        let last = name.strip_prefix(&near.name[..])?;
        let last = last.strip_suffix(b"/").unwrap_or(last);
        let plain = !matches!(last, b"" | b"." | b"..")
            && !last.starts_with(WHITEOUT)
            && !last.iter().any(|b| matches!(b, b'/' | 0))
            && name.len() <= self.limits.name_bytes;
        let id = near.id;
        (plain && !self.dirs.node(id).removed).then_some((id, last))
    }

    fn make(
        &mut self,
        parent: Id,
        name: &[u8],
        kind: Kind,
        meta: Meta,
        archive: &mut Entries<impl BufRead>,
    ) -> Result<(), Error> {
        let child = match kind {
            Kind::Directory => return self.directory(parent, name, meta),
            Kind::File { size, pieces } => self.file(parent, name, &meta, size, pieces, archive)?,
            Kind::Symlink(target) => self.symlink(parent, name, &meta, &target)?,
            Kind::HardLink(target) => self.hard_link(parent, name, &target)?,
            Kind::Fifo => self.node(parent, name, &meta, SFlag::S_IFIFO, 0)?,
            Kind::CharDevice(major, minor) => {
                self.device(parent, name, &meta, SFlag::S_IFCHR, major, minor)?
            }
            Kind::BlockDevice(major, minor) => {
                self.device(parent, name, &meta, SFlag::S_IFBLK, major, minor)?
            }
        };
        if child != Child::Other || self.whiteouts == Whiteouts::Remove {
            self.dirs.set_child(parent, name, child)?;
        }
        Ok(())
    }

    fn directory(&mut self, parent: Id, name: &[u8], meta: Meta) -> Result<(), Error> {
        let id = self.dirs.make(parent, name)?;
        self.dirs.own(id);
        self.dirs.remember(meta.weight())?;
        self.dirs.node(id).meta = Some(meta);
        Ok(())
    }

    /// Does `make`; where the name is taken, removes what has it and does it again.
    fn replacing<T>(
        &mut self,
        parent: Id,
        name: &[u8],
        doing: &'static str,
        make: impl Fn(&OwnedFd) -> nix::Result<T>,
    ) -> Result<T, Error> {
        self.try_replacing(parent, name, make)?
            .map_err(|e| Error::io(doing, e))
    }

    /// The same, with what the kernel said in the end.
    fn try_replacing<T>(
        &mut self,
        parent: Id,
        name: &[u8],
        make: impl Fn(&OwnedFd) -> nix::Result<T>,
    ) -> Result<nix::Result<T>, Error> {
        let fd = self.dirs.fd(parent)?;
        Ok(match make(&fd) {
            Err(Errno::EEXIST) => {
                self.dirs.clear(parent, name)?;
                make(&fd)
            }
            result => result,
        })
    }

    fn file(
        &mut self,
        parent: Id,
        name: &[u8],
        meta: &Meta,
        size: u64,
        pieces: Option<Vec<Piece>>,
        archive: &mut Entries<impl BufRead>,
    ) -> Result<Child, Error> {
        let file = self.replacing(parent, name, "make a file", |fd| {
            files::create(fd, name, meta.mode)
        })?;
        match pieces {
            None => content::write_file(archive, &file, size)?,
            Some(pieces) => content::write_sparse(archive, &file, size, &pieces)?,
        }
        self.metadata.set(&file, meta, true)?;
        Ok(Child::Other)
    }

    fn symlink(&mut self, parent: Id, name: &[u8], meta: &Meta, target: &[u8]) -> Result<Child, Error> {
        if target.contains(&0) {
            return Err(Error::archive("a link's target holds a NUL byte"));
        }
        self.replacing(parent, name, "make a symbolic link", |fd| {
            symlinkat(files::os(target), fd, files::os(name))
        })?;
        self.metadata
            .set_at(self.dirs.fd(parent)?.as_fd(), name, meta, false)?;
        Ok(Child::Symlink)
    }

    fn device(
        &mut self,
        parent: Id,
        name: &[u8],
        meta: &Meta,
        kind: SFlag,
        major: u32,
        minor: u32,
    ) -> Result<Child, Error> {
        self.node(parent, name, meta, kind, makedev(major.into(), minor.into()))
    }

    fn node(
        &mut self,
        parent: Id,
        name: &[u8],
        meta: &Meta,
        kind: SFlag,
        device: u64,
    ) -> Result<Child, Error> {
        let mode = Mode::from_bits_truncate(meta.mode & 0o777);
        self.replacing(parent, name, "make a device or FIFO", |fd| {
            mknodat(fd, files::os(name), kind, mode, device)
        })?;
        self.metadata
            .set_at(self.dirs.fd(parent)?.as_fd(), name, meta, true)?;
        Ok(Child::Other)
    }
}
