// SPDX-License-Identifier: Apache-2.0
//! A member's header, RFC 1952 section 2.3. Nothing in it matters but where it ends.

use std::io;

use flate2::Crc;

use super::corrupt;

const FIXED: [Option<u8>; 3] = [Some(0x1f), Some(0x8b), Some(8)];
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

/// How much of a header was read. It may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Header {
    part: Part,
    /// Bytes of the current part that were read.
    read: usize,
    flags: u8,
    extra: usize,
    crc: Crc,
    want: u16,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Fixed,
    ExtraLength,
    Extra,
    Name,
    Comment,
    Crc,
    Complete,
}

impl Header {
    /// Reads on; gives how many bytes it took, and whether the header is complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let mut used = 0;
        for byte in bytes {
            if self.part == Part::Complete {
                break;
            }
            used += 1;
            self.byte(*byte)?;
        }
        Ok((used, self.part == Part::Complete))
    }

    fn byte(&mut self, byte: u8) -> io::Result<()> {
        let sum = u16::try_from(self.crc.sum() & 0xffff).unwrap_or_default();
        self.crc.update(&[byte]);
        let at = self.read;
        self.read += 1;
        let ended = match self.part {
            Part::Fixed => {
                if FIXED.get(at).is_some_and(|want| *want != Some(byte)) {
                    return Err(corrupt("no gzip header"));
                }
                if at == 3 {
                    self.flags = byte;
                }
                if self.flags & RESERVED != 0 {
                    return Err(corrupt("a gzip header with reserved flags"));
                }
                at == 9
            }
            Part::ExtraLength => {
                self.extra |= usize::from(byte) << (8 * at);
                at == 1
            }
            Part::Extra => self.read == self.extra,
            Part::Name | Part::Comment => byte == 0,
            Part::Crc => {
                if at == 0 {
                    // The checksum is that of the bytes before it.
                    self.want = sum;
                }
                if byte != self.want.to_le_bytes()[at & 1] {
                    return Err(corrupt("a gzip header with a wrong checksum"));
                }
                at == 1
            }
            Part::Complete => false,
        };
        if ended {
            self.next();
        }
        Ok(())
    }

    /// Goes on to the next part that the flags announce.
    fn next(&mut self) {
        self.read = 0;
        self.part = match self.part {
            Part::Fixed if self.flags & FEXTRA != 0 => Part::ExtraLength,
            Part::ExtraLength if self.extra > 0 => Part::Extra,
            Part::Fixed | Part::ExtraLength | Part::Extra if self.flags & FNAME != 0 => Part::Name,
            Part::Fixed | Part::ExtraLength | Part::Extra | Part::Name if self.flags & FCOMMENT != 0 => {
                Part::Comment
            }
            Part::Crc | Part::Complete => Part::Complete,
            _ if self.flags & FHCRC != 0 => Part::Crc,
            _ => Part::Complete,
        };
    }
}
