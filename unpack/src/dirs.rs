// SPDX-License-Identifier: Apache-2.0
//! The directories that a layer has made or touched, and the links it has made.
//!
//! An entry's parents are found here: a link among them is followed only if this very layer made it,
//! inside the root, by this code. What a lower layer left there and is no directory gives way. So a
//! layer means the same wherever it is unpacked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::tar::Meta;
use crate::{Error, Limits, Root, files, metadata};

/// Links followed on the way to one entry, as many as the kernel follows.
const MAX_LINKS: u32 = 40;
/// Parts of the targets of these links: a path of the kernel's length takes no more than 2,048, and
/// what one entry costs must stay bounded.
const MAX_LINK_PARTS: usize = 2048;
/// Directory handles kept open; the next entry is nearly always near the last.
const OPEN: usize = 64;
/// Directories passed with one call to open one below; their names fit into one path for certain.
const HOP: usize = 15;
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
    /// The time that a lower layer's directory had before this layer touched it.
    pub(crate) lower_time: Option<(i64, u32)>,
    /// What an entry of this layer says of it; none for an implied directory.
    pub(crate) meta: Option<Meta>,
    /// Nothing of lower layers is in it.
    pub(crate) opaque: bool,
    /// Names in it that this layer's whiteouts hide.
    pub(crate) hidden: HashSet<Box<[u8]>>,
    removed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    Directory(Id),
    Symlink,
    /// Anything else; recorded only where lower layers are in the tree too.
    Other,
}

/// What [`Dirs::walk`] does where a directory is missing or something else is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make the directory, whatever has its place.
    Make,
    /// Make the directory, unless something else has its place.
    MakeIfFree,
    /// Make nothing.
    Stop,
}

#[derive(Debug)]
pub(crate) struct Dirs {
    nodes: Vec<Node>,
    root: Rc<OwnedFd>,
    open: HashMap<Id, Rc<OwnedFd>>,
    order: VecDeque<Id>,
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
            ..Node::new(ROOT, b"", 0)
        };
        Ok(Dirs {
            nodes: vec![node],
            root,
            open: HashMap::new(),
            order: VecDeque::new(),
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
                self.open.remove(&id);
                let node = self.node(id);
                node.removed = true;
                gone.extend(std::mem::take(&mut node.children).into_values());
            }
        }
    }

    /// A handle of the directory.
    pub(crate) fn fd(&mut self, id: Id) -> Result<Rc<OwnedFd>, Error> {
        if id == ROOT {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.open.get(&id) {
            return Ok(fd.clone());
        }
        let mut chain = Vec::new();
        let mut at = id;
        let mut fd = loop {
            if at == ROOT {
                break self.root.clone();
            }
            if let Some(fd) = self.open.get(&at) {
                break fd.clone();
            }
            chain.push(at);
            at = self.node(at).parent;
        };
        // From the outermost on. What lies on the way is kept open too: of a deep tree no directory is
        // then far from an open one.
        for hop in chain.rchunks(HOP) {
            let names: Vec<&[u8]> = hop.iter().rev().map(|id| self.name(*id)).collect();
            let path = names.join(&b'/');
            fd = Rc::new(files::open_dir(&fd, &path).map_err(|e| Error::io("open a directory", e))?);
            self.keep(hop[0], fd.clone());
        }
        Ok(fd)
    }

    fn name(&self, id: Id) -> &[u8] {
        &self.nodes[id.0 as usize].name
    }

    fn keep(&mut self, id: Id, fd: Rc<OwnedFd>) {
        if self.order.len() >= OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(id);
        self.open.insert(id, fd);
    }

    /// The directory that these components lead to from the root; none if `missing` forbids to make
    /// one on the way.
    pub(crate) fn walk(&mut self, components: &[&[u8]], missing: Missing) -> Result<Option<Id>, Error> {
        let (mut at, mut known) = (ROOT, 0);
        while let Some(Child::Directory(id)) = components.get(known).and_then(|name| self.child(at, name)) {
            (at, known) = (id, known + 1);
        }
        let rest = components.iter().skip(known);
        let mut todo: VecDeque<Box<[u8]>> = rest.map(|c| (*c).into()).collect();
        let (mut links, mut parts) = (0, 0);
        while let Some(name) = todo.pop_front() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    at = self.node(at).parent;
                    continue;
                }
                _ => {}
            }
            match self.lookup(at, &name)? {
                Some(Child::Directory(id)) => at = id,
                Some(Child::Symlink) => {
                    links += 1;
                    if links > MAX_LINKS {
                        let what = "more than 40 symbolic links lead to its directory";
                        return Err(Error::refused(what));
                    }
                    let target = readlinkat(self.fd(at)?, files::os(&name))
                        .map_err(|e| Error::io("read a symbolic link", e))?
                        .into_vec();
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    parts += target.iter().filter(|b| **b == b'/').count() + 1;
                    if parts > MAX_LINK_PARTS {
                        let what = "the symbolic links to its directory are too long together";
                        return Err(Error::refused(what));
                    }
                    target
                        .split(|b| *b == b'/')
                        .rev()
                        .for_each(|c| todo.push_front(c.into()));
                }
                found => match (missing, found) {
                    (Missing::Stop, _) | (Missing::MakeIfFree, Some(_)) => return Ok(None),
                    _ => at = self.make(at, &name)?,
                },
            }
        }
        Ok(Some(at))
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
                let made = self.add(id, name, None)?;
                // What it replaces hid a lower layer's directory of this name.
                self.node(made).opaque = true;
                Ok(made)
            }
            Err(e) => Err(error(e)),
        }
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
        // A whiteout of the same layer hides what lower layers have under this name.
        let opaque = self.node(parent).hidden.contains(name);
        self.nodes.push(Node {
            lower_time,
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
            lower_time: None,
            meta: None,
            opaque: false,
            hidden: HashSet::new(),
            removed: false,
        }
    }
}
