// SPDX-License-Identifier: Apache-2.0
//! ISA-L.

use std::io;

use super::{Engine, Step, corrupt};
use crate::sys::{Inflate, InflateError};

#[derive(Default)]
pub(super) struct Isal(Inflate);

impl Engine for Isal {
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let run = self.0.run(input, output).map_err(|error| {
            corrupt(match error {
                InflateError::Data => "invalid compressed data",
                InflateError::Trailer => "the checksum or length in the trailer is wrong",
            })
        })?;
        Ok(Step {
            consumed: run.consumed,
            produced: run.produced,
            done: run.done,
        })
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}
