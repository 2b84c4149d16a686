// SPDX-License-Identifier: Apache-2.0
//! How often and how soon something is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;

/// Bytes that make a new beginning: less than this, and the tries before still count. A peer that
/// sends a few bytes and hangs up, again and again, is no better than one that sends none.
const PROGRESS: u64 = 64 << 10;

/// How a client meets what fails for the moment: no connection, a connection that broke, a
/// silence, and the statuses 408, 429, 500, 502, 503 and 504. Nothing else is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries after the first one.
    pub count: u32,
    /// The first pause. Each one after it is twice as long, and then cut by up to half, at
    /// random, so that many clients do not come back at once.
    pub pause: Duration,
    /// The longest pause, also where a peer asks for more by `Retry-After`.
    pub longest: Duration,
    /// No try begins later than this after the first failure. A blob that has grown by 64 KiB
    /// since begins to count anew.
    pub patience: Duration,
}

impl Retry {
    /// One try for everything.
    pub const NEVER: Self = Self {
        count: 0,
        pause: Duration::ZERO,
        longest: Duration::ZERO,
        patience: Duration::ZERO,
    };
}

impl Default for Retry {
    /// Five more tries, about six seconds apart from waiting for the peer: a link that changes
    /// over, a registry behind a restarting load balancer.
    fn default() -> Self {
        Self {
            count: 5,
            pause: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            patience: Duration::from_secs(120),
        }
    }
}

/// The tries at one thing.
#[derive(Debug)]
pub(crate) struct Tries {
    retry: Retry,
    failed: u32,
    since: Option<Instant>,
    bytes: u64,
}

impl Tries {
    pub(crate) fn new(retry: Retry) -> Self {
        Self {
            retry,
            failed: 0,
            since: None,
            bytes: 0,
        }
    }

    /// Counts bytes that need not be fetched again.
    pub(crate) fn progress(&mut self, bytes: u64) {
        if self.failed == 0 {
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= PROGRESS {
            *self = Self::new(self.retry);
        }
    }

    /// Returns when it is time for the next try.
    ///
    /// # Errors
    ///
    /// `error` itself, when it will not pass or the tries are used up.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        let Some(wait) = error.worth_a_try() else {
            return Err(error);
        };
        let since = *self.since.get_or_insert_with(Instant::now);
        let pause = self.pause(wait);
        self.failed += 1;
        if self.failed > self.retry.count || since.elapsed() + pause > self.retry.patience {
            return Err(error.spent(self.failed));
        }
        tracing::info!(%error, ?pause, "trying again");
        sleep(pause).await;
        Ok(())
    }

    fn pause(&self, wait: Option<Duration>) -> Duration {
        let Retry { pause, longest, .. } = self.retry;
        let grown = pause
            .saturating_mul(1_u32.checked_shl(self.failed).unwrap_or(u32::MAX))
            .min(longest);
        let own = grown.mul_f64(1.0 - random() / 2.0);
        // Never earlier than the peer asked for, within reason.
        own.max(wait.unwrap_or_default().min(longest))
    }
}

/// Between 0 and 1, different for every client and every call: the standard library seeds its
/// hash maps at random.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn retry() -> Retry {
        Retry {
            count: 3,
            pause: SECOND,
            longest: 3 * SECOND,
            patience: 100 * SECOND,
        }
    }

    fn failure() -> Error {
        Error::new(ErrorKind::Unreachable, "gone").passing(None)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_vary() {
        run(async {
            let mut tries = Tries::new(retry());
            for most in [1, 2, 3] {
                let start = Instant::now();
                tries.again(failure()).await.unwrap();
                let took = start.elapsed();
                assert!(
                    took >= most * SECOND / 2 && took <= most * SECOND + Duration::from_millis(1),
                    "{took:?}"
                );
            }
            let error = tries.again(failure()).await.unwrap_err();
            assert_eq!(error.to_string(), "gone (tried 4 times)");
            assert!(error.is_transient());
            // Whoever tries around this does not multiply the tries.
            let mut outer = Tries::new(retry());
            outer.again(error).await.unwrap_err();
        });
        let pauses: Vec<_> = (0..20).map(|_| Tries::new(retry()).pause(None)).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }

    #[test]
    fn a_peer_may_ask_for_a_longer_pause_but_not_for_any() {
        let tries = Tries::new(retry());
        for (wait, want) in [(2, 2), (3, 3), (3600, 3)] {
            assert_eq!(tries.pause(Some(wait * SECOND)), want * SECOND);
        }
        assert!(tries.pause(Some(Duration::ZERO)) >= SECOND / 2);
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        run(async {
            let mut tries = Tries::new(retry());
            let error = Error::new(ErrorKind::NotFound, "no such thing");
            let error = tries.again(error).await.unwrap_err();
            assert_eq!(error.to_string(), "no such thing");
            assert!(!error.is_transient());
        });
    }

    #[test]
    fn patience_ends_before_the_tries_do() {
        run(async {
            let mut tries = Tries::new(Retry {
                patience: 10 * SECOND,
                ..retry()
            });
            tries.again(failure()).await.unwrap();
            sleep(10 * SECOND).await;
            tries.again(failure()).await.unwrap_err();
        });
    }

    #[test]
    fn progress_counts_only_when_it_is_some() {
        run(async {
            let mut tries = Tries::new(retry());
            for _ in 0..10 {
                tries.again(failure()).await.unwrap();
                tries.progress(PROGRESS);
            }
            for _ in 0..3 {
                tries.again(failure()).await.unwrap();
                tries.progress(1000);
            }
            tries.again(failure()).await.unwrap_err();
        });
    }
}
