// SPDX-License-Identifier: Apache-2.0
//! Puts the indexes of an image's layers together.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::format::{InodeFields, mode};
use super::read::{Found, Index, damaged};
use super::tree::{Child, Content, Dir, Ino, Meta, ROOT, Tree};
use super::write::{Volume, write};
use super::xattrs::Xattrs;
use super::{Blocks, Device, INDEX, SPARSE, TAR, alone};
use crate::{Error, Limits, Notes};

/// A kept layer.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The directory that [`Layer::keep`](crate::Layer::keep) filled.
    pub dir: &'a Path,
    /// What it noted.
    pub notes: &'a Notes,
}

/// An image that [`merge`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Merged {
    /// The devices of the image, in the order in which the kernel has to be given them.
    pub devices: Vec<Device>,
    /// Files of all kinds, each counted once however many names it has.
    pub inodes: u64,
    /// Bytes of the image itself.
    pub bytes: u64,
}

/// Merges layers, the bottom one first, into an EROFS image: whiteouts applied, hard links to lower
/// layers made, every directory with the metadata of the topmost layer that describes it.
///
/// `out` must not exist. Takes about 250 bytes of memory for each entry of the layers.
///
/// # Errors
/// `Damaged` for an index that is not as it was written, `Refused` where a hard link leads to no file,
/// and what the file system says. What is at `out` then is to be removed.
pub fn merge(layers: &[Source<'_>], blocks: Blocks, out: &Path) -> Result<Merged, Error> {
    if let ([layer], Blocks::Small) = (layers, blocks)
        && let Some(merged) = alone::copy(layer, out)?
    {
        return Ok(merged);
    }
    let mut merge = Merge {
        tree: Tree::new(&Limits::default()),
        xattrs: Xattrs::default(),
        volumes: Vec::new(),
        files: Vec::new(),
        known: HashMap::new(),
        broken: Vec::new(),
    };
    for layer in layers {
        merge.apply(layer)?;
    }
    merge.check_links()?;
    let create = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(out);
    let file = create.map_err(|e| Error::io("make the EROFS image", e))?;
    let written = write(&merge.tree, &merge.xattrs, &merge.volumes, blocks, &file)?;
    let device = |part: &super::write::Part| Device {
        file: merge.files[usize::from(part.volume)].clone(),
        offset: part.offset,
    };
    Ok(Merged {
        devices: written.parts.iter().map(device).collect(),
        inodes: written.inodes,
        bytes: written.bytes,
    })
}

struct Merge {
    tree: Tree,
    xattrs: Xattrs,
    volumes: Vec<Volume>,
    /// The file of each volume.
    files: Vec<PathBuf>,
    known: HashMap<PathBuf, u16>,
    /// Name and target of hard links that lead to no file.
    broken: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What is known of one layer while it is applied.
struct Layer<'a> {
    index: Index<'a>,
    /// The volume of each of the index's devices.
    volumes: Vec<u16>,
    /// Directories that no entry of the layer describes.
    implied: HashSet<u64>,
    /// Those of them with nothing but whiteouts: they are there to hide, not to be.
    hollow: HashSet<u64>,
}

impl Merge {
    fn apply(&mut self, source: &Source<'_>) -> Result<(), Error> {
        let path = source.dir.join(INDEX);
        let bytes = fs::read(&path).map_err(|e| Error::io("read the index of a kept layer", e))?;
        let index = Index::new(&bytes)?;
        let mut layer = Layer {
            volumes: self.devices(source.dir)?,
            implied: HashSet::new(),
            hollow: HashSet::new(),
            index,
        };
        layer.note(source.notes)?;
        // What they lead to is below this layer, before it changes anything.
        let targets: Vec<Option<Child>> = source
            .notes
            .links
            .iter()
            .map(|(_, path)| self.find(path))
            .collect();
        if source.notes.opaque_root {
            self.tree.empty(ROOT);
        }
        let root = layer.index.root();
        if !layer.implied.contains(&root) {
            let found = layer.index.inode(root)?;
            let (meta, _) = self.meta(&found);
            self.tree.set_meta(ROOT, meta);
        }
        // Files of several names that have one already.
        let mut inodes = HashMap::<u64, Ino>::new();
        let mut todo = vec![(root, ROOT)];
        // An index is a tree: a directory that comes twice would have no end.
        let mut seen = HashSet::from([root]);
        while let Some((nid, dir)) = todo.pop() {
            let index = &layer.index;
            let found = index.inode(nid)?;
            let mut inner = Vec::new();
            index.each(&found, |entry| {
                let found = index.inode(entry.nid)?;
                match found.fields.mode & mode::TYPE {
                    mode::CHAR_DEVICE if found.fields.where_ == 0 => drop(self.tree.remove(dir, entry.name)),
                    mode::DIRECTORY if !seen.insert(entry.nid) => {
                        return Err(damaged("a directory comes twice"));
                    }
                    mode::DIRECTORY => {
                        let place = self.directory(&layer, dir, entry.name, entry.nid, &found)?;
                        inner.extend(place.map(|place| (entry.nid, place)));
                    }
                    _ => {
                        let ino = match inodes.get(&entry.nid) {
                            Some(known) => *known,
                            None => {
                                let ino = self.file(&layer, &found)?;
                                if found.fields.links > 1 {
                                    inodes.insert(entry.nid, ino);
                                }
                                ino
                            }
                        };
                        self.tree.set(dir, entry.name, Child::File(ino))?;
                    }
                }
                Ok(())
            })?;
            todo.extend(inner);
        }
        for ((name, target), child) in source.notes.links.iter().zip(targets) {
            self.link(name, target, child)?;
        }
        Ok(())
    }

    /// The volumes of a layer's devices, which a layer that comes again has already.
    fn devices(&mut self, dir: &Path) -> Result<Vec<u16>, Error> {
        let mut volumes = Vec::new();
        for name in [TAR, SPARSE] {
            let path = dir.join(name);
            let bytes = match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && name == SPARSE => continue,
                Ok(_) => return Err(damaged("its archive is no file")),
                Err(e) => return Err(Error::io("find the archive of a kept layer", e)),
            };
            let next = u16::try_from(self.volumes.len()).map_err(|_| super::layout::too_large())?;
            let volume = *self.known.entry(path.clone()).or_insert(next);
            if volume == next {
                self.volumes.push(Volume { bytes });
                self.files.push(path);
            }
            volumes.push(volume);
        }
        Ok(volumes)
    }

    /// Merges a directory's entry; none where there is no directory to go on in.
    fn directory(
        &mut self,
        layer: &Layer<'_>,
        parent: Dir,
        name: &[u8],
        nid: u64,
        found: &Found<'_>,
    ) -> Result<Option<Dir>, Error> {
        let (meta, opaque) = self.meta(found);
        match self.tree.child(parent, name) {
            Some(Child::Directory(there)) => {
                if opaque {
                    self.tree.empty(there);
                }
                // The lower one is its predecessor even if nothing in it shows any more.
                if !layer.implied.contains(&nid) {
                    self.tree.set_meta(there, meta);
                }
                Ok(Some(there))
            }
            _ if layer.hollow.contains(&nid) => Ok(None),
            _ => {
                self.tree.remove(parent, name);
                let made = self.tree.add_dir(parent, name)?;
                self.tree.set_meta(made, meta);
                Ok(Some(made))
            }
        }
    }

    fn file(&mut self, layer: &Layer<'_>, found: &Found<'_>) -> Result<Ino, Error> {
        let InodeFields { size, where_, .. } = found.fields;
        let content = match found.fields.mode & mode::TYPE {
            mode::FILE if size == 0 => Content::File {
                size,
                offset: 0,
                device: 0,
            },
            mode::FILE => {
                let (device, offset) = layer.index.data(&found.fields)?;
                let device = layer.volumes.get(device).copied();
                let device = device.ok_or_else(|| damaged("a file's device"))?;
                // The kept files may have changed too.
                let end = offset
                    .checked_add(size)
                    .ok_or_else(|| damaged("a file's place"))?;
                if end > self.volumes[usize::from(device)].bytes {
                    return Err(damaged("its archive is shorter than it was"));
                }
                Content::File { size, offset, device }
            }
            mode::SYMLINK => Content::Symlink(self.tree.add_text(layer.index.target(found)?)?),
            mode::CHAR_DEVICE => Content::CharDevice(where_),
            mode::BLOCK_DEVICE => Content::BlockDevice(where_),
            mode::FIFO => Content::Fifo,
            _ => return Err(damaged("the kind of a file")),
        };
        let (meta, _) = self.meta(found);
        self.tree.add_inode(meta, content)
    }

    /// The metadata of an inode, and whether it is an opaque directory.
    fn meta(&mut self, found: &Found<'_>) -> (Meta, bool) {
        let (xattrs, opaque) = self.xattrs.without_opaque(found.xattrs);
        let meta = Meta {
            mode: found.fields.mode & !mode::TYPE,
            uid: found.fields.uid,
            gid: found.fields.gid,
            mtime: found.fields.mtime,
            xattrs,
        };
        (meta, opaque)
    }

    /// What a path leads to, through directories alone.
    fn find(&self, path: &[u8]) -> Option<Child> {
        let mut child = Child::Directory(ROOT);
        for name in path.split(|b| *b == b'/') {
            let Child::Directory(dir) = child else { return None };
            child = self.tree.child(dir, name)?;
        }
        Some(child)
    }

    /// Makes a hard link whose directory the layer has made.
    fn link(&mut self, name: &[u8], target: &[u8], found: Option<Child>) -> Result<(), Error> {
        let (parent, last) = match name.iter().rposition(|b| *b == b'/') {
            Some(slash) => (self.find(&name[..slash]), &name[slash + 1..]),
            None => (Some(Child::Directory(ROOT)), name),
        };
        let Some(Child::Directory(parent)) = parent else {
            return Err(damaged("the notes on a hard link"));
        };
        let child = match found {
            Some(child @ (Child::File(_) | Child::Link(_))) => child,
            _ => {
                self.broken.push((name.to_vec(), target.to_vec()));
                Child::Link(self.broken.len() as u32 - 1)
            }
        };
        self.tree.set(parent, last, child)
    }

    /// A link that leads to nothing is no harm as long as an upper layer hides it.
    fn check_links(&self) -> Result<(), Error> {
        for dir in (0..self.tree.dirs.len() as u32).map(Dir) {
            if self.broken.is_empty() || self.tree.dir(dir).removed {
                continue;
            }
            for entry in self.tree.children(dir) {
                if let Child::Link(link) = self.tree.entry(entry).child {
                    let (name, _) = &self.broken[link as usize];
                    return Err(Error::refused("it is a hard link to no file of a lower layer").at(name));
                }
            }
        }
        Ok(())
    }
}

