// SPDX-License-Identifier: Apache-2.0
//! Open handles of directories, as many as a process can have.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::{Dirs, Id, ROOT};
use crate::{Error, files};

/// Handles that each of two sets keeps open.
const OPEN: usize = 64;
/// Directories passed with one call to open one below; their names fit into one path for certain.
const HOP: usize = 15;

#[derive(Debug, Default)]
pub(super) struct Handles {
    /// Directories that were worked in: the next entry is nearly always near the last.
    last: Opened,
    /// Directories on the way to deep ones: of these none is then far from an open one.
    way: Opened,
}

impl Handles {
    pub(super) fn forget(&mut self, id: Id) {
        self.last.open.remove(&id);
        self.way.open.remove(&id);
    }

    fn get(&self, id: Id) -> Option<&Rc<OwnedFd>> {
        self.last.open.get(&id).or_else(|| self.way.open.get(&id))
    }
}

/// Handles of which the oldest is closed where they become too many.
#[derive(Debug, Default)]
struct Opened {
    open: HashMap<Id, Rc<OwnedFd>>,
    order: VecDeque<Id>,
}

impl Opened {
    fn keep(&mut self, id: Id, fd: Rc<OwnedFd>) {
        if self.order.len() >= OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(id);
        self.open.insert(id, fd);
    }
}

impl Dirs {
    /// A handle of the directory.
    pub(crate) fn fd(&mut self, id: Id) -> Result<Rc<OwnedFd>, Error> {
        if id == ROOT {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.handles.get(id) {
            return Ok(fd.clone());
        }
        let mut chain = vec![id];
        let mut fd = loop {
            let at = self.node(chain[chain.len() - 1]).parent;
            if at == ROOT {
                break self.root.clone();
            }
            if let Some(fd) = self.handles.get(at) {
                break fd.clone();
            }
            chain.push(at);
        };
        // From the outermost on.
        for hop in chain.rchunks(HOP) {
            let names: Vec<&[u8]> = hop.iter().rev().map(|id| self.name(*id)).collect();
            let path = names.join(&b'/');
            fd = Rc::new(files::open_dir(&fd, &path).map_err(|e| Error::io("open a directory", e))?);
            let kept = match hop[0] == id {
                true => &mut self.handles.last,
                false => &mut self.handles.way,
            };
            kept.keep(hop[0], fd.clone());
        }
        Ok(fd)
    }
}
