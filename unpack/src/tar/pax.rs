// SPDX-License-Identifier: Apache-2.0
//! PAX extended headers (POSIX.1-2001, "pax Header Block").

use std::collections::BTreeMap;

use super::entry::xattr_weight;
use super::{Piece, number};
use crate::{Error, Limits};

const XATTR: &[u8] = b"SCHILY.xattr.";

/// What the records before an entry say about it. A value that is absent leaves the header's own.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Memory that the attributes take.
    xattr_bytes: usize,
    pub(super) sparse: Sparse,
}

/// GNU tar's sparse records; which are present tells version 0.0, 0.1 or 1.0.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    blocks: Option<u64>,
    /// The whole map of version 0.1, or the pairs of version 0.0.
    map: Option<Vec<Piece>>,
    offset: Option<u64>,
}

impl Records {
    /// Adds one extended header's records to those that hold already; the later of a key wins.
    pub(super) fn read(&mut self, mut bytes: &[u8], limits: &Limits) -> Result<(), Error> {
        while !bytes.is_empty() {
            // Some writers fill the rest of the block that the size counts in.
            if bytes.iter().all(|b| *b == 0) {
                break;
            }
            let Record { key, value, rest } = record(bytes)?;
            self.set(key, value, limits)?;
            bytes = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), Error> {
        if let Some(name) = key.strip_prefix(XATTR) {
            return self.set_xattr(name, value, limits);
        }
        if key.contains(&0) {
            return Err(Error::archive("a PAX record's key holds a NUL byte"));
        }
        let some = (!value.is_empty()).then_some(value);
        let number = |value: Option<&[u8]>| value.map(number::decimal).transpose();
        match key {
            b"path" => self.path = name(some, limits)?,
            b"linkpath" => self.linkpath = name(some, limits)?,
            b"size" => self.size = number(some)?,
            b"uid" => self.uid = number(some)?,
            b"gid" => self.gid = number(some)?,
            b"mtime" => self.mtime = some.map(number::time).transpose()?,
            b"GNU.sparse.major" => self.sparse.major = number(some)?,
            b"GNU.sparse.minor" => self.sparse.minor = number(some)?,
            b"GNU.sparse.name" => self.sparse.name = name(some, limits)?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.real_size = number(some)?,
            b"GNU.sparse.numblocks" => self.sparse.blocks = number(some)?,
            b"GNU.sparse.map" => self.sparse.map = some.map(|text| map(text, limits)).transpose()?,
            b"GNU.sparse.offset" => self.sparse.offset = number(some)?,
            b"GNU.sparse.numbytes" => self.sparse.pair(number(some)?, limits)?,
            _ => {}
        }
        Ok(())
    }

    /// An empty value takes the attribute away, as it does every other key: guest-components#1737.
    fn set_xattr(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> Result<(), Error> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(Error::archive(
                "a PAX record names no possible extended attribute",
            ));
        }
        if value.len() > limits.xattr_bytes {
            return Err(Error::limit("xattr_bytes", limits.xattr_bytes as u64));
        }
        if let Some(old) = self.xattrs.remove(name) {
            self.xattr_bytes = self.xattr_bytes.saturating_sub(xattr_weight(name, &old));
        }
        if value.is_empty() {
            return Ok(());
        }
        if self.xattrs.len() >= limits.xattrs {
            return Err(Error::limit("xattrs", limits.xattrs as u64));
        }
        // Several headers may speak of one entry; together they stay within what one may hold.
        self.xattr_bytes = self.xattr_bytes.saturating_add(xattr_weight(name, value));
        if self.xattr_bytes as u64 > limits.header_bytes {
            return Err(Error::limit("header_bytes", limits.header_bytes));
        }
        self.xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }
}

impl Sparse {
    /// The map that the records hold, of version 0.0 or 0.1. Without pieces the whole file is a hole.
    pub(super) fn map(&mut self) -> Result<Option<Vec<Piece>>, Error> {
        match (self.blocks, self.map.take()) {
            (Some(0), None) => Ok(Some(Vec::new())),
            (Some(blocks), Some(map)) if map.len() as u64 != blocks => Err(Error::archive(
                "a sparse map has more or fewer pieces than it says",
            )),
            (_, map) => Ok(map),
        }
    }

