// SPDX-License-Identifier: Apache-2.0
//! A tree and a program as text: the tree as `fixture::tree` lists a folder, the program as the
//! fixture reads it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use fixture::{Entry, Kind};

use super::program::Program;
use super::tree::{Ino, Node, ROOT, Tree};

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut links = BTreeMap::new();
        count(self, ROOT, &mut links);
        list(self, ROOT, ".", &links, &mut BTreeMap::new(), f)
    }
}

fn count(tree: &Tree, ino: Ino, links: &mut BTreeMap<Ino, u32>) {
    *links.entry(ino).or_default() += 1;
    for (_, child) in tree.names(ino) {
        count(tree, child, links);
    }
}

fn list(
    tree: &Tree,
    ino: Ino,
    path: &str,
    links: &BTreeMap<Ino, u32>,
    seen: &mut BTreeMap<Ino, String>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let inode = tree.get(ino);
    let meta = &inode.meta;
    let (word, numbers, content) = match &inode.node {
        Node::Directory { .. } => ("dir", String::new(), String::new()),
        Node::File(content) => {
            let sha256 = fixture::sha256(content);
            (
                "file",
                format!(" {}", content.len()),
                format!(" {}", &sha256[..23]),
            )
        }
        Node::Symlink(target) => ("link", String::new(), format!(" -> {}", target.escape_ascii())),
        Node::Fifo => ("fifo", String::new(), String::new()),
        Node::Character(major, minor) => ("char", format!(" {major}:{minor}"), String::new()),
        Node::Block(major, minor) => ("block", format!(" {major}:{minor}"), String::new()),
    };
    let (seconds, nanos) = meta.mtime;
    write!(
        f,
        "{path} {word} {:04o} {}:{}{numbers} {seconds}.{nanos:09}",
        meta.mode, meta.uid, meta.gid
    )?;
    if !tree.is_directory(ino) {
        write!(f, " links={}", links[&ino])?;
        match seen.get(&ino) {
            Some(first) => write!(f, " same={first}")?,
            None => drop(seen.insert(ino, path.to_owned())),
        }
    }
    f.write_str(&content)?;
    for (name, value) in &meta.xattrs {
        write!(f, " {}=\"{}\"", name.escape_ascii(), value.escape_ascii())?;
    }
    f.write_char('\n')?;
    for (name, child) in tree.names(ino) {
        list(
            tree,
            child,
            &format!("{path}/{}", name.escape_ascii()),
            links,
            seen,
            f,
        )?;
    }
    Ok(())
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                f.write_str("---\n")?;
            }
            for entry in layer {
                writeln!(f, "{}", line(entry))?;
            }
        }
        Ok(())
    }
}

fn line(entry: &Entry) -> String {
    let (letter, rest) = match &entry.kind {
        Kind::Directory => ("d", String::new()),
        Kind::File(content) => ("f", format!(" \"{}\"", content.escape_ascii())),
        Kind::Symlink(target) => ("l", format!(" -> \"{}\"", target.escape_ascii())),
        Kind::Hardlink(target) => ("h", format!(" -> \"/{}\"", target.escape_ascii())),
        Kind::Fifo => ("p", String::new()),
        Kind::Character(major, minor) => ("c", format!(" {major}:{minor}")),
        Kind::Block(major, minor) => ("b", format!(" {major}:{minor}")),
    };
    let mut line = format!("{letter} \"/{}\"{rest}", entry.name.escape_ascii());
    let plain = Entry::new(entry.kind.clone(), entry.name.clone());
    let mut add = |text: fmt::Arguments<'_>| line.write_fmt(text).expect("write into text");
    if entry.mode != plain.mode {
        add(format_args!(" {:04o}", entry.mode));
    }
    if (entry.uid, entry.gid) != (plain.uid, plain.gid) {
        add(format_args!(" {}:{}", entry.uid, entry.gid));
    }
    if entry.mtime != plain.mtime {
        add(format_args!(" mtime={}.{:09}", entry.mtime.0, entry.mtime.1));
    }
    for (name, value) in &entry.xattrs {
        add(format_args!(
            " x.{}=\"{}\"",
            name.escape_ascii(),
            value.escape_ascii()
        ));
    }
    line
}
