// SPDX-License-Identifier: Apache-2.0
//! zlib-rs, by flate2.

use std::io;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Engine, Step, corrupt};

pub(super) struct Zlib {
    inflate: Decompress,
    crc: Crc,
    /// The trailer as far as it was read, once the data has ended.
    trailer: Option<Vec<u8>>,
}

/// CRC-32 and length, four bytes each.
const TRAILER: usize = 8;

impl Default for Zlib {
    fn default() -> Self {
        Zlib {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            trailer: None,
        }
    }
}

impl Engine for Zlib {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        if let Some(trailer) = &mut self.trailer {
            let (missing, _) = input.split_at(input.len().min(TRAILER - trailer.len()));
            trailer.extend_from_slice(missing);
            let done = trailer.len() == TRAILER;
            if done && *trailer != [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat() {
                return Err(corrupt("the checksum or length in the trailer is wrong"));
            }
            return Ok(Step {
                consumed: missing.len(),
                produced: 0,
                done,
            });
        }
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| corrupt("invalid compressed data"))?;
        // Neither exceeds the slice it counts in.
        let consumed = usize::try_from(self.inflate.total_in() - before_in).unwrap_or_default();
        let produced = usize::try_from(self.inflate.total_out() - before_out).unwrap_or_default();
        self.crc.update(output.get(..produced).unwrap_or_default());
        if status == Status::StreamEnd {
            self.trailer = Some(Vec::with_capacity(TRAILER));
            // The end of the data is progress, even where it took no whole byte.
            if consumed == 0 && produced == 0 {
                return self.step(input, output);
            }
        }
        Ok(Step {
            consumed,
            produced,
            done: false,
        })
    }

    fn reset(&mut self) {
        self.inflate.reset(false);
        self.crc.reset();
        self.trailer = None;
    }
}
