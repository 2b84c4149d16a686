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
    ///
    /// Each directory is gone through once, however often the layer says it: from then on all that is
    /// in it is the layer's own.
    fn clear_children(&mut self, id: Id) -> Result<(), Error> {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut self.dirs.node(id).opaque, true) {
                continue;
            }
            let fd = self.dirs.fd(id)?;
            files::each(&fd, |name, _| {
                match self.dirs.child(id, name) {
                    None => files::remove(&fd, name)?,
                    Some(Child::Directory(child)) if self.dirs.node(child).lower_time.take().is_some() => {
                        todo.push(child);
                    }
                    Some(_) => {}
                }
                Ok::<_, Errno>(())
            })
            .map_err(|e| Error::io("remove what a whiteout hides", e))?;
        }
        Ok(())
    }

    /// The same, and the directory itself is this layer's alone from now on.
    fn clear_lower(&mut self, id: Id) -> Result<(), Error> {
        match self.dirs.node(id).lower_time.take() {
            Some(_) => self.clear_children(id),
            None => Ok(()),
        }
    }
}
