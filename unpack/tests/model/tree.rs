// SPDX-License-Identifier: Apache-2.0
//! A tree of files in memory.

use std::collections::BTreeMap;

/// The place of an inode in its tree; never used again for another.
pub(super) type Ino = usize;

pub(super) const ROOT: Ino = 0;

#[derive(Clone, Debug)]
pub(super) enum Node {
    Directory {
        parent: Ino,
        names: BTreeMap<Vec<u8>, Ino>,
    },
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Fifo,
    Character(u32, u32),
    Block(u32, u32),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: (i64, u32),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Meta {
    /// What a directory has that no entry describes.
    pub(super) fn implied() -> Self {
        Meta {
            mode: 0o755,
            ..Meta::default()
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) node: Node,
    pub(super) meta: Meta,
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    inodes: Vec<Inode>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let mut tree = Tree { inodes: Vec::new() };
        tree.add(directory(ROOT), Meta::implied());
        tree
    }

    pub(super) fn add(&mut self, node: Node, meta: Meta) -> Ino {
        self.inodes.push(Inode { node, meta });
        self.inodes.len() - 1
    }

    pub(super) fn get(&self, ino: Ino) -> &Inode {
        &self.inodes[ino]
    }

    pub(super) fn meta(&mut self, ino: Ino) -> &mut Meta {
        &mut self.inodes[ino].meta
    }

    pub(super) fn is_directory(&self, ino: Ino) -> bool {
        matches!(self.inodes[ino].node, Node::Directory { .. })
    }

    /// The names in a directory; none in anything else.
    pub(super) fn names(&self, ino: Ino) -> Vec<(Vec<u8>, Ino)> {
        match &self.inodes[ino].node {
            Node::Directory { names, .. } => names.iter().map(|(n, i)| (n.clone(), *i)).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn child(&self, directory: Ino, name: &[u8]) -> Option<Ino> {
        match &self.inodes[directory].node {
            Node::Directory { names, .. } => names.get(name).copied(),
            _ => None,
        }
    }

    /// The root's parent is the root.
    pub(super) fn parent(&self, directory: Ino) -> Ino {
        match self.inodes[directory].node {
            Node::Directory { parent, .. } => parent,
            _ => ROOT,
        }
    }

    pub(super) fn put(&mut self, directory: Ino, name: &[u8], ino: Ino) {
        if let Node::Directory { names, .. } = &mut self.inodes[directory].node {
            names.insert(name.to_vec(), ino);
        }
    }

    pub(super) fn remove(&mut self, directory: Ino, name: &[u8]) {
        if let Node::Directory { names, .. } = &mut self.inodes[directory].node {
            names.remove(name);
        }
    }

    /// Whether `inner` is `outer` or somewhere below it.
    pub(super) fn is_below(&self, mut inner: Ino, outer: Ino) -> bool {
        while inner != outer && inner != ROOT {
            inner = self.parent(inner);
        }
        inner == outer
    }
}

pub(super) fn directory(parent: Ino) -> Node {
    Node::Directory {
        parent,
        names: BTreeMap::new(),
    }
}
