// SPDX-License-Identifier: Apache-2.0
//! The way to an entry's directory.

use std::collections::VecDeque;
use std::os::unix::ffi::OsStringExt;

use nix::fcntl::readlinkat;

use super::{Child, Dirs, Id, ROOT};
use crate::names::WHITEOUT;
use crate::{Error, files};

/// Links followed on the way to one entry, as many as the kernel follows.
pub(crate) const MAX_LINKS: u32 = 40;
/// Parts of the targets of these links: a path of the kernel's length takes no more than 2,048, and
/// what one entry costs must stay bounded.
pub(crate) const MAX_LINK_PARTS: usize = 2048;

/// What [`Dirs::walk`] does where a directory is missing or something else is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Make the directory, whatever has its place.
    Make,
    /// Make the directory, unless something else has its place or no lower layer can have it.
    MakeIfLower,
    /// Make nothing.
    Stop,
}

/// Where components lead.
struct Place {
    /// The last directory that is there.
    at: Id,
    /// Names that follow where no directory is.
    beyond: Vec<Box<[u8]>>,
    /// The layer hides the first of them or has something else in its place.
    hidden: bool,
}

/// Why [`Dirs::walk`] arrives nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// A directory is missing; a lower layer may have it.
    Missing,
    /// The layer hides it or has something else in its place.
    Hidden,
}

impl Dirs {
    /// The directory that these components lead to from the root; none if `missing` forbids to make
    /// one on the way.
    pub(crate) fn walk(&mut self, components: &[&[u8]], missing: Missing) -> Result<Result<Id, Gone>, Error> {
        let Place {
            mut at,
            beyond,
            hidden,
        } = self.resolve(components)?;
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
            at = self.make(at, &name)?;
        }
        if missing == Missing::Make {
            self.own(at);
        }
        Ok(Ok(at))
    }

    /// The path that lower layers have a name under, where [`Dirs::walk`] misses its directory.
    pub(crate) fn lower_path(&mut self, directory: &[&[u8]], name: &[u8]) -> Result<Vec<u8>, Error> {
        let Place { at, beyond, .. } = self.resolve(directory)?;
        let beyond = beyond.iter().map(|name| &**name);
        let names: Vec<&[u8]> = beyond.chain([name]).collect();
        Ok(self.path_of(at, &names.join(&b'/')))
    }

    /// Follows the links of this layer. Nothing is asked of lower layers: `..` takes back the name
    /// before it, whatever has that name.
    fn resolve(&mut self, components: &[&[u8]]) -> Result<Place, Error> {
        let mut at = ROOT;
        let mut known = 0;
        while let Some(Child::Directory(id)) = components.get(known).and_then(|name| self.child(at, name)) {
            (at, known) = (id, known + 1);
        }
        let rest = components.iter().skip(known);
        let mut todo: VecDeque<Box<[u8]>> = rest.map(|c| (*c).into()).collect();
        let mut beyond = Vec::new();
        let (mut hidden, mut links, mut parts) = (false, 0, 0);
        while let Some(name) = todo.pop_front() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    if beyond.pop().is_none() {
                        at = self.node(at).parent;
                    }
                    continue;
                }
                _ if !beyond.is_empty() => {
                    beyond.push(name);
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
                    let target = target.split(|b| *b == b'/').rev();
                    target.for_each(|c| todo.push_front(c.into()));
                }
                found => {
                    hidden = found.is_some() || self.is_alone(at, &name);
                    beyond.push(name);
                }
            }
        }
        Ok(Place { at, beyond, hidden })
    }
}
