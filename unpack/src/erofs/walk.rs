// SPDX-License-Identifier: Apache-2.0
//! The way to an entry's directory: links are followed only if this very layer made them, inside the
//! root. The rules and limits are those of [`crate::dirs`].

use std::collections::VecDeque;

use crate::Error;
use crate::dirs::{MAX_LINK_PARTS, MAX_LINKS};
use crate::names::WHITEOUT;

use super::changes::Changes;
use super::tree::{Child, Content, Dir, ROOT};

pub(super) use crate::dirs::{Gone, Missing};

/// Where components lead.
struct Place {
    /// The last directory that is there.
    dir: Dir,
    /// Names that follow where no directory is.
    beyond: Vec<Box<[u8]>>,
    /// The layer hides the first of them or has something else in its place.
    hidden: bool,
}

impl Changes {
    /// The directory that these components lead to from the root; none if `missing` forbids to make
    /// one on the way.
    pub(super) fn walk(
        &mut self,
        components: &[&[u8]],
        missing: Missing,
    ) -> Result<Result<Dir, Gone>, Error> {
        let mut dir = ROOT;
        let mut known = 0;
        while let Some(name) = components.get(known)
            && let Some(Child::Directory(there)) = self.tree.child(dir, name)
        {
            (dir, known) = (there, known + 1);
        }
        let rest = components.get(known..).unwrap_or_default();
        let Place {
            mut dir,
            beyond,
            hidden,
        } = self.resolve(dir, rest)?;
        match missing {
            Missing::Stop | Missing::MakeIfLower if !beyond.is_empty() && hidden => {
                return Ok(Err(Gone::Hidden));
            }
            Missing::Stop if !beyond.is_empty() => return Ok(Err(Gone::Missing)),
            // Such names are no files' in any layer.
            Missing::MakeIfLower if beyond.iter().any(|name| name.starts_with(WHITEOUT)) => {
                return Ok(Err(Gone::Missing));
            }
            _ => {}
        }
        for name in beyond {
            // Through a link: entries' own names are looked at before.
            if name.starts_with(WHITEOUT) {
                return Err(Error::refused("it lies below the name of a whiteout"));
            }
            dir = self.make(dir, &name)?;
        }
        if missing == Missing::Make {
            self.tree.own(dir);
        }
        Ok(Ok(dir))
    }

    /// The path that lower layers have a name under, where [`Changes::walk`] misses its directory.
    pub(super) fn lower_path(&self, directory: &[&[u8]], name: &[u8]) -> Result<Vec<u8>, Error> {
        let Place { dir, beyond, .. } = self.resolve(ROOT, directory)?;
        let beyond = beyond.iter().map(|name| &**name);
        let names: Vec<&[u8]> = beyond.chain([name]).collect();
        Ok(self.tree.path_of(dir, &names.join(&b'/')))
    }

    /// Follows components from a directory.
    fn resolve(&self, from: Dir, components: &[&[u8]]) -> Result<Place, Error> {
        let mut dir = from;
        let mut todo: VecDeque<Box<[u8]>> = components.iter().map(|c| (*c).into()).collect();
        let mut beyond: Vec<Box<[u8]>> = Vec::new();
        let (mut hidden, mut links, mut parts) = (false, 0, 0);
        while let Some(name) = todo.pop_front() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    if beyond.pop().is_none() {
                        dir = self.tree.dir(dir).parent;
                    }
                    continue;
                }
                _ if !beyond.is_empty() => {
                    beyond.push(name);
                    continue;
                }
                _ => {}
            }
            let child = self.tree.child(dir, &name);
            match child {
                Some(Child::Directory(there)) => {
                    dir = there;
                    continue;
                }
                Some(Child::File(ino)) => {
                    if let Content::Symlink(target) = self.tree.inode(ino).content {
                        let target = self.tree.text(target);
                        links += 1;
                        parts += target.iter().filter(|b| **b == b'/').count() + 1;
                        if links > MAX_LINKS {
                            let what = "more than 40 symbolic links lead to its directory";
                            return Err(Error::refused(what));
                        }
                        if parts > MAX_LINK_PARTS {
                            let what = "the symbolic links to its directory are too long together";
                            return Err(Error::refused(what));
                        }
                        if target.starts_with(b"/") {
                            dir = ROOT;
                        }
                        let target = target.split(|b| *b == b'/').rev();
                        target.for_each(|c| todo.push_front(c.into()));
                        continue;
                    }
                }
                Some(Child::Whiteout | Child::Link(_) | Child::Lower(_)) | None => {}
            }
            // A whiteout counts as nothing, though what it hides is hidden.
            let there = matches!(child, Some(Child::File(_) | Child::Link(_) | Child::Lower(_)));
            hidden = there || self.tree.is_alone(dir, &name);
            beyond.push(name);
        }
        Ok(Place { dir, beyond, hidden })
    }
}
