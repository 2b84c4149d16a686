// SPDX-License-Identifier: Apache-2.0
//! Open handles of directories, as many as a process can have.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::{Dirs, Id, Node, ROOT};
use crate::{Error, files};

/// Handles that each of two sets keeps open.
const OPEN: usize = 64;
/// Directories passed with one call to open one below; their names fit into one path for certain.
const HOP: usize = 15;

/// Directories with open handles, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Opened(VecDeque<Id>);

impl Opened {
    /// Keeps a handle in its directory's node; where there are too many, the oldest is closed.
    fn keep(&mut self, nodes: &mut [Node], id: Id, fd: Rc<OwnedFd>) {
        if self.0.len() >= OPEN
            && let Some(oldest) = self.0.pop_front()
        {
            nodes[oldest.0 as usize].handle = None;
        }
        self.0.push_back(id);
        nodes[id.0 as usize].handle = Some(fd);
    }
}

impl Dirs {
    /// A handle of the directory.
    pub(crate) fn fd(&mut self, id: Id) -> Result<Rc<OwnedFd>, Error> {
        let handle = |dirs: &Dirs, id: Id| match id {
            ROOT => Some(dirs.root.clone()),
            id => dirs.nodes[id.0 as usize].handle.clone(),
        };
        let (mut at, mut chain) = (id, Vec::new());
        let mut fd = loop {
            if let Some(fd) = handle(self, at) {
                break fd;
            }
            chain.push(at);
            at = self.node(at).parent;
        };
        // From the outermost on.
        for hop in chain.rchunks(HOP) {
            let names: Vec<&[u8]> = hop.iter().rev().map(|id| self.name(*id)).collect();
            let path = names.join(&b'/');
            fd = Rc::new(files::open_dir(&fd, &path).map_err(|e| Error::io("open a directory", e))?);
            let kept = match hop[0] == id {
                true => &mut self.last,
                false => &mut self.way,
            };
            kept.keep(&mut self.nodes, hop[0], fd.clone());
        }
        Ok(fd)
    }
}
