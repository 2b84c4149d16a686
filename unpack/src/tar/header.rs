// SPDX-License-Identifier: Apache-2.0
//! One header block, apart from what extension headers say.

use ::tar::Header;

use super::{BLOCK, number};
use crate::Error;

/// What the type byte of a header says the block begins.
pub(super) enum Type {
    File,
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
        [b'0' | 0 | b'7'] => Type::File,
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
    let bytes = || {
        block
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { b' ' } else { *b })
    };
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|b| i64::from(b.cast_signed())).sum();
    if want == unsigned || want == signed {
        Ok(())
    } else {
        Err(Error::archive("a header's checksum is wrong"))
    }
}

pub(super) fn size(header: &Header) -> Result<u64, Error> {
    u64::try_from(number::field(&header.as_old().size)?)
        .map_err(|_| Error::archive("an entry's size is negative"))
}

pub(super) fn device(header: &Header) -> Result<(u32, u32), Error> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (_, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        _ => return Err(Error::archive("a device has no numbers")),
    };
    let number = |bytes| {
        u32::try_from(number::field(bytes)?).map_err(|_| Error::archive("a device number is out of range"))
    };
    Ok((number(major)?, number(minor)?))
}

/// A user or group: the largest number means "leave as it is" to the kernel and is no owner.
pub(super) fn id(value: i64) -> Result<u32, Error> {
    u32::try_from(value)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or(Error::archive("an owner is out of range"))
}
