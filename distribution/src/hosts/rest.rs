// SPDX-License-Identifier: Apache-2.0
//! Mirrors that are left alone for a while, because they did not answer or lied.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a mirror is waited for. The place that is asked last has the client's own limits and
/// tries; a mirror is tried once for each thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorLimits {
    /// For each step to a connection: name and TCP together, then TLS.
    pub connect: Duration,
    /// For which a mirror may be silent: before its response, and in the middle of a body.
    pub idle: Duration,
    /// How long a mirror is left alone that could not be reached or sent wrong bytes.
    pub rest: Duration,
}

impl Default for MirrorLimits {
    /// Three seconds to connect, as a mirror is near; fifteen of silence, since it may have to fetch
    /// first; one minute of rest.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            idle: Duration::from_secs(15),
            rest: Duration::from_secs(60),
        }
    }
}

/// Mirrors at rest, by name, with the reason. As many as the configuration names.
#[derive(Debug)]
pub(crate) struct Resting {
    time: Duration,
    mirrors: Mutex<HashMap<String, (Instant, String)>>,
}

impl Resting {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            mirrors: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, mirror: &str, why: String) {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        mirrors.retain(|_, (since, _)| since.elapsed() < self.time);
        mirrors.insert(mirror.to_owned(), (Instant::now(), why));
    }

    /// Why a mirror is left alone now, if it is.
    pub(crate) fn why(&self, mirror: &str) -> Option<String> {
        let mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, why) = mirrors.get(mirror)?;
        (since.elapsed() < self.time).then(|| why.clone())
    }
}
