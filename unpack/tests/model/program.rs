// SPDX-License-Identifier: Apache-2.0
//! Layers as few bytes decide them: names that collide, links that lead anywhere, odd spellings.

use fixture::{Dialect, Entry, Kind, Layer};

const MAX_LAYERS: usize = 4;
const MAX_ENTRIES: usize = 48;

/// The layers of one image, the bottom one first.
#[derive(Clone, Debug)]
pub struct Program {
    pub layers: Vec<Vec<Entry>>,
}

/// Bytes that choose; zeros when they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn next(&mut self) -> usize {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                usize::from(*byte)
            }
            None => 0,
        }
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() % all.len()]
    }
}

impl Program {
    /// Any bytes are a program; an empty one has one layer without entries.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut choices = Choices(bytes);
        let mut layers = vec![Vec::new()];
        let mut entries = 0;
        while !choices.0.is_empty() && entries < MAX_ENTRIES {
            let kind = choices.next();
            if kind % 9 == 8 && layers.len() < MAX_LAYERS {
                layers.push(Vec::new());
            } else {
                entries += 1;
                let entry = entry(&mut choices, kind, &layers);
                layers.last_mut().expect("one layer").push(entry);
            }
        }
        Program { layers }
    }

    /// The archives of the layers.
    pub fn tars(&self) -> Vec<Vec<u8>> {
        let layer = |entries: &Vec<Entry>| {
            let layer = entries.iter().cloned().fold(Layer::new(), Layer::entry);
            layer.tar(Dialect::Pax)
        };
        self.layers.iter().map(layer).collect()
    }

    /// All programs with a little less in them, the smallest first.
    pub fn smaller(&self) -> Vec<Program> {
        let mut all = Vec::new();
        for layer in 0..self.layers.len() {
            let without = |change: &dyn Fn(&mut Vec<Vec<Entry>>)| {
                let mut layers = self.layers.clone();
                change(&mut layers);
                Program { layers }
            };
            if self.layers.len() > 1 {
                all.push(without(&|layers| drop(layers.remove(layer))));
            }
            for i in 0..self.layers[layer].len() {
                all.push(without(&|layers| drop(layers[layer].remove(i))));
            }
            for (i, entry) in self.layers[layer].iter().enumerate() {
                let plain = Entry::new(entry.kind.clone(), entry.name.clone());
                if *entry != plain {
                    all.push(without(&|layers| layers[layer][i] = plain.clone()));
                }
                if !entry.xattrs.is_empty() {
                    all.push(without(&|layers| layers[layer][i].xattrs.clear()));
                }
            }
        }
        all
    }
}

fn entry(choices: &mut Choices<'_>, kind: usize, before: &[Vec<Entry>]) -> Entry {
    let path = path(choices, 4);
    let entry = match (kind / 9) % 28 {
        0..=5 => Entry::new(Kind::Directory, spelled(choices, path)),
        6..=11 => {
            let content = vec![b'0' + (choices.next() % 10) as u8; choices.of(&[0, 1, 1, 700])];
            Entry::file(spelled(choices, path), content)
        }
        12..=16 => Entry::new(Kind::Symlink(target(choices)), spelled(choices, path)),
        17..=19 => {
            let target = link_target(choices, before);
            let target = spelled(choices, target);
            Entry::new(Kind::Hardlink(target), spelled(choices, path))
        }
        20 => {
            let device = choices.of(&[
                Kind::Fifo,
                Kind::Fifo,
                Kind::Character(1, 3),
                Kind::Block(7, 300),
                Kind::Block(0, 0),
                Kind::Character(0, 0),
                Kind::Character(0, 0),
            ]
            .each_ref());
            Entry::new(device.clone(), spelled(choices, path))
        }
        21..=24 => {
            let (parent, name) = split(&path);
            Entry::file([parent, b".wh.", name].concat(), "")
        }
        25 | 26 => Entry::file([&path[..], b"/.wh..wh..opq"].concat(), ""),
        _ => rare(choices, path),
    };
    described(choices, entry)
}

