// SPDX-License-Identifier: Apache-2.0
//! What is finally visible through a stack of layers, decided by looking names up top to bottom.
//!
//! The rules are those of overlayfs: the topmost layer that has a name decides; directories merge with
//! directories below until a whiteout, an opaque directory or anything else is in the way. On top of
//! them come the facts that a single layer's tree cannot hold (see [`Layer`]): directories without
//! metadata of their own, and hard links to files of lower layers.
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::dir::{self, DIRECTORY, HANDLE, beneath, file_type, shown, split};
use crate::error::{Context, quoted};
use crate::meta::{Meta, is_opaque, is_whiteout};
use crate::{Error, ErrorKind, Layer};

/// Device and inode number.
pub(crate) type Inode = (u64, u64);

#[derive(Debug)]
pub(crate) struct Stack<'a> {
    sheets: Vec<Sheet<'a>>,
    known: RefCell<Known>,
}

/// Directories looked up before, by the number of layers looked at and the path.
type Known = HashMap<(usize, Vec<u8>), Option<Rc<DirView>>>;

#[derive(Debug)]
struct Sheet<'a> {
    layer: &'a Layer,
    root: OwnedFd,
    implied: HashSet<&'a [u8]>,
    /// Names that the layer has besides those of its tree, by directory.
    extra: HashMap<&'a [u8], BTreeMap<&'a [u8], Extra>>,
    /// For each link, the first of the chain of links in this layer that it ends with.
    origin: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    /// A directory that has to exist for a link below it.
    Dir,
    Link(usize),
}

#[derive(Debug)]
enum Found {
    Nothing,
    Whiteout,
    Dir { opaque: bool },
    File(FileStat),
    Link(usize),
}

/// A visible directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DirView {
    /// The layers that have it and are not hidden, topmost first.
    pub(crate) live: Vec<usize>,
    /// The layer whose metadata it shows: the topmost that names it.
    pub(crate) named: Option<usize>,
}

/// What is visible at a path.
#[derive(Debug)]
pub(crate) enum View {
    Absent,
    Dir(DirView),
    File { layer: usize, stat: FileStat },
    Link { layer: usize, link: usize },
}

/// A visible hard link, and the file of a lower layer it leads to.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) name: Vec<u8>,
    pub(crate) source: Source,
}

#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) layer: usize,
    pub(crate) path: Vec<u8>,
    pub(crate) stat: FileStat,
}

impl Source {
    pub(crate) fn key(&self) -> (usize, Inode) {
        (self.layer, inode(&self.stat))
    }
}

