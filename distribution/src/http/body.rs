// SPDX-License-Identifier: Apache-2.0
//! The body of a response: frames as they come, bounded in silence and, where small, in size.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::pool::{Key, Pool};
use super::sender::Sender;
use crate::{Error, ErrorKind};

/// Progress that a body must make in each idle time: about 1 KiB/s at the default of 60 s. A peer
/// that sends single bytes holds a layer for days, not for ever.
const MIN_PROGRESS: u64 = 64 << 10;
/// Time for a whole document: 4 MiB in 2 minutes is 35 KiB/s.
const DOCUMENT_TIME: Duration = Duration::from_secs(120);
/// Time for the first bytes of a body that is only nice to have.
const PEEK_TIME: Duration = Duration::from_secs(5);

/// A response's body. Read to its end it gives the connection back for the next request.
pub(crate) struct Body {
    incoming: Incoming,
    lease: Option<Lease>,
    idle: Duration,
    waited: Duration,
    progress: u64,
}

/// A connection that is busy with a body, or shared with others.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Pool>,
    pub(crate) key: Key,
    pub(crate) sender: Sender,
}

/// Why a body stopped before its end.
pub(crate) enum Broken {
    Late(Duration),
    Cut(hyper::Error),
}

impl Broken {
    /// The error, for a body of which `got` of `size` bytes are here.
    pub(crate) fn after(self, got: u64, size: u64) -> Error {
        self.error(format!("after {got} of {size} bytes"))
    }

    fn error(self, at: String) -> Error {
        match self {
            Self::Late(idle) => Error::new(
                ErrorKind::Timeout,
                format!("next to nothing arrived for {idle:?}, {at}"),
            ),
            Self::Cut(cause) => {
                Error::new(ErrorKind::Interrupted, format!("the connection broke {at}")).because(cause)
            }
        }
        .passing(None)
    }
}

impl Body {
    pub(crate) fn new(incoming: Incoming, lease: Lease, idle: Duration) -> Self {
        Self {
            incoming,
            lease: Some(lease),
            idle,
            waited: Duration::ZERO,
            progress: 0,
        }
    }

    /// The length that the response's head states.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    /// The next frame, uncopied. Only time spent waiting here counts as idle.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            let start = Instant::now();
            let patience = self.idle.saturating_sub(self.waited);
            let Ok(next) = timeout(patience, self.incoming.frame()).await else {
                self.lease = None;
                return Err(Broken::Late(self.idle));
            };
            let Some(frame) = next else {
                if let Some(lease) = self.lease.take() {
                    lease.pool.put(lease.key, lease.sender);
                }
                return Ok(None);
            };
            let frame = frame.map_err(|cause| {
                self.lease = None;
                Broken::Cut(cause)
            })?;
            // Trailers carry nothing that is used here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.waited += start.elapsed();
            self.progress += bytes.len() as u64;
            if self.progress >= MIN_PROGRESS {
                self.progress = 0;
                self.waited = Duration::ZERO;
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The whole body, if it is at most `cap` bytes.
    pub(crate) async fn collect(mut self, cap: u64) -> Result<Bytes, Error> {
        let large = || {
            Error::new(
                ErrorKind::TooLarge,
                format!("the response is longer than {cap} bytes"),
            )
        };
        if self.announced().is_some_and(|size| size > cap) {
            return Err(large());
        }
        let mut all = BytesMut::new();
        let reading = async {
            while let Some(bytes) = self.chunk().await.map_err(|broken| broken.error(at(&all)))? {
                if bytes.len() as u64 > cap - all.len() as u64 {
                    return Err(large());
                }
                all.extend_from_slice(&bytes);
            }
            Ok(())
        };
        match timeout(DOCUMENT_TIME, reading).await {
            Ok(outcome) => outcome.map(|()| all.freeze()),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the response took longer than {DOCUMENT_TIME:?}"),
            )),
        }
    }

    /// At most `cap` first bytes, for what is nice to have: an error's text, or a connection that
    /// can be used again.
    pub(crate) async fn peek(mut self, cap: usize) -> BytesMut {
        let mut all = BytesMut::new();
        let reading = async {
            while all.len() < cap {
                match self.chunk().await {
                    Ok(Some(bytes)) => all.extend_from_slice(bytes.get(..cap - all.len()).unwrap_or(&bytes)),
                    Ok(None) | Err(_) => break,
                }
            }
        };
        // What came in time is enough.
        let _ = timeout(PEEK_TIME, reading).await;
        all
    }
}

fn at(all: &BytesMut) -> String {
    format!("after {} bytes", all.len())
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("announced", &self.announced())
            .finish_non_exhaustive()
    }
}
