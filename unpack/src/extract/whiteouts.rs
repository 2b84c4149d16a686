// SPDX-License-Identifier: Apache-2.0
//! What a layer takes away from the layers below it.

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, mknodat};

use super::Extractor;
use crate::dirs::{Child, Id, Missing};
use crate::names::{AUFS, OPAQUE};
use crate::{Error, Whiteouts, files};

impl Extractor {
    /// A whiteout hides what lower layers have, never what its own layer has, wherever it stands.
    pub(super) fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<(), Error> {
        if name == OPAQUE {
            return match self.whiteout_parent(parents)? {
                Some(id) => self.hide_below(id),
                None => Ok(()),
            };
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
        if self.dirs.node(parent).alone {
            return Ok(());
        }
        self.dirs.hide(parent, hidden)?;
        match (self.whiteouts, self.own_child(parent, hidden)) {
            (_, Some(Child::Directory(id))) => {
                self.dirs.node(id).new = true;
                self.hide_below(id)
            }
            (_, Some(_)) => Ok(()),
            (Whiteouts::Remove, None) => self.dirs.clear(parent, hidden),
            (Whiteouts::Overlay, None) => self.make_whiteout(parent, hidden),
        }
    }

    fn make_whiteout(&mut self, parent: Id, name: &[u8]) -> Result<(), Error> {
        // A directory here was only passed on the way to other whiteouts.
        if let Some(Child::Directory(_)) = self.dirs.child(parent, name) {
            self.dirs.clear(parent, name)?;
        }
        let fd = self.dirs.fd(parent)?;
        match mknodat(&fd, files::os(name), SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) => {
                self.dirs.node(parent).whiteouts = true;
                Ok(())
            }
            // The layer's own file stays.
            Err(Errno::EEXIST) => Ok(()),
            Err(e) => Err(Error::io("make a whiteout", e)),
        }
    }

    /// What this layer itself has made under this name; of files only where they are recorded.
    fn own_child(&mut self, id: Id, name: &[u8]) -> Option<Child> {
        match self.dirs.child(id, name) {
            Some(Child::Directory(child)) if !self.dirs.node(child).own => None,
            child => child,
        }
    }

    /// Where whiteouts remove, a directory that is not there has nothing to remove. Elsewhere it may
    /// be in a lower layer, unless this very layer has something else in its place.
    fn whiteout_parent(&mut self, parents: &[&[u8]]) -> Result<Option<Id>, Error> {
        let missing = match self.whiteouts {
            Whiteouts::Remove => Missing::Stop,
            Whiteouts::Overlay => Missing::MakeIfLower,
        };
        Ok(self.dirs.walk(parents, missing)?.ok())
    }

    /// Takes everything out of a directory that this layer has not put there.
    ///
    /// Each directory is gone through once, however often the layer says it: from then on all that is
    /// in it is the layer's own.
    fn hide_below(&mut self, id: Id) -> Result<(), Error> {
        self.dirs.node(id).opaque = true;
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut self.dirs.node(id).alone, true) {
                continue;
            }
            match self.whiteouts {
                Whiteouts::Remove => self.remove_lower(id)?,
                Whiteouts::Overlay => self.remove_passed(id)?,
            }
            for child in self.dirs.directories(id) {
                self.dirs.node(child).new = true;
                todo.push(child);
            }
        }
        Ok(())
    }

    fn remove_lower(&mut self, id: Id) -> Result<(), Error> {
        let fd = self.dirs.fd(id)?;
        files::each(&fd, |name, _| {
            if self.own_child(id, name).is_none() {
                self.dirs.forget(id, name);
                files::remove(&fd, name)?;
            }
            Ok::<_, Errno>(())
        })
        .map_err(|e| Error::io("remove what a whiteout hides", e))
    }

    /// Removes the directories that are only there for whiteouts in them.
    fn remove_passed(&mut self, id: Id) -> Result<(), Error> {
        for child in self.dirs.directories(id) {
            if !self.dirs.node(child).own {
                let name = self.dirs.name(child).to_vec();
                self.dirs.clear(id, &name)?;
            }
        }
        Ok(())
    }
}
