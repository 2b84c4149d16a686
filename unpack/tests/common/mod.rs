// SPDX-License-Identifier: Apache-2.0
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod images;
pub mod mounts;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fixture::{Dialect, Image};
use tempfile::TempDir;
use unpack::{Error, Layer, Limits, Root, Unpacked, Whiteouts};

/// A folder with a canary beside the root, to be looked at after every attack.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self::on(None)
    }

    /// On a mounted file system.
    pub fn on(base: Option<&Path>) -> Self {
        let dir = mounts::folder(base);
        std::fs::create_dir(dir.path().join("outside")).expect("outside");
        std::fs::write(dir.path().join("outside/canary"), "untouched").expect("canary");
        Place { dir }
    }

    pub fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Unpacks one tar into the root, which is made when it is not there.
    pub fn unpack(&self, tar: &[u8], whiteouts: Whiteouts, limits: Limits) -> Result<Unpacked, Error> {
        let path = self.root();
        let root = if path.exists() {
            Root::open(&path)
        } else {
            Root::create(&path)
        }?;
        Layer::new(&root).whiteouts(whiteouts).limits(limits).unpack(tar)
    }

    /// Keeps one tar, in a folder beside the root.
    pub fn keep(&self, name: &str, tar: &[u8], limits: Limits) -> Result<(PathBuf, Unpacked), Error> {
        let dir = self.dir.path().join(name);
        let kept = Layer::new(&Root::create(&dir)?).limits(limits).keep(tar)?;
        Ok((dir, kept))
    }

    /// What is outside the root, times and all.
    pub fn listing_outside(&self) -> String {
        fixture::tree(self.outside())
    }
}

/// The dialects of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    V7,
    Ustar,
    Pax,
    Gnu,
}

/// All of them.
pub const FORMS: [Form; 4] = [Form::V7, Form::Ustar, Form::Pax, Form::Gnu];

/// The layers of a fixture's text, as tars; none where the form has no such entries.
#[track_caller]
pub fn layers(text: &str, form: Form) -> Option<Vec<Vec<u8>>> {
    let dialect = match form {
        Form::V7 | Form::Ustar => Dialect::Ustar,
        Form::Pax => Dialect::Pax,
        Form::Gnu => Dialect::Gnu,
    };
    let image = Image::parse(text)
        .dialect(dialect)
        .compression(fixture::Compression::None)
        .build();
    let layers = image.layers.iter().map(|blob| blob.bytes.to_vec());
    match form {
        Form::V7 => layers.map(v7).collect(),
        _ => Some(layers.collect()),
    }
}

/// Takes from each header what came after 1979: the mark, owners' names, devices and prefixes, and
/// the types of directories and files.
pub fn v7(mut tar: Vec<u8>) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < tar.len() && tar[at..].iter().take(512).any(|b| *b != 0) {
        let block: &mut [u8] = &mut tar[at..at + 512];
        match block[156] {
            b'0' | b'5' => block[156] = 0,
            b'1' | b'2' => {}
            _ => return None,
        }
        assert_eq!(block[345], 0, "a prefix");
        block[257..].fill(0);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&block[124..135]).expect("digits");
        let size = usize::from_str_radix(size, 8).expect("a size");
        at += 512 + size.next_multiple_of(512);
    }
    Some(tar)
}

pub fn tar(text: &str) -> Vec<u8> {
    fixture::Layer::parse(text).tar(Dialect::Pax)
}

/// A tree in few words: `d a`, `f a/b text`, `l a/c -> b`, `c null 1:3`, names in the order of bytes.
pub fn brief(root: &Path) -> Vec<String> {
    fn visit(directory: &Path, prefix: &str, out: &mut Vec<String>) {
        let mut entries: Vec<_> = std::fs::read_dir(directory)
            .expect("read")
            .map(|e| e.expect("entry"))
            .collect();
        entries.sort_by_key(|e| e.file_name());
        for entry in entries {
            let name = format!("{prefix}{}", entry.file_name().as_bytes().escape_ascii());
            let meta = std::fs::symlink_metadata(entry.path()).expect("metadata");
            let kind = meta.file_type();
            out.push(if kind.is_dir() {
                format!("d {name}")
            } else if kind.is_file() {
                let content = std::fs::read(entry.path()).expect("content");
                format!("f {name} {}", content.escape_ascii())
                    .trim_end()
                    .to_owned()
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).expect("link");
                format!("l {name} -> {}", target.as_os_str().as_bytes().escape_ascii())
            } else if kind.is_fifo() {
                format!("p {name}")
            } else {
                let device = meta.rdev();
                format!("c {name} {}:{}", (device >> 8) & 0xfff, device & 0xff)
            });
            if kind.is_dir() {
                visit(&entry.path(), &format!("{name}/"), out);
            }
        }
    }
    let mut out = Vec::new();
    visit(root, "", &mut out);
    out
}

/// The lines of a text without their margins.
pub fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect()
}
