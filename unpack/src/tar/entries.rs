// SPDX-License-Identifier: Apache-2.0
use std::io::BufRead;

use ::tar::{GnuExtSparseHeader, Header};

use super::entry::{Entry, Kind, Meta};
use super::header::{self, Type};
use super::pax::Records;
use super::{BLOCK, Piece, number, sparse};
use crate::{Error, ErrorKind, Limits};

/// The entries of an archive, one after the other, and the data of the current one.
#[derive(Debug)]
pub(crate) struct Entries<R> {
    input: R,
    limits: Limits,
    global: Records,
    /// Bytes of the current entry's data that were not consumed, and the padding behind them.
    data: u64,
    padding: u64,
    headers: u64,
}

/// What extension headers say of the entry that follows them.
struct Pending {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Entries<R> {
    pub(crate) fn new(input: R, limits: Limits) -> Self {
        Entries {
            input,
            limits,
            global: Records::default(),
            data: 0,
            padding: 0,
            headers: 0,
        }
    }

    /// The next entry; none where the archive ends, with or without the blocks that say so.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut pending = Pending {
            records: self.global.clone(),
            long_name: None,
            long_link: None,
        };
        let mut extended = false;
        let mut block = [0; BLOCK];
        loop {
            self.skip_data()?;
            if !self.header_block(&mut block)? {
                return match extended {
                    true => Err(Error::archive("the archive ends after an extension header")),
                    false => Ok(None),
                };
            }
            self.headers = self.headers.saturating_add(1);
            if self.headers > self.limits.entries {
                return Err(Error::limit("entries", self.limits.entries));
            }
            let header = Header::from_byte_slice(&block);
            let size = header::size(header)?;
            let kind = header::kind(header)?;
            match kind {
                Type::PaxLocal => {
                    let bytes = self.extension(size)?;
                    pending.records.read(&bytes, &self.limits)?;
                }
                Type::PaxGlobal if extended => {
                    return Err(Error::archive(
                        "a global header stands between an entry and its own",
                    ));
                }
                Type::PaxGlobal => {
                    let bytes = self.extension(size)?;
                    self.global.read(&bytes, &self.limits)?;
                    pending.records = self.global.clone();
                    continue;
                }
                Type::GnuLongName => pending.long_name = Some(self.long_name(size)?),
                Type::GnuLongLink => pending.long_link = Some(self.long_name(size)?),
                kind => return self.entry(header, kind, size, pending),
            }
            extended = true;
        }
    }

    /// Some of the current entry's data; empty when all of it was consumed.
    pub(crate) fn data(&mut self) -> Result<&[u8], Error> {
        if self.data == 0 {
            return Ok(&[]);
        }
        let bytes = self
            .input
            .fill_buf()
            .map_err(|e| Error::with_source(ErrorKind::Read, e))?;
        if bytes.is_empty() {
            return Err(Error::archive("the archive ends inside an entry"));
        }
        let length = usize::try_from(self.data).unwrap_or(usize::MAX).min(bytes.len());
        Ok(bytes.get(..length).unwrap_or_default())
    }

    pub(crate) fn consume(&mut self, length: usize) {
        self.input.consume(length);
        self.data = self.data.saturating_sub(length as u64);
    }

    fn entry(
        &mut self,
        header: &Header,
        kind: Type,
        size: u64,
        pending: Pending,
    ) -> Result<Option<Entry>, Error> {
        let Pending {
            mut records,
            long_name,
            long_link,
        } = pending;
        let sparse_name = records.sparse.name.take();
        let name = sparse_name
            .or(long_name)
            .or(records.path.take())
            .unwrap_or_else(|| header::name(header));
        match self.parts(header, kind, size, records, long_link, &name) {
            Ok((kind, meta)) => Ok(Some(Entry { name, kind, meta })),
            Err(e) => Err(e.at(&name)),
        }
    }

    fn parts(
        &mut self,
        header: &Header,
        kind: Type,
        size: u64,
        mut records: Records,
        long_link: Option<Vec<u8>>,
        name: &[u8],
    ) -> Result<(Kind, Meta), Error> {
        let target = long_link
            .or(records.linkpath)
            .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
            .unwrap_or_default();
        let kind = match kind {
            // Types without data have none, whatever their size field says, as all readers take it.
            Type::HardLink => Kind::HardLink(non_empty(target)?),
            Type::Symlink => Kind::Symlink(non_empty(target)?),
            Type::CharDevice => {
                header::device(header).map(|(major, minor)| Kind::CharDevice(major, minor))?
            }
            Type::BlockDevice => {
                header::device(header).map(|(major, minor)| Kind::BlockDevice(major, minor))?
            }
            Type::Directory => Kind::Directory,
            Type::Fifo => Kind::Fifo,
            Type::GnuSparse => {
                self.set_data(records.size.unwrap_or(size))?;
                self.gnu_sparse(header)?
            }
            // The old form has no type for directories, only a slash at the end of the name.
            Type::OldFile if name.ends_with(b"/") => {
                self.set_data(records.size.unwrap_or(size))?;
                Kind::Directory
            }
            _ => {
                self.set_data(records.size.unwrap_or(size))?;
                self.file(&mut records.sparse)?
            }
        };
        let old = header.as_old();
        let owner = |record: Option<u64>, field: &[u8]| match record {
            Some(id) => header::id(i64::try_from(id).unwrap_or(i64::MAX)),
            None => header::id(number::field(field)?),
        };
        let meta = Meta {
            mode: u32::try_from(number::field(&old.mode)? & 0o7777).unwrap_or_default(),
            uid: owner(records.uid, &old.uid)?,
            gid: owner(records.gid, &old.gid)?,
            mtime: match records.mtime {
                Some(mtime) => mtime,
                None => (number::field(&old.mtime)?, 0),
            },
            xattrs: records.xattrs,
        };
        Ok((kind, meta))
    }

    fn set_data(&mut self, size: u64) -> Result<(), Error> {
        if size > self.limits.file_bytes {
            return Err(Error::limit("file_bytes", self.limits.file_bytes));
        }
        self.data = size;
        self.padding = padding(size);
        Ok(())
    }

    /// A regular file, sparse where PAX records of versions 0.0, 0.1 or 1.0 say so.
    fn file(&mut self, records: &mut super::pax::Sparse) -> Result<Kind, Error> {
        let pieces = match (records.major, records.minor, records.map()?) {
            (Some(1), Some(0), _) => Some(self.text_map()?),
            (None | Some(0), _, Some(map)) => Some(map),
            (None, None, None) => None,
            _ => return Err(Error::archive("a sparse file is of no known version")),
        };
        match pieces {
            None => Ok(Kind::File {
                size: self.data,
                pieces: None,
            }),
            Some(pieces) => {
                let size = records
                    .real_size
                    .ok_or(Error::archive("a sparse file has no size"))?;
                self.sparse_file(size, pieces)
            }
        }
    }

    fn text_map(&mut self) -> Result<Vec<Piece>, Error> {
        let limits = self.limits.clone();
        let available = self.data;
        let block = || {
            let mut block = [0; BLOCK];
            self.map_block(&mut block).map(|()| block)
        };
        let (pieces, used) = sparse::text(block, &limits)?;
        self.data = available
            .checked_sub(used)
            .ok_or(Error::archive("a sparse map is longer than its entry"))?;
        Ok(pieces)
    }

    fn gnu_sparse(&mut self, header: &Header) -> Result<Kind, Error> {
        let gnu = header
            .as_gnu()
            .ok_or(Error::archive("a sparse file's header is not of GNU's form"))?;
        let mut pieces = Vec::new();
        sparse::table(&gnu.sparse, &mut pieces, &self.limits)?;
        let mut more = gnu.is_extended();
        while more {
            let mut table = GnuExtSparseHeader::new();
            self.map_block(table.as_mut_bytes())?;
            sparse::table(table.sparse(), &mut pieces, &self.limits)?;
            more = table.is_extended();
        }
        self.sparse_file(sparse::real_size(gnu)?, pieces)
    }

    fn sparse_file(&self, size: u64, pieces: Vec<Piece>) -> Result<Kind, Error> {
        if size > self.limits.file_bytes {
            return Err(Error::limit("file_bytes", self.limits.file_bytes));
        }
        if sparse::check(&pieces, size)? != self.data {
            return Err(Error::archive("a sparse map holds more or less than its entry"));
        }
        Ok(Kind::File {
            size,
            pieces: Some(pieces),
        })
    }

    /// The whole data of an extension header, within its limit.
    fn extension(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > self.limits.header_bytes {
            return Err(Error::limit("header_bytes", self.limits.header_bytes));
        }
        self.data = size;
        self.padding = padding(size);
        let mut bytes = Vec::new();
        while self.data > 0 {
            let some = self.data()?;
            bytes.extend_from_slice(some);
            let length = some.len();
            self.consume(length);
        }
        Ok(bytes)
    }

    /// GNU's long names end with a NUL that is counted in the size.
    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.extension(size)?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
        }
        if name.len() > self.limits.name_bytes {
            return Err(Error::limit("name_bytes", self.limits.name_bytes as u64));
        }
        Ok(name)
    }

    /// Passes over what is left of the current entry's data. Else the next entry does.
    pub(crate) fn skip_data(&mut self) -> Result<(), Error> {
        while self.data > 0 {
            let length = self.data()?.len();
            self.consume(length);
        }
        // Builders leave out the padding of the very last file.
        while self.padding > 0 {
            let bytes = self
                .input
                .fill_buf()
                .map_err(|e| Error::with_source(ErrorKind::Read, e))?;
            let length = bytes.len().min(usize::try_from(self.padding).unwrap_or(BLOCK));
            if length == 0 {
                self.padding = 0;
            }
            self.input.consume(length);
            self.padding = self.padding.saturating_sub(length as u64);
        }
        Ok(())
    }

    /// Reads the next header; false at the end of the bytes or at a block of zeros.
    fn header_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        if !self.block(block)? {
            return Ok(false);
        }
        if is_zero(block) {
            // The end is two such blocks, or one where a builder saved the other.
            return match !self.block(block)? || is_zero(block) {
                true => Ok(false),
                false => Err(Error::archive("a block of zeros stands between entries")),
            };
        }
        header::check(block)?;
        Ok(true)
    }

    /// Reads a block of a sparse file's map.
    fn map_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), Error> {
        match self.block(block)? {
            true => Ok(()),
            false => Err(Error::archive("a sparse map is cut")),
        }
    }

    /// Fills the block; false at the end of the bytes.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, Error> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let bytes = self
                .input
                .fill_buf()
                .map_err(|e| Error::with_source(ErrorKind::Read, e))?;
            let length = bytes.len().min(rest.len());
            if length == 0 {
                // Some archives end with less than a block of zeros.
                return match block.iter().take(filled).all(|b| *b == 0) {
                    true => Ok(false),
                    false => Err(Error::archive("the archive ends inside a header")),
                };
            }
            let (head, _) = rest.split_at_mut(length);
            head.copy_from_slice(bytes.get(..length).unwrap_or_default());
            filled = filled.saturating_add(length);
            self.input.consume(length);
        }
        Ok(true)
    }
}

fn non_empty(target: Vec<u8>) -> Result<Vec<u8>, Error> {
    if target.is_empty() {
        return Err(Error::archive("a link has no target"));
    }
    Ok(target)
}

fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|b| *b == 0)
}

/// Bytes from `size` to the next whole block, whose size is a power of two.
fn padding(size: u64) -> u64 {
    const MASK: u64 = BLOCK as u64 - 1;
    size.wrapping_neg() & MASK
}
