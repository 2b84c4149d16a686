// SPDX-License-Identifier: Apache-2.0
//! Open handles of directories, as many as a process can have.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::{Dirs, Id, ROOT};
use crate::{Error, files};

/// Directory handles kept open; the next entry is nearly always near the last.
const OPEN: usize = 64;
/// Directories passed with one call to open one below; their names fit into one path for certain.
const HOP: usize = 15;
impl Dirs {
    /// A handle of the directory.
    pub(crate) fn fd(&mut self, id: Id) -> Result<Rc<OwnedFd>, Error> {
        if id == ROOT {
            return Ok(self.root.clone());
        }
        if let Some(fd) = self.open.get(&id) {
            return Ok(fd.clone());
        }
        let mut chain = Vec::new();
        let mut at = id;
        let mut fd = loop {
            if at == ROOT {
                break self.root.clone();
            }
            if let Some(fd) = self.open.get(&at) {
                break fd.clone();
            }
            chain.push(at);
            at = self.node(at).parent;
        };
        // From the outermost on. What lies on the way is kept open too: of a deep tree no directory is
        // then far from an open one.
        for hop in chain.rchunks(HOP) {
            let names: Vec<&[u8]> = hop.iter().rev().map(|id| self.name(*id)).collect();
            let path = names.join(&b'/');
            fd = Rc::new(files::open_dir(&fd, &path).map_err(|e| Error::io("open a directory", e))?);
            self.keep(hop[0], fd.clone());
        }
        Ok(fd)
    }

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