    /// Version 0.0 repeats an offset and a length for each piece.
    fn pair(&mut self, length: Option<u64>, limits: &Limits) -> Result<(), Error> {
        let (Some(offset), Some(length)) = (self.offset.take(), length) else {
            return Err(Error::archive("a sparse map's length has no offset"));
        };
        let map = self.map.get_or_insert_default();
        if map.len() >= limits.sparse_pieces {
            return Err(Error::limit("sparse_pieces", limits.sparse_pieces as u64));
        }
        map.push(Piece { offset, length });
        Ok(())
    }
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// The first record of `LENGTH KEY=VALUE\n`, and what follows it. A value may hold any byte.
fn record(bytes: &[u8]) -> Result<Record<'_>, Error> {
    let bad = Error::archive("a PAX record does not end where its length says");
    let space = bytes.iter().take(21).position(|b| *b == b' ');
    let Some((digits, _)) = space.and_then(|at| bytes.split_at_checked(at)) else {
        return Err(bad);
    };
    let length = usize::try_from(number::decimal(digits)?).unwrap_or(usize::MAX);
    let Some((record, rest)) = bytes.split_at_checked(length) else {
        return Err(bad);
    };
    let Some(pair) = record
        .get(digits.len().saturating_add(1)..)
        .and_then(|r| r.strip_suffix(b"\n"))
    else {
        return Err(bad);
    };
    let Some(equals) = pair.iter().position(|b| *b == b'=') else {
        return Err(bad);
    };
    match pair.split_at_checked(equals) {
        Some((key, value)) if !key.is_empty() => Ok(Record {
            key,
            value: value.get(1..).unwrap_or_default(),
            rest,
        }),
        _ => Err(bad),
    }
}

fn name(value: Option<&[u8]>, limits: &Limits) -> Result<Option<Vec<u8>>, Error> {
    let Some(value) = value else { return Ok(None) };
    if value.contains(&0) {
        return Err(Error::archive("a PAX record's name holds a NUL byte"));
    }
    if value.len() > limits.name_bytes {
        return Err(Error::limit("name_bytes", limits.name_bytes as u64));
    }
    Ok(Some(value.to_vec()))
}

/// Version 0.1: `offset,length,offset,length...`
fn map(text: &[u8], limits: &Limits) -> Result<Vec<Piece>, Error> {
    let mut numbers = text.split(|b| *b == b',').map(number::decimal);
    let mut pieces = Vec::new();
    while let Some(offset) = numbers.next() {
        let length = numbers
            .next()
            .ok_or(Error::archive("a sparse map ends with an offset"))??;
        if pieces.len() >= limits.sparse_pieces {
            return Err(Error::limit("sparse_pieces", limits.sparse_pieces as u64));
        }
        pieces.push(Piece {
            offset: offset?,
            length,
        });
    }
    Ok(pieces)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Records, Error> {
        let mut records = Records::default();
        records.read(bytes, &Limits::default())?;
        Ok(records)
    }

    #[test]
    fn values_may_hold_newlines_and_equal_signs() {
        let records = read(b"28 SCHILY.xattr.user.a=a\n=b\n9 uid=12\n").expect("two records");
        assert_eq!(
            records.xattrs,
            BTreeMap::from([(b"user.a".to_vec(), b"a\n=b".to_vec())])
        );
        assert_eq!(records.uid, Some(12));
    }

    #[test]
    fn the_last_record_of_a_key_wins_and_an_empty_one_removes_it() {
        let records = read(b"10 path=a\n10 path=b\n8 path=\n9 uid=12\n8 uid=3\n").expect("records");
        assert_eq!((records.path, records.uid), (None, Some(3)));
    }

    #[test]
    fn bad_records_are_refused() {
        for bytes in [
            &b"12 path=a\n"[..],
            b"10 path a\n",
            b"x path=a\n",
            b"path=a\n",
            b"3 =\n",
            b"99999999999999999999 path=a\n",
            b"0 path=a\n",
            b"11 path=a\0\n",
            b"11 a\0b=cd\n",
            b"25 SCHILY.xattr.us\0er=x\n",
            b"10 size=x\n",
            b"11 size=-1\n",
            b"24 GNU.sparse.map=1,2,3\n",
            b"25 GNU.sparse.numbytes=1\n",
        ] {
            assert!(read(bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }
}
