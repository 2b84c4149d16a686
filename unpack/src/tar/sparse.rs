// SPDX-License-Identifier: Apache-2.0
//! Maps of sparse files: GNU's old header form and version 1.0, which stands before the data.

use ::tar::{GnuHeader, GnuSparseHeader};

use super::{BLOCK, number};
use crate::{Error, Limits};

/// Bytes of a sparse file that are stored; all around them is hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Adds the pieces of one header's table; an unused slot starts with NUL.
pub(super) fn table(
    slots: &[GnuSparseHeader],
    pieces: &mut Vec<Piece>,
    limits: &Limits,
) -> Result<(), Error> {
    for slot in slots.iter().filter(|slot| slot.offset.first() != Some(&0)) {
        if pieces.len() >= limits.sparse_pieces {
            return Err(Error::limit("sparse_pieces", limits.sparse_pieces as u64));
        }
        let number = |bytes| {
            u64::try_from(number::field(bytes)?).map_err(|_| Error::archive("a sparse map is negative"))
        };
        pieces.push(Piece {
            offset: number(&slot.offset)?,
            length: number(&slot.numbytes)?,
        });
    }
    Ok(())
}

/// The size that an old GNU sparse file has when its holes are counted.
pub(super) fn real_size(header: &GnuHeader) -> Result<u64, Error> {
    u64::try_from(number::field(&header.realsize)?)
        .map_err(|_| Error::archive("a sparse file's size is negative"))
}

/// Reads the text map of version 1.0, which fills whole blocks before the data: the number of
/// pieces, then offset and length of each, a line for each number.
///
/// Returns the pieces and how many bytes of the entry the map took.
pub(super) fn text(
    mut block: impl FnMut() -> Result<[u8; BLOCK], Error>,
    limits: &Limits,
) -> Result<(Vec<Piece>, u64), Error> {
    let mut used = 0u64;
    let mut line = Vec::with_capacity(24);
    let mut current = Vec::new().into_iter();
    let mut next = || -> Result<u64, Error> {
        line.clear();
        loop {
            let byte = match current.next() {
                Some(byte) => byte,
                None => {
                    current = block()?.to_vec().into_iter();
                    used = used.saturating_add(BLOCK as u64);
                    continue;
                }
            };
            match byte {
                b'\n' => return number::decimal(&line),
                _ if line.len() < 20 => line.push(byte),
                _ => return Err(Error::archive("a sparse map's line is too long")),
            }
        }
    };
    let count = next()?;
    if count > limits.sparse_pieces as u64 {
        return Err(Error::limit("sparse_pieces", limits.sparse_pieces as u64));
    }
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push(Piece {
            offset: next()?,
            length: next()?,
        });
    }
    Ok((pieces, used))
}

/// Checks that pieces are in order, apart and inside the file; returns the bytes they hold.
pub(super) fn check(pieces: &[Piece], size: u64) -> Result<u64, Error> {
    let (mut end, mut stored) = (0u64, 0u64);
    for piece in pieces {
        if piece.offset < end {
            return Err(Error::archive("a sparse map's pieces overlap"));
        }
        end = piece
            .offset
            .checked_add(piece.length)
            .ok_or(Error::archive("a sparse map overflows"))?;
        stored = stored.saturating_add(piece.length);
    }
    if end > size {
        return Err(Error::archive("a sparse map reaches beyond its file"));
    }
    Ok(stored)
}
