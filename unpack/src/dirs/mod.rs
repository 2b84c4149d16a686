// SPDX-License-Identifier: Apache-2.0
//! The directories that a layer has made or touched, and the links it has made.
//!
//! An entry's parents are found here: a link among them is followed only if this very layer made it,
//! inside the root, by this code. What a lower layer left there and is no directory gives way. So a
//! layer means the same wherever it is unpacked.

mod handles;
mod walk;

pub(crate) use walk::{Gone, MAX_LINK_PARTS, MAX_LINKS, Missing};

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use self::handles::Opened;
use crate::tar::Meta;
use crate::{Error, Limits, Root, files, metadata};

/// About what a map or set takes for a name besides its bytes.
const RECORD: u64 = 64;
/// What a directory's node takes besides that.
const NODE: usize = size_of::<Node>();

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(u32);

pub(crate) const ROOT: Id = Id(0);

#[derive(Debug)]
pub(crate) struct Node {
    parent: Id,
    name: Box<[u8]>,
    depth: usize,
    children: HashMap<Box<[u8]>, Child>,
    /// No lower layer's directory shows its metadata in it.
    pub(crate) new: bool,
    /// The time that a lower layer's directory had before this layer touched it.
    pub(crate) lower_time: Option<(i64, u32)>,
    /// What an entry of this layer says of it; none for an implied directory.
    pub(crate) meta: Option<Meta>,
    /// An entry describes it or is below it; otherwise it was only passed on the way to a whiteout.
    pub(crate) own: bool,
    /// Nothing of lower layers is in it any more.
    pub(crate) alone: bool,
    /// Overlayfs has to be told so.
    pub(crate) opaque: bool,
    /// Names in it of which this layer hides what lower layers have.
    pub(crate) hidden: HashSet<Box<[u8]>>,
    /// Whiteouts for overlayfs were made in it.
    pub(crate) whiteouts: bool,
    pub(crate) removed: bool,
    /// Open, if it is one of those that are kept open.
    handle: Option<Rc<OwnedFd>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Directory(Id),
    Symlink,
    /// Anything else; recorded only where lower layers are in the tree too.
    Other,
}

#[derive(Debug)]
pub(crate) struct Dirs {
    nodes: Vec<Node>,
    /// The root holds lower layers already.
    lower: bool,
    root: Rc<OwnedFd>,
    /// Directories that were worked in: the next entry is nearly always near the last.
    last: Opened,
    /// Directories on the way to deep ones: of these none is then far from an open one.
    way: Opened,
    max_depth: usize,
    max_bytes: u64,
    bytes: u64,
}

impl Dirs {
    /// `lower`: the root holds lower layers already.
    pub(crate) fn new(root: &Root, lower: bool, limits: &Limits) -> Result<Self, Error> {
        let open = |e| Error::io("open the root directory", e);
        let root = Rc::new(
            root.as_fd()
                .try_clone_to_owned()
                .map_err(|e| Error::io("open the root directory", e))?,
        );
        let lower_time = match lower {
            true => Some(metadata::modified(&fstat(&root).map_err(open)?)),
            false => None,
        };
        let node = Node {
            lower_time,
            own: true,
            ..Node::new(ROOT, b"", 0)
        };
        Ok(Dirs {
            nodes: vec![node],
            lower,
            root,
            last: Opened::default(),
            way: Opened::default(),
            max_depth: limits.depth,
            max_bytes: limits.record_bytes,
            bytes: 0,
        })
    }

    pub(crate) fn node(&mut self, id: Id) -> &mut Node {
        // An id is only made together with its node, and nodes are never taken out.
        &mut self.nodes[id.0 as usize]
    }

    pub(crate) fn child(&self, id: Id, name: &[u8]) -> Option<Child> {
        self.nodes[id.0 as usize].children.get(name).copied()
    }

