// SPDX-License-Identifier: Apache-2.0
//! One walk over the headers of a tar file (POSIX pax, GNU and old formats).
//!
//! The tar crate reads each header's fields; the walk is ours, because extension members must be
//! bounded and member data must be skipped, not read.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header};

use crate::{Error, ErrorKind};

/// Members of an archive: the layers of hundreds of images, and a walk of a moment.
const MAX_MEMBERS: usize = 100_000;
/// Bytes of a pax or GNU extension member; a layout's longest path has 150.
const MAX_EXTENSION: u64 = 64 << 10;
const BLOCK: u64 = 512;

/// Where a member's data lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) size: u64,
}

/// A member with data of its own, or one that stands for another.
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: EntryType,
    pub(super) span: Span,
    /// The target, where the member is a link.
    pub(super) target: Vec<u8>,
}

/// What extension members say about the next member.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
}

/// Hands out the members of a file of `len` bytes, in order. Blocks.
pub(super) fn scan(
    file: &File,
    len: u64,
    mut note: impl FnMut(Member) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut extension = Extension::default();
    let mut at = 0;
    let mut count = 0;
    while let Some(header) = header(file, at, len)? {
        count += 1;
        if count > MAX_MEMBERS {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("more than {MAX_MEMBERS} members"),
            ));
        }
        let kind = header.entry_type();
        let pending = std::mem::take(&mut extension);
        let size = match kind {
            EntryType::Link | EntryType::Symlink | EntryType::Char => 0,
            EntryType::Block | EntryType::Directory | EntryType::Fifo => 0,
            EntryType::XHeader | EntryType::XGlobalHeader => header.entry_size().map_err(|_| broken(at))?,
            EntryType::GNULongName | EntryType::GNULongLink => header.entry_size().map_err(|_| broken(at))?,
            _ => pending
                .size
                .map_or_else(|| header.entry_size(), Ok)
                .map_err(|_| broken(at))?,
        };
        let span = Span { at: at + BLOCK, size };
        let end = span
            .at
            .checked_add(size)
            .filter(|end| *end <= len)
            .ok_or_else(|| cut(at))?;
        let padded = end.checked_next_multiple_of(BLOCK).ok_or_else(|| cut(at))?;
        match kind {
            EntryType::XHeader => extension = Extension::pax(&extended(file, span)?, pending)?,
            EntryType::GNULongName => {
                let name = Some(ended(extended(file, span)?));
                extension = Extension { name, ..pending };
            }
            EntryType::GNULongLink => {
                let target = Some(ended(extended(file, span)?));
                extension = Extension { target, ..pending };
            }
            EntryType::XGlobalHeader => extension = pending,
            EntryType::GNUSparse => return Err(Error::unsupported("sparse member in an image archive")),
            _ => {
                let target = || header.link_name_bytes().unwrap_or_default().into_owned();
                note(Member {
                    name: pending.name.unwrap_or_else(|| header.path_bytes().into_owned()),
                    kind,
                    span,
                    target: pending.target.unwrap_or_else(target),
                })?;
            }
        }
        at = padded;
    }
    Ok(())
}

/// How the bytes at `at`, a layer's first ones, are compressed; none for a tar header. Blocks.
pub(super) fn layer_compression(file: &File, span: Span) -> Result<Option<&'static str>, Error> {
    let mut block = [0; BLOCK as usize];
    let have = span.size.min(BLOCK) as usize;
    let start = block.get_mut(..have).unwrap_or_default();
    file.read_exact_at(start, span.at)
        .map_err(|cause| Error::io("read", cause))?;
    // Whatever a tar header begins with is a file's name.
    let sum = Header::from_byte_slice(&block).cksum();
    Ok(compression(&block).filter(|_| sum.ok() != Some(checksum(&block))))
}

/// The header at `at`, or `None` at the end of the archive.
fn header(file: &File, at: u64, len: u64) -> Result<Option<Header>, Error> {
    if at >= len && at > 0 {
        return Ok(None);
    }
    let mut block = [0; BLOCK as usize];
    if len - at.min(len) < BLOCK {
        return Err(cut(at));
    }
    file.read_exact_at(&mut block, at)
        .map_err(|cause| Error::io("read", cause))?;
    if block == [0; BLOCK as usize] {
        return Ok(None);
    }
    let header = Header::from_byte_slice(&block).clone();
    if at == 0
        && let Some(name) = compression(&block)
    {
        return Err(
            Error::unsupported(format!("archive compressed with {name}")).hinting("decompress it first")
        );
    }
    match header.cksum() {
        Ok(sum) if sum == checksum(&block) => Ok(Some(header)),
        _ => Err(broken(at)),
    }
}

/// The sum of a header's bytes, its own field counted as blanks.
fn checksum(block: &[u8; BLOCK as usize]) -> u32 {
    let field = 148..156;
    (0..)
        .zip(block)
        .map(|(i, byte)| u32::from(if field.contains(&i) { b' ' } else { *byte }))
        .sum()
}

fn compression(block: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 4] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
    ];
    known
        .into_iter()
        .find(|(magic, _)| block.starts_with(magic))
        .map(|(_, name)| name)
}

fn extended(file: &File, span: Span) -> Result<Vec<u8>, Error> {
    if span.size > MAX_EXTENSION {
        let message = format!(
            "an extension member is longer than {MAX_EXTENSION} bytes: {}",
            span.size
        );
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    let mut data = vec![0; span.size as usize];
    file.read_exact_at(&mut data, span.at)
        .map_err(|cause| Error::io("read", cause))?;
    Ok(data)
}

impl Extension {
    fn pax(data: &[u8], before: Self) -> Result<Self, Error> {
        let bad = || Error::new(ErrorKind::BadResponse, "a pax header is malformed");
        let mut extension = before;
        let mut rest = data;
        while !rest.is_empty() {
            let (record, next) = record(rest).ok_or_else(bad)?;
            rest = next;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = record.split_at_checked(equals).ok_or_else(bad)?;
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => extension.name = Some(value.to_vec()).filter(|name| !name.is_empty()),
                b"linkpath" => extension.target = Some(value.to_vec()).filter(|target| !target.is_empty()),
                b"size" => {
                    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    extension.size = Some(number.ok_or_else(bad)?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::unsupported("sparse member in an image archive"));
                }
                _ => {}
            }
        }
        Ok(extension)
    }
}

/// A GNU extension member's text, up to its NUL.
fn ended(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|b| *b == 0) {
        data.truncate(end);
    }
    data
}

/// The first `length key=value\n` of a pax header without its length and newline, and the rest.
fn record(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = data.iter().position(|b| *b == b' ')?;
    let length: usize = std::str::from_utf8(data.get(..blank)?).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    Some((record.get(blank + 1..)?.strip_suffix(b"\n")?, rest))
}

fn broken(at: u64) -> Error {
    Error::new(ErrorKind::BadResponse, format!("not a tar header at byte {at}"))
}

fn cut(at: u64) -> Error {
    Error::new(
        ErrorKind::Size,
        format!("the archive is cut short in the member at byte {at}"),
    )
}
