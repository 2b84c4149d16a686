// SPDX-License-Identifier: Apache-2.0
//! A blob on its way in, checked while it passes.

use std::fmt;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use image_spec::{Descriptor, Digest, Hasher};

use crate::fetch::Fetch;
use crate::hosts::Relay;
use crate::local::Extent;
use crate::{Error, ErrorKind};

/// A blob's bytes in order, hashed and counted as they pass.
///
/// What [`chunk`](Self::chunk) has returned so far is unproven until it returns `None`.
pub struct Blob {
    size: u64,
    digest: Digest,
    hasher: Hasher,
    state: State,
}

enum State {
    Fetch(Box<Fetch>),
    Relay(Box<Relay>),
    File(Extent),
    Whole(Bytes),
    Verified,
    Failed,
}

impl Blob {
    pub(crate) fn fetched(descriptor: &Descriptor, fetch: Fetch) -> Self {
        Self::new(descriptor, State::Fetch(Box::new(fetch)))
    }

    /// One that goes on elsewhere if it breaks off.
    pub(crate) fn relayed(descriptor: &Descriptor, relay: Relay) -> Self {
        Self::new(descriptor, State::Relay(Box::new(relay)))
    }

    pub(crate) fn file(descriptor: &Descriptor, extent: Extent) -> Self {
        Self::new(descriptor, State::File(extent))
    }

    pub(crate) fn whole(descriptor: &Descriptor, bytes: Vec<u8>) -> Self {
        Self::new(descriptor, State::Whole(bytes.into()))
    }

    fn new(descriptor: &Descriptor, state: State) -> Self {
        let digest = descriptor.digest;
        Self {
            size: descriptor.size,
            digest,
            hasher: Hasher::new(digest.algorithm()),
            state,
        }
    }

    /// The announced size in bytes, which the stream has if it ends well.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether any byte so far came from a mirror.
    pub fn is_mirrored(&self) -> bool {
        matches!(&self.state, State::Relay(relay) if relay.is_mirrored())
    }

    /// The next bytes, or `None` once size and digest were verified.
    ///
    /// # Errors
    ///
    /// [`Size`](ErrorKind::Size) at the first byte too many or at an early end,
    /// [`Digest`](ErrorKind::Digest) at the end, [`Interrupted`](ErrorKind::Interrupted) or
    /// [`Timeout`](ErrorKind::Timeout) when the source fails. Every later call fails too.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if matches!(self.state, State::Verified) {
            return Ok(None);
        }
        let mut result = self.advance().await;
        match &result {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Verified,
            Err(_) => {
                if let State::Relay(relay) = std::mem::replace(&mut self.state, State::Failed) {
                    result = result.map_err(|error| relay.blame(error));
                }
            }
        }
        let digest = self.digest;
        result.map_err(|error| error.doing(|| format!("blob `{}`", digest.short())))
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, Error> {
        let got = self.hasher.bytes();
        let next = match &mut self.state {
            State::Fetch(fetch) => fetch.chunk(&self.hasher).await?,
            State::Relay(relay) => relay.chunk(&self.hasher).await?,
            State::File(extent) => extent.chunk().await?,
            State::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
            State::Verified => None,
            State::Failed => return Err(Error::new(ErrorKind::Io, "the stream has failed before")),
        };
        match next {
            Some(bytes) if bytes.len() as u64 > self.size - got => Err(Error::new(
                ErrorKind::Size,
                format!("longer than the announced bytes: {}", self.size),
            )),
            Some(bytes) => {
                self.hasher.update(&bytes);
                Ok(Some(bytes))
            }
            None if got < self.size => Err(Error::new(
                ErrorKind::Size,
                format!("ended after {got} of {} bytes", self.size),
            )),
            None => self.verify(),
        }
    }

    /// Bytes out of the middle, unverified; those before them are read for nothing.
    pub(crate) async fn part(mut self, range: Range<u64>) -> Result<Bytes, Error> {
        let mut part = BytesMut::new();
        let mut at = 0;
        while at < range.end {
            let Some(mut bytes) = self.chunk().await? else {
                break;
            };
            let end = at + bytes.len() as u64;
            bytes.truncate(usize::try_from(range.end.min(end) - at).unwrap_or(usize::MAX));
            bytes.advance(
                usize::try_from(range.start.saturating_sub(at))
                    .map_or(bytes.len(), |skip| skip.min(bytes.len())),
            );
            part.extend_from_slice(&bytes);
            at = end;
        }
        Ok(part.freeze())
    }

    fn verify(&self) -> Result<Option<Bytes>, Error> {
        let found = self.hasher.clone().finish();
        if found == self.digest {
            return Ok(None);
        }
        Err(Error::new(
            ErrorKind::Digest,
            format!("its bytes have another digest than `{}`: `{found}`", self.digest),
        ))
    }

    /// The whole blob, if it is not longer than `cap` bytes.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) before a byte is read, and those of
    /// [`chunk`](Self::chunk).
    pub async fn read_all(mut self, cap: u64) -> Result<Bytes, Error> {
        if self.size > cap {
            let message = format!("more than {cap} bytes: {}", self.size);
            return Err(
                Error::new(ErrorKind::TooLarge, message).doing(|| format!("blob `{}`", self.digest.short()))
            );
        }
        let mut all = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("received", &self.hasher.bytes())
            .finish_non_exhaustive()
    }
}