impl Layer<'_> {
    /// Finds the directories that the notes speak of.
    fn note(&mut self, notes: &Notes) -> Result<(), Error> {
        let mut order = Vec::with_capacity(notes.implied.len());
        for path in &notes.implied {
            order.push(self.nid(path)?);
        }
        self.implied.extend(&order);
        let mut filled = HashSet::new();
        for (name, _) in &notes.links {
            for slash in (0..name.len()).filter(|at| name[*at] == b'/') {
                filled.insert(self.nid(&name[..slash])?);
            }
        }
        // Inner directories are noted behind those that hold them.
        for nid in order.into_iter().rev() {
            if nid != self.index.root() && !filled.contains(&nid) && self.holds_only_whiteouts(nid)? {
                self.hollow.insert(nid);
            }
        }
        Ok(())
    }

    fn nid(&self, path: &[u8]) -> Result<u64, Error> {
        let mut nid = self.index.root();
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            let found = self.index.lookup(&self.index.inode(nid)?, name)?;
            nid = found.ok_or_else(|| damaged("a directory of the notes is missing"))?;
        }
        Ok(nid)
    }

    fn holds_only_whiteouts(&self, nid: u64) -> Result<bool, Error> {
        let mut only = true;
        self.index.each(&self.index.inode(nid)?, |entry| {
            if only && !self.hollow.contains(&entry.nid) {
                let fields = self.index.inode(entry.nid)?.fields;
                only = fields.mode & mode::TYPE == mode::CHAR_DEVICE && fields.where_ == 0;
            }
            Ok(())
        })?;
        Ok(only)
    }
}
