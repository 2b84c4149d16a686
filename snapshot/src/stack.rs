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

use nix::sys::stat::FileStat;

use crate::dir::{self, shown, split};
use crate::error::{Context, quoted};
use crate::meta::Meta;
use crate::sheet::{Found, Sheet};
use crate::{Error, ErrorKind, Layer};

/// Device and inode number.
pub(crate) type Inode = (u64, u64);

#[derive(Debug)]
pub(crate) struct Stack<'a> {
    sheets: Vec<Sheet<'a>>,
    known: RefCell<Known>,
}

/// Directories looked up before.
type Known = HashMap<(Sight, Vec<u8>), Option<Rc<DirView>>>;

/// Who looks, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sight {
    /// How many layers count, from the bottom.
    below: usize,
    pub(crate) rules: Rules,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rules {
    /// What the image means, the notes about its layers included.
    Image,
    /// What overlayfs makes of the trees alone.
    Kernel,
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
        let roots = layers.iter().map(open_tree).collect::<Result<_, _>>()?;
        Stack::with_roots(layers, roots)
    }

    /// Takes each layer's tree by the handle of its root, wherever it is.
    pub(crate) fn with_roots(layers: &'a [Layer], roots: Vec<OwnedFd>) -> Result<Self, Error> {
        let sheets = layers.iter().zip(roots);
        let sheets = sheets
            .map(|(layer, root)| Sheet::new(layer, root))
            .collect::<Result<_, _>>()?;
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

    pub(crate) fn sight(&self, rules: Rules) -> Sight {
        Sight {
            below: self.len(),
            rules,
        }
    }

    /// The visible directory at `path`, if there is one.
    pub(crate) fn dir(&self, path: &[u8], sight: Sight) -> Result<Option<Rc<DirView>>, Error> {
        let all = (0..sight.below).rev().collect::<Vec<_>>();
        let mut view = self.remember(b"", sight, &all)?;
        for prefix in dir::ancestors(path).chain((!path.is_empty()).then_some(path)) {
            let Some(parent) = view else { return Ok(None) };
            view = self.remember(prefix, sight, &parent.live)?;
        }
        Ok(view)
    }

    /// What is visible at `path`.
    pub(crate) fn lookup(&self, path: &[u8], sight: Sight) -> Result<View, Error> {
        match self.dir(split(path).0, sight)? {
            Some(parent) => self.child(&parent.live, path, sight.rules),
            None => Ok(View::Absent),
        }
    }

    /// What is visible at `path`, whose parent directory is in `layers`, topmost first.
    pub(crate) fn child(&self, layers: &[usize], path: &[u8], rules: Rules) -> Result<View, Error> {
        let mut view = DirView::default();
        let (mut solid, mut closed) = (false, false);
        for &layer in layers {
            let sheet = &self.sheets[layer];
            let found = match rules {
                Rules::Image => sheet.find(path)?,
                Rules::Kernel => sheet.find_in_tree(path)?,
            };
            match found {
                Found::Nothing => {}
                Found::Dir { opaque } => {
                    if !closed {
                        view.live.push(layer);
                    }
                    if view.named.is_none() && sheet.is_named(path) {
                        view.named = Some(layer);
                    }
                    solid |= rules == Rules::Kernel || !sheet.hollow.contains(path);
                    // An opaque directory hides what is in the one below, which still is its
                    // predecessor: one that is only implied goes on showing its metadata.
                    closed |= opaque;
                    if closed && view.named.is_some() {
                        break;
                    }
                }
                Found::File(stat) if !solid => return Ok(View::File { layer, stat }),
                Found::Link(link) if !solid => return Ok(View::Link { layer, link }),
                Found::Whiteout | Found::File(_) | Found::Link(_) => break,
            }
        }
        Ok(if solid { View::Dir(view) } else { View::Absent })
    }

    /// The names in a visible directory and, for each, the layers that have it, topmost first.
    pub(crate) fn names(&self, path: &[u8], view: &DirView) -> Result<BTreeMap<Vec<u8>, Vec<usize>>, Error> {
        let mut names = BTreeMap::<_, Vec<_>>::new();
        for &layer in &view.live {
            self.sheets[layer].names(path, |name| {
                let layers = names.entry(name.to_vec()).or_default();
                if layers.last() != Some(&layer) {
                    layers.push(layer);
                }
            })?;
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
        match self.dir(b"", self.sight(Rules::Image))? {
            Some(view) if view.named.is_some() => self.meta(b"", &view),
            _ => Ok(Meta::unnamed_directory()),
        }
    }

    /// The layers of a visible directory whose trees have it.
    pub(crate) fn in_trees(&self, path: &[u8], view: &DirView) -> Result<Vec<usize>, Error> {
        let mut layers = Vec::new();
        for &layer in &view.live {
            if self.sheets[layer].tree_dir(path)?.is_some() {
                layers.push(layer);
            }
        }
        Ok(layers)
    }

    /// The paths at which the kernel may see something else than the image means.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = &[u8]> {
        self.sheets.iter().flat_map(|sheet| {
            let links = sheet.layer.links.iter().map(|(name, _)| name.as_slice());
            links
                .chain(sheet.bare.iter().copied())
                .chain(sheet.hollow.iter().copied())
        })
    }

    /// All visible hard links to files of lower layers.
    ///
    /// # Errors
    /// `Layer` if one leads to nothing, or to a directory.
    pub(crate) fn links(&self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        for (layer, sheet) in self.sheets.iter().enumerate() {
            for (link, (name, _)) in sheet.layer.links.iter().enumerate() {
                match self.lookup(name, self.sight(Rules::Image))? {
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
            let lower = Sight {
                below: layer,
                rules: Rules::Image,
            };
            match self.lookup(target, lower)? {
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

    fn remember(&self, path: &[u8], sight: Sight, layers: &[usize]) -> Result<Option<Rc<DirView>>, Error> {
        let key = (sight, path.to_vec());
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let view = match self.child(layers, path, sight.rules)? {
            View::Dir(view) => Some(Rc::new(view)),
            _ => None,
        };
        self.known.borrow_mut().insert(key, view.clone());
        Ok(view)
    }
}

/// Opens the directory with a layer's tree.
pub(crate) fn open_tree(layer: &Layer) -> Result<OwnedFd, Error> {
    match &layer.image {
        Some(image) if layer.tree.as_os_str().is_empty() => {
            let what = format!(
                "only the `erofs` snapshotter mounts a layer which is an image: `{}`",
                quoted(image.index.as_os_str())
            );
            Err(Error::new(ErrorKind::Unsupported, what))
        }
        _ => dir::open_dir(&layer.tree),
    }
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
