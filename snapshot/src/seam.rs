// SPDX-License-Identifier: Apache-2.0
//! The seam: one more lower layer, above all others, with what no single layer can know.
//!
//! A layer's tree is kept once, by its diff_id, for every image that has the layer; so it says nothing
//! about the layers below. Three facts need the whole stack, and the seam holds just them:
//!
//! - directories that their topmost layer only implies show the metadata of the directory below;
//! - directories with whiteouts that only one layer has: overlayfs hides whiteouts from listings only
//!   in directories that it merges, and with the seam's copy the directory is merged;
//! - hard links to files of lower layers: the file is copied up once, under every name it is visible by.
//!
//! A directory in the seam decides the metadata of the merged one, so each has that of the visible one.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::OwnedFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::linkat;

use crate::Error;
use crate::dir::{DIRECTORY, HANDLE, ancestors, beneath, shown, split};
use crate::error::Context;
use crate::node::Copier;
use crate::stack::{Inode, Source, Stack, View, inode, paths_of};

#[derive(Debug, Default)]
pub(crate) struct Seam {
    dirs: BTreeSet<Vec<u8>>,
    files: BTreeMap<(usize, Inode), Group>,
}

/// A file and the names by which it is visible.
#[derive(Debug)]
struct Group {
    source: Source,
    names: BTreeSet<Vec<u8>>,
}

impl Seam {
    /// Finds out what the seam of a stack has to hold.
    pub(crate) fn plan(stack: &Stack<'_>) -> Result<Self, Error> {
        let mut seam = Seam::default();
        for layer in 0..stack.len() {
            for path in stack.layer(layer).implied.iter().filter(|path| !path.is_empty()) {
                if let Some(view) = stack.dir(path, stack.len())?
                    && view.live.first() == Some(&layer)
                    && view.named.is_some()
                {
                    seam.dirs.insert(path.clone());
                }
            }
            // The root is always merged, with the writable directory.
            for path in stack
                .layer(layer)
                .whiteouts
                .iter()
                .filter(|path| !path.is_empty())
            {
                if let Some(view) = stack.dir(path, stack.len())?
                    && stack.in_trees(path, &view)? == [layer]
                {
                    seam.dirs.insert(path.clone());
                }
            }
            // They stay even when a later layer hides the link.
            for &path in stack.bare(layer) {
                if let Some(view) = stack.dir(path, stack.len())?
                    && stack.in_trees(path, &view)?.is_empty()
                {
                    seam.dirs.insert(path.to_vec());
                }
            }
        }
        for link in stack.links()? {
            let source = link.source;
            let group = seam.files.entry(source.key());
            group
                .or_insert_with(|| Group {
                    source,
                    names: BTreeSet::new(),
                })
                .names
                .insert(link.name);
        }
        seam.add_other_names(stack)?;
        for name in seam.files.values().flat_map(|group| &group.names) {
            seam.dirs.extend(ancestors(name).map(<[u8]>::to_vec));
        }
        let parents = seam
            .dirs
            .iter()
            .flat_map(|dir| ancestors(dir))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        seam.dirs.extend(parents);
        Ok(seam)
    }

    pub(crate) fn is_needed(&self) -> bool {
        !self.dirs.is_empty() || !self.files.is_empty()
    }

    /// Adds the visible names that a linked file has in its own layer.
    fn add_other_names(&mut self, stack: &Stack<'_>) -> Result<(), Error> {
        let mut wanted = HashMap::<usize, HashSet<u64>>::new();
        for group in self.files.values_mut() {
            let Source { layer, path, stat } = &group.source;
            if stat.st_nlink > 1 {
                wanted.entry(*layer).or_default().insert(stat.st_ino);
            }
            if is_visible(stack, path, group.source.key())? {
                group.names.insert(path.clone());
            }
        }
        for (layer, inodes) in wanted {
            let paths = paths_of(stack.root(layer), &inodes)?;
            for group in self
                .files
                .values_mut()
                .filter(|group| group.source.layer == layer)
            {
                for path in paths.get(&group.source.stat.st_ino).into_iter().flatten() {
                    if is_visible(stack, path, group.source.key())? {
                        group.names.insert(path.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the seam into an empty directory.
    pub(crate) fn write(&self, stack: &Stack<'_>, root: &OwnedFd) -> Result<(), Error> {
        let parent = |path: &[u8]| beneath(root, split(path).0, HANDLE);
        // In order of their names, parents come before what they hold.
        for path in &self.dirs {
            parent(path)
                .and_then(|dir| mkdirat(&dir, split(path).1, Mode::S_IRWXU))
                .at("make seam directory", shown(path))?;
        }
        let copier = Copier::new();
        for Group { source, names } in self.files.values() {
            let mut names = names.iter();
            let Some(first) = names.next() else { continue };
            let (from, to) = (
                stack.root(source.layer),
                parent(first).at("open seam", shown(first))?,
            );
            copier
                .copy(from, &source.path, &to, split(first).1)
                .at("copy up hard-linked file", shown(&source.path))?;
            for name in names {
                parent(name)
                    .and_then(|dir| linkat(&to, split(first).1, &dir, split(name).1, AtFlags::empty()))
                    .at("make hard link", shown(name))?;
            }
        }
        for path in self.dirs.iter().rev() {
            let Some(view) = stack.dir(path, stack.len())? else {
                continue;
            };
            let meta = stack.meta(path, &view)?;
            let dir = beneath(root, path, DIRECTORY).at("open seam directory", shown(path))?;
            meta.apply(&dir)
                .at("set metadata of seam directory", shown(path))?;
        }
        Ok(())
    }
}

fn is_visible(stack: &Stack<'_>, path: &[u8], key: (usize, Inode)) -> Result<bool, Error> {
    Ok(match stack.lookup(path, stack.len())? {
        View::File { layer, stat } => (layer, inode(&stat)) == key,
        _ => false,
    })
}
