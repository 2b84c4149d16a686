// SPDX-License-Identifier: Apache-2.0
//! Connections between two requests, and those that serve several at once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sender::Sender;
use super::url::Origin;

/// Idle connections kept for one origin: a few parallel layers and the documents before them.
const MAX_IDLE: usize = 8;
/// How long an idle connection is trusted; common servers close theirs after 60 s and more.
const MAX_AGE: Duration = Duration::from_secs(30);

/// What a connection may be used for again: the same origin, believed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) origin: Origin,
    /// Of the TLS configuration; 0 without TLS.
    pub(crate) tls: u64,
}

/// Connections by origin, each with the time of its last use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Key, Vec<(Sender, Instant)>>>,
}

impl Pool {
    /// The connection used last, which is the one most likely still open. One that can be shared
    /// stays here, too.
    pub(crate) fn take(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(key)?;
        while let Some((sender, since)) = senders.pop() {
            if !fresh(&sender, since) {
                continue;
            }
            if let Some(other) = sender.share() {
                senders.push((other, Instant::now()));
            }
            return Some(sender);
        }
        idle.remove(key);
        None
    }

    /// Keeps a connection that is free, or one that can be shared.
    pub(crate) fn put(&self, key: Key, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, senders| {
            senders.retain(|(sender, since)| fresh(sender, *since));
            !senders.is_empty()
        });
        let senders = idle.entry(key).or_default();
        if sender.is_shared() {
            // One is enough, and the newest lives longest.
            senders.retain(|(sender, _)| !sender.is_shared());
        }
        if senders.len() < MAX_IDLE {
            senders.push((sender, Instant::now()));
        }
    }

    /// Gives up on a shared connection over which a request failed. Requests that are on their
    /// way over it go on.
    pub(crate) fn forget_shared(&self, key: &Key) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(senders) = idle.get_mut(key) {
            senders.retain(|(sender, _)| !sender.is_shared());
        }
    }
}

fn fresh(sender: &Sender, since: Instant) -> bool {
    !sender.is_closed() && since.elapsed() < MAX_AGE
}
