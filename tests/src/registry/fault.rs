// SPDX-License-Identifier: Apache-2.0
//! Scripted misbehaviour.

use std::time::Duration;

/// One misbehaviour and the requests it applies to. Requests that authentication refuses are not
/// counted, so that a fault of a blob hits the blob.
#[derive(Clone, Debug)]
pub struct Fault {
    part: String,
    skip: usize,
    times: usize,
    pub(super) effect: Effect,
}

impl Fault {
    /// Applies to every request whose path contains `part`.
    pub fn on(part: &str, effect: Effect) -> Self {
        Fault {
            part: part.to_string(),
            skip: 0,
            times: usize::MAX,
            effect,
        }
    }

    /// Applies to so many requests only.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Lets so many requests through first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Whether it applies to this request; counts.
    pub(super) fn take(&mut self, path: &str) -> bool {
        if !path.contains(&self.part) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let applies = self.times > 0;
        self.times = self.times.saturating_sub(1);
        applies
    }
}

/// What goes wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// This status with an error document of the distribution specification.
    Status(u16),
    /// This answer in place of the true one.
    Respond {
        /// The status.
        status: u16,
        /// Headers by name and value.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// Status 307 and this location.
    Redirect(String),
    /// A header more, or another value for one that is there; an empty value removes it.
    Header(String, String),
    /// The full length is announced and the connection ends after so many bytes of the body.
    Cut(u64),
    /// Nothing more comes after so many bytes of the body, and the connection stays open.
    Stall(u64),
    /// Other bytes, with their length.
    Replace(Vec<u8>),
    /// These bytes follow the true ones; the length announced includes them.
    Extra(Vec<u8>),
    /// The true body without a length, in chunks.
    Chunked,
    /// The body in pieces of so many bytes, with a pause before each.
    Throttle {
        /// Bytes in each piece.
        bytes: usize,
        /// The pause before each piece.
        pause: Duration,
    },
    /// A range is not honoured: status 200 and everything.
    IgnoreRange,
    /// A range is answered by status 206 with the range that starts so many bytes later.
    ShiftRange(u64),
}