    /// The directories in a directory that are on record.
    pub(crate) fn directories(&self, id: Id) -> Vec<Id> {
        let children = self.nodes[id.0 as usize].children.values();
        children
            .filter_map(|child| match child {
                Child::Directory(id) => Some(*id),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn set_child(&mut self, id: Id, name: &[u8], child: Child) -> Result<(), Error> {
        self.remember(name.len())?;
        self.node(id).children.insert(name.into(), child);
        Ok(())
    }

    pub(crate) fn hide(&mut self, id: Id, name: &[u8]) -> Result<(), Error> {
        self.remember(name.len())?;
        self.node(id).hidden.insert(name.into());
        Ok(())
    }

    /// Counts a record with so many bytes of names. Nothing is ever counted back: what a layer makes
    /// and replaces again is bounded too.
    pub(crate) fn remember(&mut self, names: usize) -> Result<(), Error> {
        self.bytes = self.bytes.saturating_add(RECORD + names as u64);
        if self.bytes > self.max_bytes {
            return Err(Error::limit("record_bytes", self.max_bytes));
        }
        Ok(())
    }

    /// Forgets a name, and everything below it if it was a directory.
    pub(crate) fn forget(&mut self, id: Id, name: &[u8]) {
        let mut gone: Vec<Child> = self.node(id).children.remove(name).into_iter().collect();
        while let Some(child) = gone.pop() {
            if let Child::Directory(id) = child {
                let node = self.node(id);
                node.removed = true;
                node.handle = None;
                gone.extend(std::mem::take(&mut node.children).into_values());
            }
        }
    }

    pub(crate) fn name(&self, id: Id) -> &[u8] {
        &self.nodes[id.0 as usize].name
    }

    /// Marks a directory and those above it as the layer's own.
    pub(crate) fn own(&mut self, mut id: Id) {
        while !std::mem::replace(&mut self.node(id).own, true) {
            id = self.node(id).parent;
        }
    }

    /// What has this name, in the record or on disk. A lower layer's link counts as something else,
    /// and a whiteout as nothing.
    fn lookup(&mut self, id: Id, name: &[u8]) -> Result<Option<Child>, Error> {
        if let Some(child) = self.child(id, name) {
            return Ok(Some(child));
        }
        let fd = self.fd(id)?;
        match files::stat(&fd, name).map_err(|e| Error::io("look up a directory", e))? {
            None => Ok(None),
            Some(stat) if files::kind(&stat) == SFlag::S_IFDIR => {
                let child = self.add(id, name, Some(metadata::modified(&stat)))?;
                Ok(Some(Child::Directory(child)))
            }
            Some(stat) if files::is_whiteout(&stat) => Ok(None),
            Some(_) => Ok(Some(Child::Other)),
        }
    }

    /// Removes whatever has this name, from the tree and from the record.
    pub(crate) fn clear(&mut self, id: Id, name: &[u8]) -> Result<(), Error> {
        self.forget(id, name);
        let fd = self.fd(id)?;
        files::remove(&fd, name).map_err(|e| Error::io("replace what has the same name", e))
    }

    /// The directory of this name, new or already there; anything else gives way.
    pub(crate) fn make(&mut self, id: Id, name: &[u8]) -> Result<Id, Error> {
        if let Some(Child::Directory(child)) = self.child(id, name) {
            return Ok(child);
        }
        let fd = self.fd(id)?;
        // Closed to others until the layer is complete; its own mode is set at the end.
        let private = Mode::from_bits_truncate(0o700);
        let make = || mkdirat(&fd, files::os(name), private);
        let error = |e| Error::io("make a directory", e);
        match make() {
            Ok(()) => self.add(id, name, None),
            Err(Errno::EEXIST) => {
                if let Some(Child::Directory(child)) = self.lookup(id, name)? {
                    return Ok(child);
                }
                self.clear(id, name)?;
                make().map_err(error)?;
                // What it replaces has hidden what lower layers have under this name.
                self.hide(id, name)?;
                self.add(id, name, None)
            }
            Err(e) => Err(error(e)),
        }
    }

    /// Whether this layer keeps a name from showing anything of lower layers.
    pub(crate) fn is_alone(&self, parent: Id, name: &[u8]) -> bool {
        let node = &self.nodes[parent.0 as usize];
        node.alone || node.hidden.contains(name)
    }

    fn add(&mut self, parent: Id, name: &[u8], lower_time: Option<(i64, u32)>) -> Result<Id, Error> {
        self.remember(NODE + name.len())?;
        let depth = self.node(parent).depth + 1;
        if depth > self.max_depth {
            return Err(Error::limit("depth", self.max_depth as u64));
        }
        let id =
            Id(u32::try_from(self.nodes.len())
                .map_err(|_| Error::limit("directories", u64::from(u32::MAX)))?);
        let opaque = self.nodes[parent.0 as usize].hidden.contains(name);
        let new = self.is_alone(parent, name) || (self.lower && lower_time.is_none());
        self.nodes.push(Node {
            new,
            lower_time,
            alone: new,
            opaque,
            ..Node::new(parent, name, depth)
        });
        self.set_child(parent, name, Child::Directory(id))?;
        Ok(id)
    }

    /// All directories that are still there, the inner ones before those that hold them.
    pub(crate) fn inner_first(&self) -> Vec<Id> {
        let ids = (0u32..).map(Id).zip(&self.nodes);
        let mut ids: Vec<Id> = ids.filter(|(_, node)| !node.removed).map(|(id, _)| id).collect();
        ids.reverse();
        ids
    }

    /// Whether these parts are the directory's path.
    pub(crate) fn is_at(&self, mut id: Id, path: &[&[u8]]) -> bool {
        let named = path.iter().rev().all(|name| {
            let node = &self.nodes[id.0 as usize];
            let named = id != ROOT && *node.name == **name;
            id = node.parent;
            named
        });
        named && id == ROOT
    }

    /// The path of a name in a directory.
    pub(crate) fn path_of(&self, id: Id, name: &[u8]) -> Vec<u8> {
        let mut path = self.path(id);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// The path from the root, without a slash in front.
    pub(crate) fn path(&self, id: Id) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            names.push(self.name(at));
            at = self.nodes[at.0 as usize].parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

impl Node {
    fn new(parent: Id, name: &[u8], depth: usize) -> Self {
        Node {
            parent,
            name: name.into(),
            depth,
            children: HashMap::new(),
            new: false,
            lower_time: None,
            meta: None,
            own: false,
            alone: false,
            opaque: false,
            hidden: HashSet::new(),
            whiteouts: false,
            removed: false,
            handle: None,
        }
    }
}
