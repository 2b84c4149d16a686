// SPDX-License-Identifier: Apache-2.0
//! A whole blob from a registry: one response after the other, or several ranges of a large one
//! at once, returned in order.
//!
//! A large blob's first request is for its first range. Only if exactly that comes, not too fast
//! and over a connection that can carry nothing else meanwhile, further ranges are asked for
//! ahead. If they come hardly faster, or at the first thing that is odd about one of them, this
//! ends for the blob, and a single response brings what is missing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use image_spec::Hasher;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::foreign::Peer;
use crate::http::Url;
use crate::remote::{Remote, WORTHWHILE};
use crate::{Error, ErrorKind};

/// What waits for its turn is copied into blocks of this size. The pieces as they come may be single
/// bytes, or small parts of large buffers which they keep alive: neither would be bounded.
const BLOCK: usize = 128 << 10;

/// The first range is longer than the others by this: a connection needs a while to get up to
/// speed, and only what comes afterwards tells how fast it is.
const RUN_UP: u64 = 8;
/// Ranges after which those at once must have been worth it.
const TRIAL: u64 = 16;
/// How much faster than one response: less can be chance, and costs the registry requests.
const GAIN: f64 = 1.2;

/// How a large blob is fetched by several ranges at once, over HTTP/1.1 from registries that
/// understand ranges. This helps where each connection has its own limit, or loses packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallel {
    /// Ranges of one blob on their way at once. All blobs of a client together are so many less
    /// one ahead of what is read, which bounds the memory.
    pub ranges: usize,
    /// Bytes of each range, 64 KiB at the least.
    pub bytes: u64,
    /// Smaller blobs are asked for as a whole.
    pub above: u64,
    /// Bytes per second. Where the first range, which is up to 8 times as long, comes at this rate
    /// or faster in the end, one response brings the rest: more of them would only cost time.
    pub below: u64,
}

impl Parallel {
    /// One response at a time.
    pub const NEVER: Self = Self {
        ranges: 1,
        bytes: u64::MAX,
        above: u64::MAX,
        below: 0,
    };
}

impl Parallel {
    /// Bytes of the first range: a good part of a blob that is just large enough at the most.
    fn run_up(&self) -> u64 {
        let long = self.bytes.saturating_mul(RUN_UP).min(self.above / 4);
        long.max(self.bytes)
    }
}

impl Default for Parallel {
    /// Four ranges of 2 MiB for blobs of 64 MiB and more: 8 MiB in memory, and 2 MiB more for each
    /// further blob. That much on its way fills 80 MB/s at a round trip of 100 ms.
    fn default() -> Self {
        Self {
            ranges: 4,
            bytes: 2 << 20,
            above: 64 << 20,
            below: 64 << 20,
        }
    }
}

/// What the blobs of a client share.
#[derive(Debug)]
pub(crate) struct Lanes {
    plan: Parallel,
    ahead: Arc<Semaphore>,
}

impl Lanes {
    pub(crate) fn new(plan: Parallel) -> Self {
        let bytes = plan.bytes.max(WORTHWHILE);
        let ahead = plan.ranges.saturating_sub(1).min(Semaphore::MAX_PERMITS);
        Self {
            plan: Parallel { bytes, ..plan },
            ahead: Arc::new(Semaphore::new(ahead)),
        }
    }
}

/// A blob on its way.
pub(crate) struct Fetch {
    single: Remote,
    ahead: Option<Ahead>,
}

/// The ranges behind the one that is read first.
struct Ahead {
    template: Template,
    plan: Parallel,
    room: Arc<Semaphore>,
    /// Of the first range.
    alone: Pace,
    /// Of those at once.
    together: Pace,
    /// Where the first range ends.
    first: u64,
    next: u64,
    /// No more ranges than are on their way.
    enough: bool,
    queue: VecDeque<Lane>,
}

/// How fast bytes come that are waited for.
#[derive(Default)]
struct Pace {
    /// Bytes that are yet to come before those that count.
    skip: u64,
    bytes: u64,
    waited: Duration,
}

impl Pace {
    fn after(skip: u64) -> Self {
        Self {
            skip,
            ..Self::default()
        }
    }

    fn add(&mut self, bytes: u64, waited: Duration) {
        match self.skip.checked_sub(bytes) {
            Some(left @ 1..) => self.skip = left,
            _ => {
                self.skip = 0;
                self.bytes += bytes;
                self.waited += waited;
            }
        }
    }

