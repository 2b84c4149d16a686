// SPDX-License-Identifier: Apache-2.0
//! The changeset rules: one layer's entries, in order, upon the tree of the layers below.

use std::collections::{BTreeSet, VecDeque};

use fixture::{Entry, Kind};

use super::tree::{self, Ino, Meta, Node, ROOT, Tree};

/// The layer asks for what no layer may have.
#[derive(Debug)]
pub(super) struct Refused;

/// Where names lead: directories that are there, each by its parent and name, and then names of which
/// the first is no directory.
#[derive(Default)]
struct Place {
    path: Vec<(Ino, Vec<u8>, Ino)>,
    beyond: Vec<Vec<u8>>,
}

pub(super) struct Layer<'a> {
    tree: &'a mut Tree,
    /// Names that entries of this layer have made, or passed as directories on their way.
    own: BTreeSet<(Ino, Vec<u8>)>,
    /// Symbolic links that this layer has made.
    links: BTreeSet<Ino>,
    /// Directories that an entry of this layer describes.
    described: BTreeSet<Ino>,
    /// Attributes in `user.` for kinds of files that cannot have them.
    pub(super) dropped: u64,
}

impl<'a> Layer<'a> {
    pub(super) fn new(tree: &'a mut Tree) -> Self {
        Layer {
            tree,
            own: BTreeSet::new(),
            links: BTreeSet::new(),
            described: BTreeSet::new(),
            dropped: 0,
        }
    }

    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Refused> {
        let is_directory = match &entry.kind {
            Kind::Directory => true,
            // Only where the archive has no other way to say it.
            Kind::File(_) => entry.flag == Some(0) && entry.name.ends_with(b"/"),
            _ => false,
        };
        let parts = components(&entry.name)?;
        let Some((name, parents)) = parts.split_last() else {
            if !is_directory {
                return Err(Refused);
            }
            *self.tree.meta(ROOT) = self.meta(entry, true);
            self.described.insert(ROOT);
            return Ok(());
        };
        // Names with this prefix are reserved: nothing can be below them.
        if let Some(reserved) = parents.iter().find(|part| part.starts_with(b".wh.")) {
            return if reserved.starts_with(b".wh..wh.") {
                Ok(())
            } else {
                Err(Refused)
            };
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return self.whiteout(parents, name, hidden);
        }
        if entry.kind == Kind::Character(0, 0) {
            return Ok(());
        }
        let parent = self.make_parents(parents)?;
        match &entry.kind {
            _ if is_directory => {
                let ino = self.directory(parent, name);
                *self.tree.meta(ino) = self.meta(entry, true);
                self.described.insert(ino);
            }
            Kind::Hardlink(target) => {
                let ino = self.link_target(target, parent, name)?;
                self.put(parent, name, ino);
            }
            kind => {
                let node = match kind.clone() {
                    Kind::File(content) => Node::File(content),
                    Kind::Symlink(target) => Node::Symlink(target),
                    Kind::Fifo => Node::Fifo,
                    Kind::Character(major, minor) => Node::Character(major, minor),
                    Kind::Block(major, minor) => Node::Block(major, minor),
                    Kind::Directory | Kind::Hardlink(_) => return Err(Refused),
                };
                let mut meta = self.meta(entry, matches!(node, Node::File(_)));
                if matches!(node, Node::Symlink(_)) {
                    meta.mode = 0o777;
                }
                let is_link = matches!(node, Node::Symlink(_));
                let ino = self.tree.add(node, meta);
                if is_link {
                    self.links.insert(ino);
                }
                self.put(parent, name, ino);
            }
        }
        Ok(())
    }

