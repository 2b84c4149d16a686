// SPDX-License-Identifier: Apache-2.0
//! Connections between two requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::dial::Sender;
use super::url::Origin;

/// Idle connections kept for one origin: a few parallel layers and the documents before them.
const MAX_IDLE: usize = 8;
/// How long an idle connection is trusted; common servers close theirs after 60 s and more.
const MAX_AGE: Duration = Duration::from_secs(30);

/// Idle connections by origin.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Origin, Vec<(Sender, Instant)>>>,
}

impl Pool {
    /// The connection used last, which is the one most likely still open.
    pub(crate) fn take(&self, origin: &Origin) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(origin)?;
        while let Some((sender, since)) = senders.pop() {
            if fresh(&sender, since) {
                return Some(sender);
            }
        }
        idle.remove(origin);
        None
    }

    pub(crate) fn put(&self, origin: Origin, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|_, senders| {
            senders.retain(|(sender, since)| fresh(sender, *since));
            !senders.is_empty()
        });
        let senders = idle.entry(origin).or_default();
        if senders.len() < MAX_IDLE {
            senders.push((sender, Instant::now()));
        }
    }
}

fn fresh(sender: &Sender, since: Instant) -> bool {
    !sender.is_closed() && since.elapsed() < MAX_AGE
}
