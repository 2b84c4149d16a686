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
//! Where such a link, or a directory that is in a tree only to hold whiteouts, makes the kernel see
//! something else than the image means, the seam corrects it: with a whiteout, a directory or a file.
//!
//! A directory in the seam decides the metadata of the merged one, so each has that of the visible one.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::OwnedFd;

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::linkat;

use crate::Error;
use crate::dir::{DIRECTORY, HANDLE, ancestors, beneath, join, shown, split};
use crate::error::Context;
use crate::node::Copier;
use crate::stack::{DirView, Inode, Rules, Source, Stack, View, inode, paths_of};

#[derive(Debug, Default)]
pub(crate) struct Seam {
    dirs: BTreeSet<Vec<u8>>,
    files: BTreeMap<(usize, Inode), Group>,
    /// Names to be hidden by whiteouts.
    hidden: BTreeSet<Vec<u8>>,
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
        let (image, kernel) = (stack.sight(Rules::Image), stack.sight(Rules::Kernel));
        let mut seam = Seam::default();
        for layer in 0..stack.len() {
            // The root is always merged with the writable directory, which has its metadata.
            for path in stack.layer(layer).implied.iter().filter(|path| !path.is_empty()) {
                if let Some(view) = stack.dir(path, image)?
                    && view.named.is_some()
                    && stack
                        .dir(path, kernel)?
                        .is_some_and(|view| view.live.first() == Some(&layer))
                {
                    seam.dirs.insert(path.clone());
                }
            }
            for path in stack
                .layer(layer)
                .whiteouts
                .iter()
                .filter(|path| !path.is_empty())
            {
                if stack.dir(path, image)?.is_some()
                    && stack.dir(path, kernel)?.is_some_and(|view| view.live == [layer])
                {
                    seam.dirs.insert(path.clone());
                }
            }
        }
        for link in stack.links()? {
            seam.add_file(link.source, link.name);
        }
        seam.correct(stack)?;
        seam.add_other_names(stack)?;
        let names = seam
            .files
            .values()
            .flat_map(|group| &group.names)
            .chain(&seam.hidden)
            .chain(&seam.dirs);
        let parents = names
            .flat_map(|name| ancestors(name))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
        seam.dirs.extend(parents);
        Ok(seam)
    }

    fn add_file(&mut self, source: Source, name: Vec<u8>) {
        let group = self.files.entry(source.key());
        group
            .or_insert_with(|| Group {
                source,
                names: BTreeSet::new(),
            })
            .names
            .insert(name);
    }

    /// Adds what makes the kernel see what the image means where the two may differ.
    fn correct(&mut self, stack: &Stack<'_>) -> Result<(), Error> {
        let (image, kernel) = (stack.sight(Rules::Image), stack.sight(Rules::Kernel));
        let mut doubtful = stack.doubtful().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut done = HashSet::new();
        while let Some(path) = doubtful.pop() {
            if !done.insert(path.clone()) || stack.dir(split(&path).0, image)?.is_none() {
                continue;
            }
            match (stack.lookup(&path, image)?, stack.lookup(&path, kernel)?) {
                (View::Link { .. }, _) | (View::Absent, View::Absent) => {}
                (View::Absent, _) => {
                    self.hidden.insert(path);
                }
                (View::File { layer, .. }, View::File { layer: seen, .. }) if layer == seen => {}
                (View::File { layer, stat }, _) => {
                    self.add_file(
                        Source {
                            layer,
                            path: path.clone(),
                            stat,
                        },
                        path,
                    );
                }
                (View::Dir(meant), seen) => {
                    let seen = match seen {
                        View::Dir(seen) => seen,
                        _ => DirView::default(),
                    };
                    if stack.in_trees(&path, &meant)? != seen.live || seen.live.is_empty() {
                        let names = [stack.names(&path, &meant)?, stack.names(&path, &seen)?];
                        doubtful.extend(
                            names
                                .iter()
                                .flat_map(|names| names.keys())
                                .map(|name| join(&path, name)),
                        );
                        self.dirs.insert(path);
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn is_needed(&self) -> bool {
        !self.dirs.is_empty() || !self.files.is_empty() || !self.hidden.is_empty()
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
        for path in &self.hidden {
            parent(path)
                .and_then(|dir| mknodat(&dir, split(path).1, SFlag::S_IFCHR, Mode::empty(), 0))
                .at("make whiteout", shown(path))?;
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
            let Some(view) = stack.dir(path, stack.sight(Rules::Image))? else {
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
    Ok(match stack.lookup(path, stack.sight(Rules::Image))? {
        View::File { layer, stat } => (layer, inode(&stat)) == key,
        _ => false,
    })
}