    /// The metadata of an entry; only files and directories can have attributes in `user.`.
    fn meta(&mut self, entry: &Entry, user_xattrs: bool) -> Meta {
        let mut xattrs = entry.xattrs.clone();
        xattrs.retain(|(name, _)| {
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        });
        let before = xattrs.len();
        xattrs.retain(|(name, _)| user_xattrs || !name.starts_with(b"user."));
        self.dropped += (before - xattrs.len()) as u64;
        Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: xattrs.into_iter().collect(),
        }
    }

    fn put(&mut self, directory: Ino, name: &[u8], ino: Ino) {
        self.tree.put(directory, name, ino);
        self.own.insert((directory, name.to_vec()));
    }

    /// The directory of this name; anything else that has the name gives way.
    fn directory(&mut self, parent: Ino, name: &[u8]) -> Ino {
        let ino = match self.tree.child(parent, name) {
            Some(ino) if self.tree.is_directory(ino) => ino,
            _ => self.tree.add(tree::directory(parent), Meta::implied()),
        };
        self.put(parent, name, ino);
        ino
    }

    /// The directory that these names lead to, made where it is missing. All on its path are then
    /// this layer's, too; what a link only passes to come back from it by `..` is not.
    fn make_parents(&mut self, parts: &[&[u8]]) -> Result<Ino, Refused> {
        let Place { path, beyond } = self.resolve(parts)?;
        let mut at = path.last().map_or(ROOT, |(_, _, ino)| *ino);
        self.own
            .extend(path.into_iter().map(|(parent, name, _)| (parent, name)));
        for name in beyond {
            if name.starts_with(b".wh.") {
                return Err(Refused);
            }
            at = self.directory(at, &name);
        }
        Ok(at)
    }

    /// The directory that these names lead to, if it is there.
    fn find(&mut self, parts: &[&[u8]]) -> Result<Option<Ino>, Refused> {
        let place = self.resolve(parts)?;
        let found = place.beyond.is_empty();
        Ok(found.then(|| place.path.last().map_or(ROOT, |(_, _, ino)| *ino)))
    }

    /// Follows links of this layer and no others. Nothing is asked of lower layers: `..` takes back
    /// the name before it whatever has that name, and if nothing has.
    fn resolve(&self, parts: &[&[u8]]) -> Result<Place, Refused> {
        let mut todo: VecDeque<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        let mut followed = 0;
        let mut place = Place::default();
        while let Some(name) = todo.pop_front() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    if place.beyond.pop().is_none() {
                        place.path.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let at = place.path.last().map_or(ROOT, |(_, _, ino)| *ino);
            let child = self.tree.child(at, &name).filter(|_| place.beyond.is_empty());
            match child {
                Some(link) if self.links.contains(&link) => {
                    followed += 1;
                    if followed > 40 {
                        return Err(Refused);
                    }
                    if let Node::Symlink(target) = &self.tree.get(link).node {
                        if target.starts_with(b"/") {
                            place = Place::default();
                        }
                        for part in target.split(|b| *b == b'/').rev() {
                            todo.push_front(part.to_vec());
                        }
                    }
                }
                Some(ino) if self.tree.is_directory(ino) => place.path.push((at, name, ino)),
                _ => place.beyond.push(name),
            }
        }
        Ok(place)
    }

    fn link_target(&mut self, target: &[u8], parent: Ino, name: &[u8]) -> Result<Ino, Refused> {
        let parts = components(target)?;
        let (target_name, parents) = parts.split_last().ok_or(Refused)?;
        let directory = self.find(parents)?.ok_or(Refused)?;
        let ino = self.tree.child(directory, target_name).ok_or(Refused)?;
        if self.tree.is_directory(ino) {
            return Err(Refused);
        }
        // The link takes the place of a directory that holds its target: then there is none.
        match self.tree.child(parent, name) {
            Some(replaced) if self.tree.is_directory(replaced) && self.tree.is_below(directory, replaced) => {
                Err(Refused)
            }
            _ => Ok(ino),
        }
    }

    fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Refused> {
        let opaque = name == b".wh..wh..opq";
        if name.starts_with(b".wh..wh.") && !opaque {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Refused);
        }
        let Some(parent) = self.find(parents)? else {
            return Ok(());
        };
        if opaque {
            self.hide_lower(parent);
        } else {
            self.hide_name(parent, hidden);
        }
        Ok(())
    }

    /// Takes out of a directory what is not this layer's.
    fn hide_lower(&mut self, directory: Ino) {
        for (name, _) in self.tree.names(directory) {
            self.hide_name(directory, &name);
        }
    }

    fn hide_name(&mut self, directory: Ino, name: &[u8]) {
        if !self.own.contains(&(directory, name.to_vec())) {
            self.tree.remove(directory, name);
        } else if let Some(ino) = self
            .tree
            .child(directory, name)
            .filter(|ino| self.tree.is_directory(*ino))
        {
            self.hide_lower(ino);
            if !self.described.contains(&ino) {
                *self.tree.meta(ino) = Meta::implied();
            }
        }
    }
}

/// A name's parts; the root has none.
fn components(name: &[u8]) -> Result<Vec<&[u8]>, Refused> {
    let parts: Vec<&[u8]> = name
        .split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(Refused);
    }
    Ok(parts)
}
