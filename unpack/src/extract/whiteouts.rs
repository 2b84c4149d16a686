// SPDX-License-Identifier: Apache-2.0
//! What a layer takes away from the layers below it.

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknodat};

use super::{AUFS, Extractor, OPAQUE};
use crate::dirs::{Child, Id, Missing};
use crate::{Error, Whiteouts, files};

impl Extractor {
    /// A whiteout hides what lower layers have, never what its own layer has, wherever it stands.
    pub(super) fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Error> {
        if name == OPAQUE {
            return self.opaque(parents);
        }
        if name.starts_with(AUFS) {
            return Ok(());
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::refused("it is a whiteout of no name"));
        }
        let Some(parent) = self.whiteout_parent(parents)? else {
            return Ok(());
        };
        self.dirs.hide(parent, hidden)?;
        match (self.whiteouts, self.dirs.child(parent, hidden)) {
            (Whiteouts::Overlay, Some(Child::Directory(id))) => self.dirs.node(id).opaque = true,
            (Whiteouts::Overlay, _) => {
                let fd = self.dirs.fd(parent)?;
                match mknodat(&fd, files::os(hidden), SFlag::S_IFCHR, Mode::empty(), 0) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(Error::io("make a whiteout", e)),
                }
            }
            (Whiteouts::Remove, Some(Child::Directory(id))) => self.clear_lower(id)?,
            (Whiteouts::Remove, Some(_)) => {}
            (Whiteouts::Remove, None) => self.dirs.clear(parent, hidden)?,
        }
        Ok(())
    }

    fn opaque(&mut self, parents: &[&[u8]]) -> Result<(), Error> {
        let Some(id) = self.whiteout_parent(parents)? else {
            return Ok(());
        };
        match self.whiteouts {
            Whiteouts::Overlay => {
                self.dirs.node(id).opaque = true;
                Ok(())
            }
            Whiteouts::Remove => self.clear_children(id),
        }
    }

    /// Where whiteouts remove, a directory that is not there has nothing to remove. Elsewhere it may
    /// be in a lower layer, unless this very layer has something else in its place.
    fn whiteout_parent(&mut self, parents: &[&[u8]]) -> Result<Option<Id>, Error> {
        self.dirs.walk(
            parents,
            match self.whiteouts {
                Whiteouts::Remove => Missing::Stop,
                Whiteouts::Overlay => Missing::MakeIfFree,
            },
        )
    }

    /// Takes everything out of a directory that this layer has not put there.
    fn clear_children(&mut self, id: Id) -> Result<(), Error> {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let fd = self.dirs.fd(id)?;
            for (name, _) in files::list(&fd).map_err(|e| Error::io("list a directory", e))? {
                match self.dirs.child(id, &name) {
                    None => {
                        files::remove(&fd, &name).map_err(|e| Error::io("remove what a whiteout hides", e))?
                    }
                    Some(Child::Directory(child)) => {
                        self.dirs.node(child).lower_time = None;
                        todo.push(child);
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The same, and the directory itself is this layer's alone from now on.
    fn clear_lower(&mut self, id: Id) -> Result<(), Error> {
        self.dirs.node(id).lower_time = None;
        self.clear_children(id)
    }
}
