// SPDX-License-Identifier: Apache-2.0
//! One header block, apart from what extension headers say.

use std::ops::Range;

use ::tar::Header;

use super::{BLOCK, number};
use crate::Error;

const NAME: Range<usize> = 0..100;
const BEFORE_SUM: Range<usize> = 0..148;
const BEHIND_SUM: Range<usize> = 156..BLOCK;
const MAGIC: Range<usize> = 257..263;
const DEVICE_MAJOR: Range<usize> = 329..337;
const DEVICE_MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
const STAR_PREFIX: Range<usize> = 345..476;
const GNU_ATIME: Range<usize> = 345..357;
const STAR_MAGIC: Range<usize> = 508..512;

/// Which fields a block has behind those that all have. The version is not looked at: not every
/// writer fills it in.
#[derive(PartialEq, Eq)]
enum Form {
    Old,
    Ustar,
    Star,
    Gnu,
}

fn form(block: &[u8; BLOCK]) -> Form {
    match field(block, MAGIC) {
        b"ustar\0" if field(block, STAR_MAGIC) == b"tar\0" => Form::Star,
        b"ustar\0" => Form::Ustar,
        b"ustar " => Form::Gnu,
        _ => Form::Old,
    }
}

fn field(block: &[u8; BLOCK], range: Range<usize>) -> &[u8] {
    block.get(range).unwrap_or_default()
}

/// The bytes of a field before the first NUL.
fn part(block: &[u8; BLOCK], range: Range<usize>) -> &[u8] {
    field(block, range).split(|b| *b == 0).next().unwrap_or_default()
}

/// What the type byte of a header says the block begins.
pub(super) enum Type {
    File,
    /// A file of the form before ustar; a directory if its name says so.
    OldFile,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    GnuSparse,
    PaxLocal,
    PaxGlobal,
    GnuLongName,
    GnuLongLink,
}

pub(super) fn kind(header: &Header) -> Result<Type, Error> {
    Ok(match header.as_old().linkflag {
        [0] => Type::OldFile,
        [b'0' | b'7'] => Type::File,
        [b'1'] => Type::HardLink,
        [b'2'] => Type::Symlink,
        [b'3'] => Type::CharDevice,
        [b'4'] => Type::BlockDevice,
        [b'5'] => Type::Directory,
        [b'6'] => Type::Fifo,
        [b'S'] => Type::GnuSparse,
        [b'x'] => Type::PaxLocal,
        [b'g'] => Type::PaxGlobal,
        [b'L'] => Type::GnuLongName,
        [b'K'] => Type::GnuLongLink,
        _ => return Err(Error::archive("an entry is of no known type")),
    })
}

/// Compares the checksum; old writers summed signed bytes.
pub(super) fn check(block: &[u8; BLOCK]) -> Result<(), Error> {
    let header = Header::from_byte_slice(block);
    let want = number::field(&header.as_old().cksum)?;
    // The checksum's own bytes count as blanks.
    let parts = [field(block, BEFORE_SUM), &[b' '; 8], field(block, BEHIND_SUM)];
    let of_part = |part: &&[u8]| part.iter().map(|b| u32::from(*b)).sum::<u32>();
    let unsigned = || i64::from(parts.iter().map(of_part).sum::<u32>());
    let of_part = |part: &&[u8]| part.iter().map(|b| i32::from(b.cast_signed())).sum::<i32>();
    let signed = || i64::from(parts.iter().map(of_part).sum::<i32>());
    if want == unsigned() || want == signed() {
        Ok(())
    } else {
        Err(Error::archive("a header's checksum is wrong"))
    }
}

pub(super) fn size(header: &Header) -> Result<u64, Error> {
    u64::try_from(number::field(&header.as_old().size)?)
        .map_err(|_| Error::archive("an entry's size is negative"))
}

/// The name that the block itself holds, with the prefix of the forms that have one.
pub(super) fn name(header: &Header) -> Vec<u8> {
    let block = header.as_bytes();
    let prefix = match form(block) {
        Form::Ustar => part(block, PREFIX),
        // The older star puts times behind a shorter prefix.
        Form::Star => part(block, STAR_PREFIX),
        // Go's writer before 1.8 put a prefix where GNU's form has a time.
        Form::Gnu if number::field(field(block, GNU_ATIME)).is_err() => part(block, PREFIX),
        Form::Gnu | Form::Old => b"",
    };
    let name = part(block, NAME);
    match prefix {
        b"" => name.to_vec(),
        prefix => [prefix, name].join(&b'/'),
    }
}

/// The kernel's numbers have 12 and 20 bits; of larger ones it would see only a part.
pub(super) fn device(header: &Header) -> Result<(u32, u32), Error> {
    let block = header.as_bytes();
    if form(block) == Form::Old {
        return Err(Error::archive("a device has no numbers"));
    }
    let number = |range, bits: u32| {
        u32::try_from(number::field(field(block, range))?)
            .ok()
            .filter(|number| number.checked_shr(bits) == Some(0))
            .ok_or_else(|| Error::archive("a device number is out of range"))
    };
    Ok((number(DEVICE_MAJOR, 12)?, number(DEVICE_MINOR, 20)?))
}

/// A user or group: the largest number means "leave as it is" to the kernel and is no owner.
pub(super) fn id(value: i64) -> Result<u32, Error> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Error::archive("an owner is out of range"))
}