/// What hardly any builder writes.
fn rare(choices: &mut Choices<'_>, path: Vec<u8>) -> Entry {
    match choices.next() % 32 {
        0 => Entry::file([b".wh.", &path[..], b"/x"].concat(), ""),
        1 => Entry::file([b".wh.", &path[..], b"/.wh.x"].concat(), ""),
        2 => {
            let name = choices.of(&["/.wh.", "/.wh..", "/.wh..."]);
            Entry::file([&path[..], name.as_bytes()].concat(), "")
        }
        3 => Entry::file([&path[..], b"/../a"].concat(), ""),
        4 => Entry::file(choices.of(&["", "/", "."]), ""),
        5..=9 => Entry::file([&path[..], b"/.wh..wh.plnk"].concat(), "1"),
        10..=12 => Entry::file([&path[..], b"/.wh..wh.plnk/", &path[..]].concat(), "1"),
        13 | 14 => Entry::file([b".wh..wh.plnk/.wh.", &path[..]].concat(), "1"),
        15..=19 => Entry::new(Kind::Symlink([b".wh.", &path[..]].concat()), path),
        20..=25 => Entry::new(Kind::Directory, choices.of(&["", "/", "./", "."])),
        _ => Entry::file(".wh..wh..opq", ""),
    }
}

/// The name of an earlier entry, mostly: a layer with a link to nothing is refused.
fn link_target(choices: &mut Choices<'_>, before: &[Vec<Entry>]) -> Vec<u8> {
    let linkable = |entry: &&Entry| {
        matches!(
            entry.kind,
            Kind::File(_) | Kind::Symlink(_) | Kind::Fifo | Kind::Hardlink(_)
        ) && !entry.name.windows(4).any(|part| part == b".wh.")
    };
    let names: Vec<&Entry> = before.iter().flatten().filter(linkable).collect();
    match choices.next() {
        byte if byte.is_multiple_of(32) => path(choices, 3),
        byte => names
            .get(byte % names.len().max(1))
            .map_or_else(|| path(choices, 3), |entry| entry.name.clone()),
    }
}

fn described(choices: &mut Choices<'_>, mut entry: Entry) -> Entry {
    let which = choices.next();
    if which.is_multiple_of(4) {
        entry.mode = choices.of(&[0o755, 0o700, 0o644, 0, 0o2755, 0o1777, 0o4711, 0o6600]);
        entry.uid = choices.of(&[0, 0, 7, 1000, 4_294_967_294]);
        entry.gid = choices.of(&[0, 0, 7, 50, 4_294_967_294]);
        entry.mtime = choices.of(&[(0, 0), (5, 500_000_000), (-2, 250_000_000), (1 << 33, 1)]);
    }
    if which % 8 >= 6 {
        for _ in 0..1 + choices.next() % 2 {
            let (name, value): (&str, &[u8]) = match choices.next() % 8 {
                0..=2 => ("user.a", b"1"),
                3 | 4 => ("trusted.t", b"\x00="),
                5 => ("trusted.overlay.opaque", b"y"),
                6 => ("user.overlay.opaque", b"y"),
                _ if entry.kind == Kind::Directory => ("system.posix_acl_default", DEFAULT_ACL),
                _ => ("user.b", b"2"),
            };
            entry.xattrs.retain(|(known, _)| known != name.as_bytes());
            entry.xattrs.push((name.into(), value.into()));
        }
    }
    entry
}

/// Version 2; the owner may do all, the group read, others nothing.
const DEFAULT_ACL: &[u8] = b"\x02\0\0\0\
    \x01\0\x07\0\xff\xff\xff\xff\
    \x04\0\x04\0\xff\xff\xff\xff\
    \x20\0\x00\0\xff\xff\xff\xff";

fn path(choices: &mut Choices<'_>, deepest: usize) -> Vec<u8> {
    let shape = choices.next();
    let depth = [1, 1, 1, 2, 2, 2, 3, deepest][shape % 8];
    let mut names = Vec::new();
    for i in 0..depth {
        // Two names a byte: programs stay short.
        let byte = if i % 2 == 0 { choices.next() } else { shape / 8 };
        names.push([&b"a"[..], b"b", b"c", b"d"][byte / (1 + i) % 4]);
    }
    names.join(&b'/')
}

/// The same path as some builders write it.
fn spelled(choices: &mut Choices<'_>, path: Vec<u8>) -> Vec<u8> {
    match choices.next() % 16 {
        0 => [b"./", &path[..]].concat(),
        1 => [b"/", &path[..]].concat(),
        2 => [b"//.//", &path[..]].concat(),
        3 => [&path[..], b"/"].concat(),
        4 => [&path[..], b"/."].concat(),
        _ => path,
    }
}

fn target(choices: &mut Choices<'_>) -> Vec<u8> {
    let shape = choices.next();
    let mut names = Vec::new();
    for _ in 0..1 + shape / 4 % 3 {
        names.push(choices.of(&["a", "b", "c", "d", "a", "b", "..", ".."]));
    }
    match shape % 4 {
        0 => format!("/{}", names.join("/")),
        1 => names.join("//./"),
        _ => names.join("/"),
    }
    .into_bytes()
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1))
}