    /// Bytes per second.
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.waited.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

struct Template {
    peer: Peer,
    url: Url,
    size: u64,
    /// Where the registry sent us, and where the next range lies, too.
    direct: Arc<Mutex<Option<Url>>>,
}

struct Lane {
    pieces: mpsc::UnboundedReceiver<Result<Bytes, Error>>,
    left: u64,
    task: JoinHandle<()>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Fetch {
    /// Asks for the blob, so that one that is not there is known before its first byte is wanted.
    /// Its bytes from `from` on.
    pub(crate) async fn open(
        peer: Peer,
        lanes: &Lanes,
        url: Url,
        size: u64,
        from: u64,
    ) -> Result<Self, Error> {
        let plan = lanes.plan;
        let left = size.saturating_sub(from);
        let first = match plan.ranges > 1 && left >= plan.above {
            true => from + plan.run_up().min(left),
            false => size,
        };
        let mut single = Remote::new(peer.clone(), url.clone(), size, from, first);
        if left > 0 || size == 0 {
            single.begin().await?;
        }
        let ahead = (first < size && single.is_divided()).then(|| Ahead {
            template: Template {
                peer,
                url,
                size,
                direct: Arc::new(Mutex::new(single.elsewhere())),
            },
            plan,
            room: Arc::clone(&lanes.ahead),
            alone: Pace::after((first - from) / 2),
            together: Pace::after(plan.bytes.saturating_mul(plan.ranges as u64)),
            first,
            next: first,
            enough: false,
            queue: VecDeque::new(),
        });
        if ahead.is_none() {
            single.widen();
        }
        Ok(Self { single, ahead })
    }

    /// The next bytes, or none at the end. `known` has hashed all bytes before them.
    pub(crate) async fn chunk(&mut self, known: &Hasher) -> Result<Option<Bytes>, Error> {
        loop {
            if self.single.is_whole() && self.ahead.take().is_some() {
                self.single.widen();
            }
            let start = Instant::now();
            let next = self.single.chunk(Some(known)).await?;
            if let (Some(ahead), Some(bytes)) = (&mut self.ahead, &next) {
                ahead.alone.add(bytes.len() as u64, start.elapsed());
            }
            if next.is_some() || self.single.is_complete() {
                return Ok(next);
            }
            self.ahead.take_if(|ahead| ahead.is_needless() || ahead.is_over());
            let Some(ahead) = &mut self.ahead else {
                self.single.widen();
                continue;
            };
            match ahead.chunk().await {
                Ok(bytes) => {
                    self.single.pass(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Err(error) => {
                    tracing::info!(%error, "no more than one range at a time");
                    self.ahead = None;
                    self.single.widen();
                    if error.is_transient() {
                        self.single.again(error).await?;
                    }
                }
            }
        }
    }
}

impl Ahead {
    /// Whether one response alone is fast enough, as far as the first range can tell.
    fn is_needless(&self) -> bool {
        self.next == self.first && self.alone.rate() >= self.plan.below as f64
    }

    /// Whether the last of the ranges has come, and no more should.
    fn is_over(&self) -> bool {
        self.enough && self.queue.is_empty()
    }

    /// Looks, once, whether several ranges come faster than one response did.
    fn judge(&mut self) {
        let trial = self.plan.bytes.saturating_mul(TRIAL);
        if !self.enough && self.together.bytes >= trial {
            self.enough = self.together.rate() < self.alone.rate() * GAIN;
            if self.enough {
                tracing::debug!("ranges at once are no faster");
            }
            // From here on nothing is counted any more.
            self.together.skip = u64::MAX;
            self.together.bytes = 0;
        }
    }

    /// Asks for as many ranges as there is room for; for one in any case, or nothing would come.
    fn fill(&mut self) {
        let wanted = match self.enough {
            true => 0,
            false => self.plan.ranges,
        };
        while self.next < self.template.size && self.queue.len() < wanted {
            let room = match Arc::clone(&self.room).try_acquire_owned() {
                Ok(room) => Some(room),
                Err(_) if self.queue.is_empty() => None,
                Err(_) => return,
            };
            let stop = self.next.saturating_add(self.plan.bytes).min(self.template.size);
            self.queue.push_back(self.template.lane(self.next, stop, room));
            self.next = stop;
        }
    }

    async fn chunk(&mut self) -> Result<Bytes, Error> {
        self.fill();
        let lost = || Error::new(ErrorKind::Io, "the work on a range was stopped");
        let lane = self.queue.front_mut().ok_or_else(lost)?;
        let start = Instant::now();
        let bytes = lane.pieces.recv().await.ok_or_else(lost)??;
        lane.left = lane.left.saturating_sub(bytes.len() as u64);
        if lane.left == 0 {
            self.queue.pop_front();
        }
        self.together.add(bytes.len() as u64, start.elapsed());
        self.judge();
        Ok(bytes)
    }
}

impl Template {
    fn lane(&self, start: u64, stop: u64, room: Option<OwnedSemaphorePermit>) -> Lane {
        let remote = Remote::new(self.peer.clone(), self.url.clone(), self.size, start, stop)
            .strictly(Arc::clone(&self.direct));
        let (sender, pieces) = mpsc::unbounded_channel();
        Lane {
            pieces,
            left: stop - start,
            task: tokio::spawn(run(remote, sender)),
            _room: room,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a range to its end. What waits for its turn is no more than the range.
async fn run(mut remote: Remote, sender: mpsc::UnboundedSender<Result<Bytes, Error>>) {
    let mut block = BytesMut::new();
    let end = loop {
        let mut bytes = match remote.chunk(None).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => break None,
            Err(error) => break Some(error),
        };
        while !bytes.is_empty() {
            if block.capacity() == 0 {
                block.reserve(BLOCK);
            }
            let room = BLOCK - block.len();
            block.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if block.len() == BLOCK && sender.send(Ok(std::mem::take(&mut block).freeze())).is_err() {
                return;
            }
        }
    };
    // Nobody may be listening any more, who then needs neither.
    if !block.is_empty() {
        let _ = sender.send(Ok(block.freeze()));
    }
    if let Some(error) = end {
        let _ = sender.send(Err(error));
    }
}
