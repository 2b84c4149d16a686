// SPDX-License-Identifier: Apache-2.0
//! A tar writer of our own: it must be able to write what no library would.

use crate::entry::{Entry, Item, Kind, Layer};

const BLOCK: usize = 512;

/// The dialect of an archive: what carries long names, large numbers and exact times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// POSIX.1-1988: none of them (an entry that needs more panics), names over 100 bytes are split.
    Ustar,
    /// POSIX.1-2001: extended headers.
    #[default]
    Pax,
    /// GNU: `L` and `K` entries and binary numbers; times in whole seconds.
    Gnu,
}

/// A header block built by hand.
#[derive(Clone, Debug)]
pub struct Header([u8; BLOCK]);

impl Header {
    /// A ustar header with this name (cut at 100 bytes), type flag and size, mode 0644, owned by root.
    pub fn new(name: impl AsRef<[u8]>, flag: u8, size: u64) -> Self {
        let mut header = Header([0; BLOCK]);
        let name = name.as_ref();
        header = header.set(0, &name[..name.len().min(100)]);
        header.0[156] = flag;
        header
            .octal(100, 8, 0o644)
            .octal(108, 8, 0)
            .octal(116, 8, 0)
            .octal(124, 12, size)
            .octal(136, 12, 0)
            .set(257, b"ustar\x0000")
    }

    /// Puts bytes at an offset.
    #[must_use]
    pub fn set(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Puts a number as octal digits with a NUL at the end of a field.
    #[must_use]
    pub fn octal(self, offset: usize, width: usize, value: u64) -> Self {
        let digits = format!("{value:0width$o}\0", width = width - 1);
        assert!(
            digits.len() <= width,
            "{value} does not fit into {width} octal digits"
        );
        self.set(offset, digits.as_bytes())
    }

    /// Puts a number in GNU's binary form, big-endian with the highest bit set.
    #[must_use]
    pub fn binary(mut self, offset: usize, width: usize, value: i64) -> Self {
        let fill = if value < 0 { 0xff } else { 0 };
        self.0[offset..offset + width].fill(fill);
        self.0[offset + width - 8..offset + width].copy_from_slice(&value.to_be_bytes());
        self.0[offset] |= 0x80;
        self
    }

    /// Puts the name of the link's target (cut at 100 bytes).
    #[must_use]
    pub fn link(self, target: impl AsRef<[u8]>) -> Self {
        let target = target.as_ref();
        self.set(157, &target[..target.len().min(100)])
    }

    /// The block with its checksum.
    pub fn bytes(mut self) -> Vec<u8> {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|&b| u64::from(b)).sum();
        self = self.set(148, format!("{sum:06o}\0 ").as_bytes());
        self.0.to_vec()
    }
}

