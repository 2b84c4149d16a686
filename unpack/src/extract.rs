// SPDX-License-Identifier: Apache-2.0
//! Turns entries into files.

use std::collections::HashMap;
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat, umask};
use nix::unistd::{LinkatFlags, ftruncate, linkat, symlinkat, write};

use crate::dirs::{Child, Dirs, Id, Missing, ROOT};
use crate::files::{self, Metadata};
use crate::tar::{Entries, Entry, Kind, Meta, Piece};
use crate::{Error, Limits, Notes, Root, Whiteouts};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that aufs used for its own book-keeping; they say nothing about the layer.
const AUFS: &[u8] = b".wh..wh.";
/// What a directory gets that no entry describes.
const IMPLIED_MODE: u32 = 0o755;

pub(crate) struct Extractor {
    dirs: Dirs,
    whiteouts: Whiteouts,
    limits: Limits,
    metadata: Metadata,
    entries: u64,
    /// Hard links to a lower layer's file, by their own name, with the entry's place in the layer.
    links: HashMap<Vec<u8>, (u64, Vec<u8>)>,
}

pub(crate) struct Done {
    pub(crate) entries: u64,
    pub(crate) dropped_xattrs: u64,
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
        // Lower layers' directories may pass their group on.
        let default_owner = root.default_owner().filter(|_| !lower);
        Ok(Extractor {
            dirs: Dirs::new(root, lower, limits)?,
            whiteouts,
            limits: limits.clone(),
            metadata: Metadata {
                default_owner,
                exact_mode,
                dropped_xattrs: 0,
            },
            entries: 0,
            links: HashMap::new(),
        })
    }

    pub(crate) fn extract(mut self, input: impl BufRead) -> Result<Done, Error> {
        let mut archive = Entries::new(input, self.limits.clone());
        while let Some(entry) = archive.next()? {
            self.entries += 1;
            let name = entry.name.clone();
            self.entry(entry, &mut archive).map_err(|e| e.at(&name))?;
        }
        let notes = self.finish()?;
        Ok(Done {
            entries: self.entries,
            dropped_xattrs: self.metadata.dropped_xattrs,
            notes,
        })
    }

    fn entry(&mut self, entry: Entry, archive: &mut Entries<impl BufRead>) -> Result<(), Error> {
        let components = components(&entry.name, &self.limits)?;
        let Some((name, parents)) = components.split_last() else {
            return match entry.kind {
                Kind::Directory => {
                    self.dirs.node(ROOT).meta = Some(entry.meta);
                    Ok(())
                }
                _ => Err(Error::refused("the root is no directory")),
            };
        };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parents, name, hidden);
        }
        if let Some(parent) = parents.iter().find(|parent| parent.starts_with(WHITEOUT)) {
            return match parent.starts_with(AUFS) {
                true => Ok(()),
                false => Err(Error::refused("it lies below the name of a whiteout")),
            };
        }
        // Overlayfs takes this device for a whiteout, so no tree can show it; it opens nothing anyway.
        if entry.kind == Kind::CharDevice(0, 0) {
            return Ok(());
        }
        let parent = self.parent(parents)?;
        self.dirs.node(parent).filled = true;
        let child = match entry.kind {
            Kind::Directory => return self.directory(parent, name, entry.meta),
            Kind::File { size, pieces } => self.file(parent, name, &entry.meta, size, pieces, archive)?,
            Kind::Symlink(target) => self.symlink(parent, name, &entry.meta, &target)?,
            Kind::HardLink(target) => self.hard_link(parent, name, &target)?,
            Kind::Fifo => self.node(parent, name, &entry.meta, SFlag::S_IFIFO, 0)?,
            Kind::CharDevice(major, minor) => {
                self.device(parent, name, &entry.meta, SFlag::S_IFCHR, major, minor)?
            }
            Kind::BlockDevice(major, minor) => {
                self.device(parent, name, &entry.meta, SFlag::S_IFBLK, major, minor)?
            }
        };
        if child != Child::Other || self.whiteouts == Whiteouts::Remove {
            self.dirs.set_child(parent, name, child);
        }
        Ok(())
    }

    fn parent(&mut self, parents: &[&[u8]]) -> Result<Id, Error> {
        // `Missing::Make` always arrives.
        Ok(self.dirs.walk(parents, Missing::Make)?.unwrap_or(ROOT))
    }

    fn directory(&mut self, parent: Id, name: &[u8], meta: Meta) -> Result<(), Error> {
        let id = self.dirs.make(parent, name)?;
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
        let fd = self.dirs.fd(parent)?;
        let made = match make(&fd) {
            Err(Errno::EEXIST) => {
                self.dirs.clear(parent, name)?;
                make(&fd)
            }
            result => result,
        };
        made.map_err(|e| Error::io(doing, e))
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
            None => copy(archive, size, |bytes, _| write_all(&file, bytes))?,
            Some(pieces) => {
                for piece in pieces {
                    let start = piece.offset;
                    copy(archive, piece.length, |bytes, at| {
                        write_all_at(&file, bytes, start + at)
                    })?;
                }
                let length =
                    i64::try_from(size).map_err(|_| Error::limit("file_bytes", self.limits.file_bytes))?;
                ftruncate(&file, length).map_err(|e| Error::io("set the size", e))?;
            }
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

    fn hard_link(&mut self, parent: Id, name: &[u8], target: &[u8]) -> Result<Child, Error> {
        let components = components(target, &self.limits)?;
        let Some((target_name, target_parents)) = components.split_last() else {
            return Err(Error::refused("it is a hard link to the root"));
        };
        let target_parent = self.dirs.walk(target_parents, Missing::Stop)?;
        if let Some(target_parent) = target_parent
            && (target_parent, *target_name) == (parent, name)
        {
            return Ok(self.dirs.child(parent, name).unwrap_or(Child::Other));
        }
        let Some(id) = target_parent else {
            return self.missing_target(parent, name, target);
        };
        let from = self.dirs.fd(id)?;
        match files::stat(&from, target_name).map_err(|e| Error::io("look up a hard link's target", e))? {
            Some(stat) if files::is(&stat, SFlag::S_IFDIR) => {
                return Err(Error::refused("it is a hard link to a directory"));
            }
            Some(stat) if !files::is_whiteout(&stat) => {}
            _ => return self.missing_target(parent, name, target),
        }
        self.replacing(parent, name, "make a hard link", |to| {
            linkat(
                &from,
                files::os(target_name),
                to,
                files::os(name),
                LinkatFlags::empty(),
            )
        })?;
        Ok(self.dirs.child(id, target_name).unwrap_or(Child::Other))
    }

    fn missing_target(&mut self, parent: Id, name: &[u8], target: &[u8]) -> Result<Child, Error> {
        match self.whiteouts {
            Whiteouts::Remove => Err(Error::refused("it is a hard link to a file that is not there")),
            Whiteouts::Overlay => {
                self.dirs.clear(parent, name)?;
                let mut path = self.dirs.path(parent);
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
                let target = components(target, &self.limits)?.join(&b'/');
                self.links.insert(path, (self.entries, target));
                Ok(Child::Other)
            }
        }
    }

    /// A whiteout hides what lower layers have, never what its own layer has, wherever it stands.
    fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Error> {
        if name == OPAQUE {
            return self.opaque(parents);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::refused("it is a whiteout of no name"));
        }
        let Some(parent) = self.whiteout_parent(parents)? else {
            return Ok(());
        };
        self.dirs.node(parent).hidden.insert(hidden.into());
        match (self.whiteouts, self.dirs.child(parent, hidden)) {
            (Whiteouts::Overlay, Some(Child::Directory(id))) => self.dirs.node(id).opaque = true,
            (Whiteouts::Overlay, _) => {
                let fd = self.dirs.fd(parent)?;
                match mknodat(&fd, files::os(hidden), SFlag::S_IFCHR, Mode::empty(), 0) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(Error::io("make a whiteout", e)),
                }
            }
            (Whiteouts::Remove, Some(Child::Directory(id))) => self.clear_lower(id)?,
            (Whiteouts::Remove, Some(_)) => {}
            (Whiteouts::Remove, None) => self.dirs.clear(parent, hidden)?,
        }
        Ok(())
    }

    fn opaque(&mut self, parents: &[&[u8]]) -> Result<(), Error> {
        let Some(id) = self.whiteout_parent(parents)? else {
            return Ok(());
        };
        match self.whiteouts {
            Whiteouts::Overlay => {
                self.dirs.node(id).opaque = true;
                Ok(())
            }
            Whiteouts::Remove => self.clear_children(id),
        }
    }

    /// Where whiteouts remove, a directory that is not there has nothing to remove. Elsewhere it may
    /// be in a lower layer, unless this very layer has something else in its place.
    fn whiteout_parent(&mut self, parents: &[&[u8]]) -> Result<Option<Id>, Error> {
        self.dirs.walk(
            parents,
            match self.whiteouts {
                Whiteouts::Remove => Missing::Stop,
                Whiteouts::Overlay => Missing::MakeIfFree,
            },
        )
    }

    /// Takes everything out of a directory that this layer has not put there.
    fn clear_children(&mut self, id: Id) -> Result<(), Error> {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let fd = self.dirs.fd(id)?;
            for (name, _) in files::list(&fd).map_err(|e| Error::io("list a directory", e))? {
                match self.dirs.child(id, &name) {
                    None => {
                        files::remove(&fd, &name).map_err(|e| Error::io("remove what a whiteout hides", e))?
                    }
                    Some(Child::Directory(child)) => {
                        self.dirs.node(child).lower_time = None;
                        todo.push(child);
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The same, and the directory itself is this layer's alone from now on.
    fn clear_lower(&mut self, id: Id) -> Result<(), Error> {
        self.dirs.node(id).lower_time = None;
        self.clear_children(id)
    }

    /// Describes the directories, now that nothing more changes in them, and collects the notes.
    fn finish(&mut self) -> Result<Notes, Error> {
        let mut notes = Notes::default();
        for id in self.dirs.inner_first() {
            let path = self.dirs.path(id);
            self.finish_directory(id, &path, &mut notes)
                .map_err(|e| e.at(&path))?;
        }
        notes.implied.reverse();
        notes.hollow.reverse();
        notes.whiteouts.reverse();
        let mut links: Vec<_> = std::mem::take(&mut self.links).into_iter().collect();
        links.sort_by_key(|(_, (place, _))| *place);
        for (name, (_, target)) in links {
            if !self.exists(&name)? {
                notes.links.push((name, target));
            }
        }
        Ok(notes)
    }

    fn finish_directory(&mut self, id: Id, path: &[u8], notes: &mut Notes) -> Result<(), Error> {
        let fd = self.dirs.fd(id)?;
        let node = self.dirs.node(id);
        let (meta, lower_time) = (node.meta.take(), node.lower_time);
        let overlay = self.whiteouts == Whiteouts::Overlay;
        let (implied, filled) = (meta.is_none(), node.filled);
        if overlay && implied {
            notes.implied.push(path.to_vec());
        }
        if overlay && implied && !filled && id != ROOT {
            notes.hollow.push(path.to_vec());
        }
        if overlay && !node.hidden.is_empty() {
            notes.whiteouts.push(path.to_vec());
        }
        if overlay && node.opaque {
            // Overlayfs has no opaque root: the layers below are left out instead.
            match id {
                ROOT => notes.opaque_root = true,
                _ => files::set_opaque(&fd)?,
            }
        }
        if filled || !implied {
            let parent = self.dirs.parent(id);
            self.dirs.node(parent).filled = true;
        }
        match (meta, lower_time) {
            (None, Some(time)) => files::set_time(&fd, time),
            (Some(meta), Some(_)) => {
                files::clear_xattrs(&fd)?;
                self.metadata.set(&fd, &meta, false)
            }
            (meta, None) => {
                let implied = Meta {
                    mode: IMPLIED_MODE,
                    ..Meta::default()
                };
                self.metadata.set(&fd, &meta.unwrap_or(implied), false)
            }
        }
    }

    /// Whether a later entry of the layer made something under this path.
    fn exists(&mut self, path: &[u8]) -> Result<bool, Error> {
        let components: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        let Some((name, parents)) = components.split_last() else {
            return Ok(false);
        };
        let Some(parent) = self.dirs.walk(parents, Missing::Stop)? else {
            return Ok(true);
        };
        let fd = self.dirs.fd(parent)?;
        let stat = files::stat(&fd, name).map_err(|e| Error::io("look up a hard link", e))?;
        Ok(stat.is_some_and(|stat| !files::is_whiteout(&stat)))
    }
}

/// The parts of a name: the root has none, `.` and empty ones do not count.
fn components<'a>(name: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, Error> {
    if name.len() > limits.name_bytes {
        return Err(Error::limit("name_bytes", limits.name_bytes as u64));
    }
    if name.contains(&0) {
        return Err(Error::archive("a name holds a NUL byte"));
    }
    let parts: Vec<&[u8]> = name
        .split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    match parts.contains(&&b".."[..]) {
        true => Err(Error::refused("its name leads upwards with `..`")),
        false => Ok(parts),
    }
}

/// Hands `length` bytes of the entry on, with the place of each part among them.
fn copy(
    archive: &mut Entries<impl BufRead>,
    length: u64,
    mut put: impl FnMut(&[u8], u64) -> nix::Result<()>,
) -> Result<(), Error> {
    let mut done = 0;
    while done < length {
        let bytes = archive.data()?;
        let part = usize::try_from(length - done)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let Some(bytes) = bytes.get(..part).filter(|bytes| !bytes.is_empty()) else {
            return Err(Error::archive("an entry is shorter than its size"));
        };
        put(bytes, done).map_err(|e| Error::io("write", e))?;
        archive.consume(part);
        done += part as u64;
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn write_all_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> nix::Result<()> {
    while !bytes.is_empty() {
        let offset = i64::try_from(at).map_err(|_| Errno::EFBIG)?;
        match nix::sys::uio::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => {
                bytes = bytes.get(length..).unwrap_or_default();
                at += length as u64;
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
