// SPDX-License-Identifier: Apache-2.0
//! What one layer has, by its tree and by the notes about it.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat};

use crate::dir::{self, DIRECTORY, HANDLE, beneath, file_type, join, shown, split};
use crate::error::{Context, quoted};
use crate::meta::{is_opaque, is_whiteout};
use crate::{Error, ErrorKind, Layer};

/// An opened layer.
#[derive(Debug)]
pub(crate) struct Sheet<'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) root: OwnedFd,
    implied: HashSet<&'a [u8]>,
    /// Implied directories with nothing but whiteouts: they are there to hide, not to be.
    pub(crate) hollow: HashSet<&'a [u8]>,
    /// Names that the layer has besides those of its tree, by directory.
    extra: HashMap<&'a [u8], BTreeMap<&'a [u8], Extra>>,
    /// Directories that have to exist for links below them, and that the tree does not have.
    pub(crate) bare: Vec<&'a [u8]>,
    /// For each link, the first of the chain of links in this layer that it ends with.
    pub(crate) origin: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    /// One of the bare directories.
    Dir,
    Link(usize),
}

/// What a layer has at a path.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Whiteout,
    Dir { opaque: bool },
    File(FileStat),
    Link(usize),
}

impl<'a> Sheet<'a> {
    /// Takes the layer's tree by the handle of its root.
    pub(crate) fn new(layer: &'a Layer, root: OwnedFd) -> Result<Self, Error> {
        let mut sheet = Sheet {
            layer,
            root,
            implied: layer.implied.iter().map(Vec::as_slice).collect(),
            hollow: HashSet::new(),
            extra: HashMap::new(),
            bare: Vec::new(),
            origin: Vec::with_capacity(layer.links.len()),
        };
        let dirs = layer
            .implied
            .iter()
            .chain(&layer.whiteouts)
            .filter(|path| !path.is_empty());
        if let Some(bad) = dirs
            .chain(layer.links.iter().flat_map(|(name, target)| [name, target]))
            .find(|path| !is_plain(path))
        {
            let what = format!(
                "notes about a layer have no plain relative path: `{}`",
                quoted(shown(bad))
            );
            return Err(Error::new(ErrorKind::Layer, what));
        }
        let mut last = HashMap::new();
        for (link, (name, target)) in layer.links.iter().enumerate() {
            let origin = last
                .get(target.as_slice())
                .map_or(link, |&earlier: &usize| sheet.origin[earlier]);
            sheet.origin.push(origin);
            last.insert(name.as_slice(), link);
            sheet.add(name, Extra::Link(link));
            for parent in dir::ancestors(name) {
                if sheet.extra(parent).is_none() && sheet.tree_dir(parent)?.is_none() {
                    sheet.add(parent, Extra::Dir);
                    sheet.bare.push(parent);
                }
            }
        }
        sheet.find_hollow()?;
        Ok(sheet)
    }

    /// Whether the layer names the directory itself, rather than only something below it.
    pub(crate) fn is_named(&self, path: &[u8]) -> bool {
        !self.implied.contains(path) && self.extra(path) != Some(Extra::Dir)
    }

    /// The names in a directory, those of the tree first; some may come twice.
    pub(crate) fn names(&self, path: &[u8], mut add: impl FnMut(&[u8])) -> Result<(), Error> {
        if let Some(dir) = self.tree_dir(path)? {
            for entry in dir::entries(&dir).at("read directory", shown(path))? {
                add(entry.at("read directory", shown(path))?.name.to_bytes());
            }
        }
        self.extra
            .get(path)
            .into_iter()
            .flat_map(|extra| extra.keys())
            .for_each(|name| add(name));
        Ok(())
    }

    fn find_hollow(&mut self) -> Result<(), Error> {
        let links = self.layer.links.iter().map(|(name, _)| name);
        let filled = links
            .flat_map(|name| dir::ancestors(name))
            .collect::<HashSet<_>>();
        let mut implied = self
            .implied
            .iter()
            .copied()
            .filter(|path| !path.is_empty())
            .collect::<Vec<_>>();
        // In reverse order of their names, directories come before what holds them.
        implied.sort_unstable_by(|a, b| b.cmp(a));
        for path in implied.into_iter().filter(|path| !filled.contains(path)) {
            if self.holds_only_whiteouts(path)? {
                self.hollow.insert(path);
            }
        }
        Ok(())
    }

    fn holds_only_whiteouts(&self, path: &[u8]) -> Result<bool, Error> {
        let Some(dir) = self.tree_dir(path)? else {
            return Ok(false);
        };
        for entry in dir::entries(&dir).at("read directory", shown(path))? {
            let below = join(path, entry.at("read directory", shown(path))?.name.to_bytes());
            match self.find_in_tree(&below)? {
                Found::Whiteout => {}
                Found::Dir { .. } if self.hollow.contains(below.as_slice()) => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn add(&mut self, path: &'a [u8], extra: Extra) {
        let (parent, name) = split(path);
        self.extra.entry(parent).or_default().insert(name, extra);
    }

    fn extra(&self, path: &[u8]) -> Option<Extra> {
        let (parent, name) = split(path);
        self.extra.get(parent)?.get(name).copied()
    }

    pub(crate) fn find(&self, path: &[u8]) -> Result<Found, Error> {
        let found = self.find_in_tree(path)?;
        // What the tree has came after a link of the same name, except whiteouts, which are about
        // lower layers only.
        Ok(match (&found, self.extra(path)) {
            (Found::Nothing, Some(Extra::Dir)) => Found::Dir { opaque: false },
            (Found::Whiteout, Some(Extra::Dir)) => Found::Dir { opaque: true },
            (Found::Nothing | Found::Whiteout, Some(Extra::Link(link))) => Found::Link(link),
            _ => found,
        })
    }

    /// What the kernel finds, which sees the tree alone.
    pub(crate) fn find_in_tree(&self, path: &[u8]) -> Result<Found, Error> {
        self.find_by_handle(path).at("look up in layer", shown(path))
    }

    fn find_by_handle(&self, path: &[u8]) -> nix::Result<Found> {
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

    pub(crate) fn tree_dir(&self, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
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
