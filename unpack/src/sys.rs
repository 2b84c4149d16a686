// SPDX-License-Identifier: Apache-2.0
//! The one place with unsafe code in this crate: calls into ISA-L.
//!
//! ISA-L's state holds two pointers, to input and output. They are set for the time of a call and
//! taken away before it returns to safe code, so the state may be moved and kept at will.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use isal_sys::igzip_lib as isal;

/// The state of inflating one member: compressed data, then the trailer, which is compared.
pub(crate) struct Inflate {
    state: Box<isal::inflate_state>,
}

/// What one call did.
pub(crate) struct Run {
    pub(crate) consumed: usize,
    pub(crate) produced: usize,
    pub(crate) done: bool,
}

pub(crate) enum InflateError {
    Data,
    Trailer,
}

impl Default for Inflate {
    fn default() -> Self {
        // SAFETY: the state consists of integers, arrays and unions of them, and raw pointers, for
        // all of which zeros are a value.
        let state = unsafe { Box::<isal::inflate_state>::new_zeroed().assume_init() };
        let mut inflate = Inflate { state };
        inflate.reset();
        inflate
    }
}

impl Inflate {
    /// Forgets everything, as before the first member.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the pointer is that of a whole state; the function only writes its fields.
        unsafe { isal::isal_inflate_init(&mut *self.state) };
        self.state.crc_flag = isal::ISAL_GZIP_NO_HDR_VER;
    }

    /// Takes from `input` and writes to `output`, as far as either goes.
    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Run, InflateError> {
        // Longer slices are used in part, as any slice may be.
        let avail_in = u32::try_from(input.len()).unwrap_or(u32::MAX);
        let avail_out = u32::try_from(output.len()).unwrap_or(u32::MAX);
        // ISA-L does not write through `next_in`; the type is its interface's.
        self.state.next_in = input.as_ptr().cast_mut();
        self.state.avail_in = avail_in;
        self.state.next_out = output.as_mut_ptr();
        self.state.avail_out = avail_out;
        // SAFETY: `next_in` and `next_out` point to at least `avail_in` readable and `avail_out`
        // writable bytes, which do not overlap and outlive the call; everything else in the state
        // was written by `isal_inflate_init` and by earlier calls.
        let code = unsafe { isal::isal_inflate(&mut *self.state) };
        let run = Run {
            consumed: (avail_in - self.state.avail_in.min(avail_in)) as usize,
            produced: (avail_out - self.state.avail_out.min(avail_out)) as usize,
            done: self.state.block_state == isal::isal_block_state_ISAL_BLOCK_FINISH,
        };
        self.state.next_in = null_mut();
        self.state.next_out = null_mut();
        match code {
            0.. => Ok(run),
            isal::ISAL_INCORRECT_CHECKSUM => Err(InflateError::Trailer),
            _ => Err(InflateError::Data),
        }
    }
}
