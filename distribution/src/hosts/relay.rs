// SPDX-License-Identifier: Apache-2.0
//! A blob from the first place that has it, and from the next one where that one breaks off.

use bytes::Bytes;
use image_spec::{Descriptor, Hasher};

use super::Serves;
use super::route::Failures;
use crate::fetch::Fetch;
use crate::{Error, ErrorKind, Registry};

/// A blob on its way from one of several places. All bytes together have to be those of the
/// digest, wherever each of them came from.
pub(crate) struct Relay {
    registry: Registry,
    descriptor: Descriptor,
    fetch: Fetch,
    /// Which place is asked now.
    at: usize,
    failures: Failures,
    /// Mirrors some of whose bytes were taken.
    givers: Vec<String>,
    noted: bool,
}

impl Relay {
    /// Asks for the blob, so that one that is nowhere is known before its first byte is wanted.
    pub(crate) async fn open(registry: &Registry, descriptor: &Descriptor) -> Result<Self, Error> {
        let mut failures = Failures::default();
        let (at, fetch) = open(registry, descriptor, 0, 0, &mut failures).await?;
        Ok(Self {
            registry: registry.clone(),
            descriptor: descriptor.clone(),
            fetch,
            at,
            failures,
            givers: Vec::new(),
            noted: false,
        })
    }

    /// The next bytes, or none at the end. `known` has hashed all bytes before them.
    pub(crate) async fn chunk(&mut self, known: &Hasher) -> Result<Option<Bytes>, Error> {
        loop {
            let error = match self.fetch.chunk(known).await {
                Ok(bytes) => {
                    if bytes.is_some() {
                        self.note();
                    }
                    return Ok(bytes);
                }
                Err(error) => error,
            };
            let door = self.registry.numbered(self.at);
            let last = std::ptr::eq(door, &self.registry);
            self.failures.add(&self.registry, door, error)?;
            let mut failures = std::mem::take(&mut self.failures);
            if last {
                return Err(failures.end());
            }
            let (registry, descriptor) = (&self.registry, &self.descriptor);
            let (at, fetch) = open(registry, descriptor, self.at + 1, known.bytes(), &mut failures).await?;
            (self.at, self.fetch, self.failures) = (at, fetch, failures);
            self.noted = false;
        }
    }

    /// Whether any byte came from a mirror.
    pub(crate) fn is_mirrored(&self) -> bool {
        !self.givers.is_empty()
    }

    /// The error about the whole blob. Mirrors that gave bytes of a wrong one are left alone for
    /// a while: who asks again gets it from elsewhere.
    pub(crate) fn blame(&self, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Digest | ErrorKind::Size) || self.givers.is_empty() {
            return error;
        }
        for mirror in &self.givers {
            tracing::warn!(mirror, digest = %self.descriptor.digest, "a mirror sent a wrong blob");
            let why = format!("it sent a wrong blob for `{}`", self.descriptor.digest.short());
            self.registry.shared().resting.add(mirror, why);
        }
        error.of_mirror(&self.givers)
    }

    fn note(&mut self) {
        if std::mem::replace(&mut self.noted, true) {
            return;
        }
        let door = self.registry.numbered(self.at);
        if !std::ptr::eq(door, &self.registry) {
            let name = door.endpoint();
            if !self.givers.contains(&name) {
                self.givers.push(name);
            }
        }
    }
}

/// The first place from number `at` on that gives the blob from the byte `from` on.
async fn open(
    registry: &Registry,
    descriptor: &Descriptor,
    mut at: usize,
    from: u64,
    failures: &mut Failures,
) -> Result<(usize, Fetch), Error> {
    while let Some((number, door)) = registry.door(Serves::DIGESTS, at, failures) {
        match door.fetch_blob(descriptor, from).await {
            Ok(fetch) => return Ok((number, fetch)),
            Err(error) => failures.add(registry, door, error)?,
        }
        at = number + 1;
    }
    Err(std::mem::take(failures).end())
}
