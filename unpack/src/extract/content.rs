// SPDX-License-Identifier: Apache-2.0
//! A file's content on its way from the archive.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{ftruncate, write};
use rustix::fs::SeekFrom;

use crate::Error;
use crate::tar::{Entries, Piece};

pub(super) fn write_file(
    archive: &mut Entries<impl BufRead>,
    file: &OwnedFd,
    size: u64,
) -> Result<(), Error> {
    copy(archive, size, |bytes, _| write_all(file, bytes))
}

/// Writes the pieces where they belong; what lies between them stays a hole.
pub(super) fn write_sparse(
    archive: &mut Entries<impl BufRead>,
    file: &OwnedFd,
    size: u64,
    pieces: &[Piece],
) -> Result<(), Error> {
    write_pieces(archive, file, 0, pieces)?;
    let length = i64::try_from(size).map_err(|_| Error::refused("its size is out of range"))?;
    ftruncate(file, length).map_err(|e| Error::io("set the size", e))
}

/// The same into a part of a file, which begins at `start`.
pub(crate) fn write_pieces(
    archive: &mut Entries<impl BufRead>,
    file: impl AsFd,
    start: u64,
    pieces: &[Piece],
) -> Result<(), Error> {
    pieces.iter().try_for_each(|piece| {
        copy(archive, piece.length, |bytes, at| {
            write_all_at(&file, bytes, start + piece.offset + at)
        })
    })
}

/// Hands `length` bytes of the entry on, with the place of each part among them.
fn copy(
    archive: &mut Entries<impl BufRead>,
    length: u64,
    mut put: impl FnMut(&[u8], u64) -> nix::Result<()>,
) -> Result<(), Error> {
    let mut done = 0;
    while done < length {
        let bytes = archive.data()?;
        let part = usize::try_from(length - done)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let Some(bytes) = bytes.get(..part).filter(|bytes| !bytes.is_empty()) else {
            return Err(Error::archive("an entry is shorter than its size"));
        };
        put(bytes, done).map_err(|e| Error::io("write", e))?;
        archive.consume(part);
        done += part as u64;
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> nix::Result<()> {
    while !bytes.is_empty() {
        match write(file, bytes) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => bytes = bytes.get(length..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn write_all_at(file: impl AsFd, mut bytes: &[u8], mut at: u64) -> nix::Result<()> {
    while !bytes.is_empty() {
        let offset = i64::try_from(at).map_err(|_| Errno::EFBIG)?;
        match nix::sys::uio::pwrite(&file, bytes, offset) {
            Ok(0) => return Err(Errno::EIO),
            Ok(length) => {
                bytes = bytes.get(length..).unwrap_or_default();
                at += length as u64;
            }
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Copies a file's content, sharing it where the file system can; holes stay holes.
pub(super) fn duplicate(from: &File, to: &File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    loop {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(rustix::io::Errno::NXIO) => break,
            found => found?,
        };
        at = rustix::fs::seek(from, SeekFrom::Hole(start))?;
        rustix::fs::seek(from, SeekFrom::Start(start))?;
        rustix::fs::seek(to, SeekFrom::Start(start))?;
        let (mut piece, mut to) = (from.take(at.saturating_sub(start)), to);
        io::copy(&mut piece, &mut to)?;
    }
    to.set_len(from.metadata()?.len())
}