#[track_caller]
pub(crate) fn write(layer: &Layer, dialect: Dialect) -> Vec<u8> {
    let mut out = Vec::new();
    let last = layer.items.len().saturating_sub(1);
    for (i, item) in layer.items.iter().enumerate() {
        match item {
            Item::Entry(e) => entry(&mut out, e, dialect, !(layer.open_end && i == last)),
            Item::Global(records) => extended(&mut out, b'g', records),
            Item::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
    if !layer.open_end {
        out.resize(out.len() + 2 * BLOCK, 0);
    }
    out
}

#[track_caller]
fn entry(out: &mut Vec<u8>, entry: &Entry, dialect: Dialect, pad: bool) {
    let (mut flag, content, target, device): (u8, &[u8], &[u8], _) = match &entry.kind {
        Kind::Directory => (b'5', b"", b"", None),
        Kind::File(content) => (b'0', content, b"", None),
        Kind::Symlink(target) => (b'2', b"", target, None),
        Kind::Hardlink(target) => (b'1', b"", target, None),
        Kind::Character(major, minor) => (b'3', b"", b"", Some((*major, *minor))),
        Kind::Block(major, minor) => (b'4', b"", b"", Some((*major, *minor))),
        Kind::Fifo => (b'6', b"", b"", None),
    };
    flag = entry.flag.unwrap_or(flag);
    let size = entry.size.unwrap_or(content.len() as u64);
    let mut pax: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut header = Header::new("", flag, 0)
        .octal(100, 8, u64::from(entry.mode))
        .link(target);

    match split(&entry.name, dialect) {
        Some((prefix, name)) => header = header.set(0, name).set(345, prefix),
        None => {
            header = header.set(0, &entry.name[..100]);
            long(out, &mut pax, dialect, (b'L', "path"), &entry.name);
        }
    }
    if target.len() > 100 {
        long(out, &mut pax, dialect, (b'K', "linkpath"), target);
    }
    for (value, offset, width, key) in [
        (entry.uid, 108, 8, "uid"),
        (entry.gid, 116, 8, "gid"),
        (size, 124, 12, "size"),
    ] {
        header = number(header, &mut pax, dialect, (offset, width), key, value as i64);
    }
    header = number(header, &mut pax, dialect, (136, 12), "mtime", entry.mtime.0);
    if entry.mtime.1 != 0 {
        assert!(
            dialect == Dialect::Pax,
            "only PAX holds parts of a second: {}",
            show(&entry.name)
        );
        pax.retain(|(key, _)| key != b"mtime");
        pax.push((b"mtime".to_vec(), decimal(entry.mtime).into_bytes()));
    }
    if let Some((major, minor)) = device {
        header = header
            .octal(329, 8, u64::from(major))
            .octal(337, 8, u64::from(minor));
    }
    for (name, value) in &entry.xattrs {
        pax.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
    }
    pax.extend(entry.pax.iter().cloned());
    if !pax.is_empty() {
        extended(out, b'x', &pax);
    }
    if dialect == Dialect::Gnu {
        header = header.set(257, b"ustar  \0");
    }
    out.extend_from_slice(&header.bytes());
    out.extend_from_slice(content);
    if pad {
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
}

/// Splits a name into ustar's prefix and name.
fn split(name: &[u8], dialect: Dialect) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    if dialect == Dialect::Gnu {
        return None;
    }
    (1..name.len().min(156))
        .rev()
        .find(|&at| name[at] == b'/' && (1..=100).contains(&(name.len() - at - 1)))
        .map(|at| (&name[..at], &name[at + 1..]))
}

#[track_caller]
fn long(
    out: &mut Vec<u8>,
    pax: &mut Vec<(Vec<u8>, Vec<u8>)>,
    dialect: Dialect,
    (flag, key): (u8, &str),
    value: &[u8],
) {
    match dialect {
        Dialect::Ustar => panic!("too long for ustar: {}", show(value)),
        Dialect::Pax => pax.push((key.as_bytes().to_vec(), value.to_vec())),
        Dialect::Gnu => {
            let header = Header::new("././@LongLink", flag, value.len() as u64 + 1).set(257, b"ustar  \0");
            out.extend_from_slice(&header.bytes());
            out.extend_from_slice(value);
            out.resize((out.len() + 1).next_multiple_of(BLOCK), 0);
        }
    }
}

#[track_caller]
fn number(
    header: Header,
    pax: &mut Vec<(Vec<u8>, Vec<u8>)>,
    dialect: Dialect,
    (offset, width): (usize, usize),
    key: &str,
    value: i64,
) -> Header {
    let limit = 1i64 << (3 * (width - 1));
    if (0..limit).contains(&value) {
        return header.octal(offset, width, value as u64);
    }
    match dialect {
        Dialect::Ustar => panic!("{key} does not fit into ustar: {value}"),
        Dialect::Pax => {
            pax.push((key.as_bytes().to_vec(), value.to_string().into_bytes()));
            header.octal(offset, width, 0)
        }
        Dialect::Gnu => header.binary(offset, width, value),
    }
}

fn decimal((seconds, nanos): (i64, u32)) -> String {
    let text = match seconds {
        0.. => format!("{seconds}.{nanos:09}"),
        // One nanosecond before 1970 is (-1, 999999999) and reads -0.000000001.
        _ => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    };
    text.trim_end_matches('0').to_string()
}

/// An extended header with its records; a record's length counts its own digits.
fn extended(out: &mut Vec<u8>, flag: u8, records: &[(Vec<u8>, Vec<u8>)]) {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        body.extend_from_slice(format!("{length} ").as_bytes());
        body.extend_from_slice(key);
        body.push(b'=');
        body.extend_from_slice(value);
        body.push(b'\n');
    }
    let name = if flag == b'g' {
        "pax_global_header"
    } else {
        "PaxHeaders/entry"
    };
    out.extend_from_slice(&Header::new(name, flag, body.len() as u64).bytes());
    out.extend_from_slice(&body);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
