// SPDX-License-Identifier: Apache-2.0
//! Keeps a layer's archive, and writes the index of it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;

use nix::unistd::ftruncate;

use super::changes::Changes;
use super::layout::too_large;
use super::tree::Content;
use super::write::{Volume, write};
use super::{Blocks, INDEX, SPARSE, TAR};
use crate::extract::write_pieces;
use crate::tar::{Entries, Kind};
use crate::{Error, Limits, Notes, Root, files};

/// Pages that the kernel reads at once are of this size.
const PAGE: u64 = 4096;
/// The most that block numbers of 32 bits can tell apart.
const ADDRESSABLE: u64 = 512 << 32;

/// Devices of an index, in their order.
pub(super) const TAR_VOLUME: u16 = 0;
pub(super) const SPARSE_VOLUME: u16 = 1;

pub(crate) struct Kept {
    pub(crate) entries: u64,
    pub(crate) dropped_xattrs: u64,
    pub(crate) notes: Notes,
}

/// Reads an archive to its end into the root's directory.
pub(crate) fn keep(root: &Root, limits: &Limits, input: impl BufRead) -> Result<Kept, Error> {
    let position = Cell::new(0);
    let mut input = Keeping {
        input,
        file: create(root, TAR)?,
        kept: 0,
        position: &position,
        failed: None,
    };
    let mut sparse = Sparse {
        root,
        file: None,
        bytes: 0,
    };
    let mut changes = Changes::new(limits);
    let read = read(&mut input, limits, &mut changes, &mut sparse).and_then(|entries| {
        // The bytes behind an archive are under the digests too.
        input.drain().map_err(|e| Error::io("keep the layer", e))?;
        Ok(entries)
    });
    // The reader of entries cannot tell a full disk from a broken layer.
    if let Some(error) = input.failed.take() {
        return Err(Error::io("keep the layer", error));
    }
    let entries = read?;
    let bytes = position.get();
    if bytes > ADDRESSABLE {
        return Err(too_large());
    }
    // A page more than whole pages: then a view that begins inside the first page is of whole pages.
    let padded = bytes.next_multiple_of(PAGE) + PAGE;
    set_length(&input.file, padded)?;
    let mut volumes = vec![Volume { bytes: padded }];
    if let Some(file) = &sparse.file {
        set_length(file, sparse.bytes)?;
        volumes.push(Volume { bytes: sparse.bytes });
    }
    let notes = changes.finish()?;
    let index = create(root, INDEX)?;
    write(&changes.tree, &changes.xattrs, &volumes, Blocks::Small, &index)?;
    Ok(Kept {
        entries,
        dropped_xattrs: changes.dropped_xattrs,
        notes,
    })
}

fn read(
    input: &mut Keeping<'_, impl BufRead>,
    limits: &Limits,
    changes: &mut Changes,
    sparse: &mut Sparse<'_>,
) -> Result<u64, Error> {
    let position = input.position;
    let mut archive = Entries::new(input, limits.clone());
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        entries += 1;
        let name = entry.name.clone();
        let place = |kind: &Kind| match kind {
            Kind::File {
                size,
                pieces: Some(pieces),
            } => sparse.keep(*size, |file, start| {
                write_pieces(&mut archive, file, start, pieces)
            }),
            Kind::File { size, pieces: None } => Ok(Content::File {
                size: *size,
                offset: position.get(),
                device: TAR_VOLUME,
            }),
            _ => Err(Error::refused("it has no data")),
        };
        let taken = changes.entry(entry, place);
        taken
            .and_then(|()| archive.skip_data())
            .map_err(|e| e.at(&name))?;
    }
    Ok(entries)
}

fn create(root: &Root, name: &str) -> Result<File, Error> {
    let file = files::create_readable(root.as_fd(), name.as_bytes());
    Ok(File::from(
        file.map_err(|e| Error::io("make a file for the layer", e))?,
    ))
}

fn set_length(file: &File, bytes: u64) -> Result<(), Error> {
    let length = i64::try_from(bytes).map_err(|_| too_large())?;
    ftruncate(file, length).map_err(|e| Error::io("set the size", e))
}

/// The contents of sparse files, one behind the other, with their holes.
struct Sparse<'a> {
    root: &'a Root,
    file: Option<File>,
    bytes: u64,
}

impl Sparse<'_> {
    fn keep(
        &mut self,
        size: u64,
        put: impl FnOnce(&File, u64) -> Result<(), Error>,
    ) -> Result<Content, Error> {
        let offset = self.bytes;
        self.bytes = offset.saturating_add(size.next_multiple_of(PAGE));
        if self.bytes > ADDRESSABLE {
            return Err(too_large());
        }
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(create(self.root, SPARSE)?),
        };
        put(file, offset)?;
        Ok(Content::File {
            size,
            offset,
            device: SPARSE_VOLUME,
        })
    }
}

/// Writes to a file what is read, each piece as soon as it is there.
struct Keeping<'a, R> {
    input: R,
    file: File,
    /// Bytes of the current piece that are in the file but were not consumed.
    kept: usize,
    /// Bytes consumed so far.
    position: &'a Cell<u64>,
    /// Why the file could not be written.
    failed: Option<io::Error>,
}

impl<R: BufRead> Keeping<'_, R> {
    fn drain(&mut self) -> io::Result<()> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length);
        }
    }
}

impl<R: BufRead> BufRead for Keeping<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.input.fill_buf()?;
        if self.kept == 0 && !bytes.is_empty() {
            if let Err(error) = self.file.write_all(bytes) {
                let kind = error.kind();
                self.failed = Some(error);
                return Err(kind.into());
            }
            self.kept = bytes.len();
        }
        // A reader may have got more meanwhile, which is not in the file yet.
        Ok(bytes.get(..self.kept).unwrap_or(bytes))
    }

    fn consume(&mut self, length: usize) {
        self.kept -= length;
        self.position.set(self.position.get() + length as u64);
        self.input.consume(length);
    }
}

impl<R: BufRead> Read for Keeping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