pub(crate) fn inode(stat: &FileStat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

impl<'a> Stack<'a> {
    /// Opens the trees, bottom first.
    pub(crate) fn open(layers: &'a [Layer]) -> Result<Self, Error> {
        let sheets = layers.iter().map(Sheet::open).collect::<Result<_, _>>()?;
        Ok(Stack {
            sheets,
            known: RefCell::default(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.sheets.len()
    }

    pub(crate) fn root(&self, layer: usize) -> &OwnedFd {
        &self.sheets[layer].root
    }

    pub(crate) fn layer(&self, layer: usize) -> &'a Layer {
        self.sheets[layer].layer
    }

    /// The visible directory at `path`, if there is one, seen through the lowest `below` layers.
    pub(crate) fn dir(&self, path: &[u8], below: usize) -> Result<Option<Rc<DirView>>, Error> {
        let mut view = self.remember(b"", below, || self.top(below))?;
        for prefix in dir::ancestors(path).chain((!path.is_empty()).then_some(path)) {
            let Some(parent) = view else { return Ok(None) };
            view = self.remember(prefix, below, || self.child(&parent.live, prefix))?;
        }
        Ok(view)
    }

    /// What is visible at `path`, seen through the lowest `below` layers.
    pub(crate) fn lookup(&self, path: &[u8], below: usize) -> Result<View, Error> {
        match self.dir(split(path).0, below)? {
            Some(parent) => self.child(&parent.live, path),
            None => Ok(View::Absent),
        }
    }

    /// What is visible at `path`, whose parent directory is in `layers`, topmost first.
    pub(crate) fn child(&self, layers: &[usize], path: &[u8]) -> Result<View, Error> {
        let mut view = DirView::default();
        let mut closed = false;
        for &layer in layers {
            match self.sheets[layer].find(path)? {
                Found::Nothing => {}
                Found::Dir { opaque } => {
                    if !closed {
                        view.live.push(layer);
                    }
                    if view.named.is_none() && self.is_named(layer, path) {
                        view.named = Some(layer);
                    }
                    // An opaque directory hides what is in the one below, which still is its
                    // predecessor: one that is only implied goes on showing its metadata.
                    closed |= opaque;
                    if closed && view.named.is_some() {
                        break;
                    }
                }
                Found::File(stat) if view.live.is_empty() => return Ok(View::File { layer, stat }),
                Found::Link(link) if view.live.is_empty() => return Ok(View::Link { layer, link }),
                Found::Whiteout | Found::File(_) | Found::Link(_) => break,
            }
        }
        Ok(if view.live.is_empty() {
            View::Absent
        } else {
            View::Dir(view)
        })
    }

    /// The names in a visible directory and, for each, the layers that have it, topmost first.
    pub(crate) fn names(&self, path: &[u8], view: &DirView) -> Result<BTreeMap<Vec<u8>, Vec<usize>>, Error> {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for &layer in &view.live {
            let sheet = &self.sheets[layer];
            let mut add = |name: &[u8]| {
                let layers = names.entry(name.to_vec()).or_default();
                if layers.last() != Some(&layer) {
                    layers.push(layer);
                }
            };
            if let Some(dir) = sheet.tree_dir(path)? {
                for entry in dir::entries(&dir).at("read directory", shown(path))? {
                    add(entry.at("read directory", shown(path))?.name.to_bytes());
                }
            }
            sheet
                .extra
                .get(path)
                .into_iter()
                .flat_map(|extra| extra.keys())
                .for_each(|name| add(name));
        }
        Ok(names)
    }

    /// The metadata that a visible directory shows.
    pub(crate) fn meta(&self, path: &[u8], view: &DirView) -> Result<Meta, Error> {
        for layer in view.named.into_iter().chain(view.live.iter().copied()) {
            if let Some(dir) = self.sheets[layer].tree_dir(path)? {
                return Meta::read(&dir).at("read metadata of directory", shown(path));
            }
        }
        Ok(Meta::unnamed_directory())
    }

    /// The metadata of the root: a stand-in if no layer names it.
    pub(crate) fn root_meta(&self) -> Result<Meta, Error> {
        match self.dir(b"", self.len())? {
            Some(view) if view.named.is_some() => self.meta(b"", &view),
            _ => Ok(Meta::unnamed_directory()),
        }
    }

    /// Whether a layer names the directory itself, rather than only something below it.
    pub(crate) fn is_named(&self, layer: usize, path: &[u8]) -> bool {
        let sheet = &self.sheets[layer];
        !sheet.implied.contains(path) && sheet.extra(path) != Some(Extra::Dir)
    }

    /// All visible hard links to files of lower layers.
    ///
    /// # Errors
    /// `Layer` if one leads to nothing, or to a directory.
    pub(crate) fn links(&self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        for (layer, sheet) in self.sheets.iter().enumerate() {
            for (link, (name, _)) in sheet.layer.links.iter().enumerate() {
                match self.lookup(name, self.len())? {
                    View::Link { layer: l, link: k } if (l, k) == (layer, link) => {
                        links.push(Link {
                            name: name.clone(),
                            source: self.source(layer, link)?,
                        });
                    }
                    _ => {}
                }
            }
        }
        Ok(links)
    }

    /// Follows a link, and links to links, to the file.
    fn source(&self, mut layer: usize, mut link: usize) -> Result<Source, Error> {
        loop {
            let sheet = &self.sheets[layer];
            let (name, target) = &sheet.layer.links[sheet.origin[link]];
            match self.lookup(target, layer)? {
                View::File { layer, stat } => {
                    return Ok(Source {
                        layer,
                        path: target.clone(),
                        stat,
                    });
                }
                View::Link {
                    layer: lower,
                    link: next,
                } => (layer, link) = (lower, next),
                View::Absent | View::Dir(_) => {
                    let what = format!(
                        "hard link `{}` in layer {layer} leads to no file of a lower layer: `{}`",
                        quoted(shown(name)),
                        quoted(shown(target)),
                    );
                    return Err(Error::new(ErrorKind::Layer, what));
                }
            }
        }
    }

    fn top(&self, below: usize) -> Result<View, Error> {
        let layers = (0..below).rev().collect::<Vec<_>>();
        self.child(&layers, b"")
    }

    fn remember(
        &self,
        path: &[u8],
        below: usize,
        look: impl FnOnce() -> Result<View, Error>,
    ) -> Result<Option<Rc<DirView>>, Error> {
        let key = (below, path.to_vec());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let view = match look()? {
            View::Dir(view) => Some(Rc::new(view)),
            _ => None,
        };
        self.known.borrow_mut().insert(key, view.clone());
        Ok(view)
    }
}

impl<'a> Sheet<'a> {
    fn open(layer: &'a Layer) -> Result<Self, Error> {
        let mut sheet = Sheet {
            layer,
            root: dir::open_dir(&layer.tree)?,
            implied: layer.implied.iter().map(Vec::as_slice).collect(),
            extra: HashMap::new(),
            origin: Vec::with_capacity(layer.links.len()),
        };
        let mut last = HashMap::new();
        for (link, (name, target)) in layer.links.iter().enumerate() {
            if !is_plain(name) || !is_plain(target) {
                let what = format!("hard link has no plain relative name: `{}`", quoted(shown(name)));
                return Err(Error::new(ErrorKind::Layer, what));
            }
            let origin = last
                .get(target.as_slice())
                .map_or(link, |&earlier: &usize| sheet.origin[earlier]);
            sheet.origin.push(origin);
            last.insert(name.as_slice(), link);
            sheet.add(name, Extra::Link(link));
            for parent in dir::ancestors(name) {
                if sheet.extra(parent).is_none() && sheet.tree_dir(parent)?.is_none() {
                    sheet.add(parent, Extra::Dir);
                }
            }
        }
        Ok(sheet)
    }

    fn add(&mut self, path: &'a [u8], extra: Extra) {
        let (parent, name) = split(path);
        self.extra.entry(parent).or_default().insert(name, extra);
    }

    fn extra(&self, path: &[u8]) -> Option<Extra> {
        let (parent, name) = split(path);
        self.extra.get(parent)?.get(name).copied()
    }

    fn find(&self, path: &[u8]) -> Result<Found, Error> {
        let found = self.find_in_tree(path).at("look up in layer", shown(path))?;
        // What the tree has came after a link of the same name, except whiteouts, which are about
        // lower layers only.
        Ok(match (&found, self.extra(path)) {
            (Found::Nothing, Some(Extra::Dir)) => Found::Dir { opaque: false },
            (Found::Whiteout, Some(Extra::Dir)) => Found::Dir { opaque: true },
            (Found::Nothing | Found::Whiteout, Some(Extra::Link(link))) => Found::Link(link),
            _ => found,
        })
    }

    fn find_in_tree(&self, path: &[u8]) -> nix::Result<Found> {
        let handle = match beneath(&self.root, path, HANDLE) {
            // A link or a file stands where a directory would be: the layer has nothing below it.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Ok(Found::Nothing),
            other => other?,
        };
        let stat = fstat(&handle)?;
        Ok(if file_type(&stat) == SFlag::S_IFDIR {
            let opaque = (path.is_empty() && self.layer.opaque_root) || is_opaque(&handle)?;
            Found::Dir { opaque }
        } else if is_whiteout(&stat) {
            Found::Whiteout
        } else {
            Found::File(stat)
        })
    }

    fn tree_dir(&self, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        match beneath(&self.root, path, DIRECTORY) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            other => other.map(Some).at("open directory of layer", shown(path)),
        }
    }
}

/// Whether a path is relative, normalised, and cannot leave where it starts.
fn is_plain(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/')
        .all(|part| !matches!(part, b"" | b"." | b"..") && !part.contains(&0))
}

/// Every path in a layer's tree that leads to one of these inodes.
pub(crate) fn paths_of(root: &OwnedFd, inodes: &HashSet<u64>) -> Result<HashMap<u64, Vec<Vec<u8>>>, Error> {
    let mut found = HashMap::<_, Vec<_>>::new();
    dir::walk(root, |_, path, entry| {
        if inodes.contains(&entry.inode) {
            found.entry(entry.inode).or_default().push(path.to_vec());
        }
        Ok(())
    })
    .at("read layer", "/")?;
    Ok(found)
}
