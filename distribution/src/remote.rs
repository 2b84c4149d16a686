// SPDX-License-Identifier: Apache-2.0
//! A run of a blob's bytes from a registry, in order, taken up again where it broke off.
//!
//! A blob is named by its digest, so its bytes may come from any number of responses: what counts
//! is that none is missing or doubled, and that the digest holds in the end. A response to a
//! range is believed only if it says itself that it is that range of a blob of that size.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::header::{ETAG, HeaderMap, HeaderValue};
use hyper::{StatusCode, Version};
use image_spec::Hasher;

use crate::foreign::Peer;
use crate::http::{Ask, Body, Part, Response, Url, Wanted};
use crate::retry::Tries;
use crate::{Error, ErrorKind};

const ACCEPT: &str = "application/octet-stream, */*;q=0.1";
/// Bytes that a response to a range must bring for the next one to be asked for at once.
pub(crate) const WORTHWHILE: u64 = 64 << 10;

/// A run of a blob's bytes, on its way.
pub(crate) struct Remote {
    peer: Peer,
    url: Url,
    /// Of the whole blob, in bytes.
    size: u64,
    /// All before it has been returned.
    at: u64,
    stop: u64,
    /// No more ranges: the peer made something else of one.
    whole: bool,
    /// Gives up where it would otherwise ask for the whole blob or wait for an overloaded peer.
    strict: bool,
    /// Where the registry sent another range's request: asked first, and without credentials.
    direct: Arc<Mutex<Option<Url>>>,
    etag: Option<HeaderValue>,
    answer: Option<Answer>,
    tries: Tries,
}

/// The response that is being read.
struct Answer {
    body: Body,
    /// Bytes at its beginning that were returned before.
    skip: u64,
    /// Hashes those, if they can be compared.
    check: Option<Hasher>,
    /// The end that it states for itself.
    end: Option<u64>,
    began: u64,
    /// Where it comes from.
    url: Url,
    /// Its connection serves other requests meanwhile.
    shared: bool,
}

enum Step {
    Bytes(Bytes),
    Again,
    End,
}

impl Remote {
    /// The bytes from `at` to `stop` of a blob of `size` bytes.
    pub(crate) fn new(peer: Peer, url: Url, size: u64, at: u64, stop: u64) -> Self {
        let tries = peer.tries();
        Self {
            peer,
            url,
            size,
            at,
            stop: stop.min(size),
            whole: false,
            strict: false,
            direct: Arc::default(),
            etag: None,
            answer: None,
            tries,
        }
    }

    /// For one of several ranges.
    pub(crate) fn strictly(mut self, direct: Arc<Mutex<Option<Url>>>) -> Self {
        self.strict = true;
        self.direct = direct;
        self
    }

    /// Whether the range asked for comes, over a connection of its own.
    pub(crate) fn is_divided(&self) -> bool {
        self.answer
            .as_ref()
            .is_some_and(|answer| answer.end == Some(self.stop) && !answer.shared)
    }

    /// The peer made something else of a range.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.at == self.size
    }

    /// The address outside of the registry that the bytes come from.
    pub(crate) fn elsewhere(&self) -> Option<Url> {
        let answer = self.answer.as_ref()?;
        (answer.url.origin() != self.url.origin()).then(|| answer.url.clone())
    }

    /// Goes on to the blob's end.
    pub(crate) fn widen(&mut self) {
        self.stop = self.size;
    }

    /// Leaves out bytes that came in another way.
    pub(crate) fn pass(&mut self, bytes: u64) {
        self.at = (self.at + bytes).min(self.size);
        self.stop = self.at;
        self.tries.progress(bytes);
    }

    /// Waits as after a failure of its own.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        self.tries.again(error).await
    }

    /// Asks, so that a blob that is not there is known before its first byte is wanted.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        while self.answer.is_none() {
            if let Err(error) = self.open(None).await {
                self.tries.again(error).await?;
            }
        }
        Ok(())
    }

    /// The next bytes, or none at the end. `known` has hashed all bytes before them.
    pub(crate) async fn chunk(&mut self, known: Option<&Hasher>) -> Result<Option<Bytes>, Error> {
        loop {
            match self.step(known).await {
                Ok(Step::Bytes(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.tries.progress(bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                Ok(Step::Again) => {}
                Ok(Step::End) => return Ok(None),
                Err(error) => {
                    self.answer = None;
                    let overloaded = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable);
                    if self.strict && overloaded {
                        return Err(error);
                    }
                    self.tries.again(error).await?;
                }
            }
        }
    }

    async fn step(&mut self, known: Option<&Hasher>) -> Result<Step, Error> {
        let (at, stop, size) = (self.at, self.stop, self.size);
        let Some(answer) = &mut self.answer else {
            return match at < stop {
                true => self.open(known).await.map(|()| Step::Again),
                false => Ok(Step::End),
            };
        };
        // Where less than the rest is wanted, the rest of a whole response is left alone.
        if at >= stop && answer.end.is_none() && stop < size {
            self.answer = None;
            return Ok(Step::End);
        }
        let bytes = match answer.body.chunk().await {
            Ok(Some(bytes)) => bytes,
            // Whatever happens behind the last byte, the digest will tell.
            Ok(None) | Err(_) if at >= stop => {
                self.answer = None;
                return Ok(Step::End);
            }
            Ok(None) if answer.end == Some(at) && at - answer.began >= WORTHWHILE => {
                self.answer = None;
                return Ok(Step::Again);
            }
            Ok(None) => {
                let message = format!("ended after {at} of {size} bytes");
                return Err(Error::new(ErrorKind::Size, message).passing(None));
            }
            Err(broken) => return Err(broken.after(at, size)),
        };
        let mut bytes = answer.skipped(bytes, known)?;
        if bytes.is_empty() {
            return Ok(Step::Again);
        }
        let left = answer.end.map_or(u64::MAX, |end| end - at);
        if bytes.len() as u64 > left {
            let message = "more bytes came than the Content-Range says";
            return Err(Error::new(ErrorKind::BadResponse, message));
        }
        if stop < size {
            bytes.truncate(usize::try_from(stop - at).unwrap_or(usize::MAX));
        }
        Ok(Step::Bytes(bytes))
    }

    /// Asks for what is missing, and for everything if the peer cannot be asked for that.
    async fn open(&mut self, known: Option<&Hasher>) -> Result<(), Error> {
        loop {
            let wanted = self.wanted();
            let response = self.ask(wanted).await?;
            let end = match self.end(&response, wanted) {
                Ok(None) if self.strict => {
                    let message = "a range was answered by the whole blob";
                    return Err(Error::new(ErrorKind::BadResponse, message));
                }
                Ok(end) => end,
                Err(odd) if wanted.is_some() && !self.strict => {
                    tracing::info!(%odd, url = %self.url, "asking for the whole blob instead");
                    self.whole = true;
                    response.discard().await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let skip = if end.is_some() { 0 } else { self.at };
            if end.is_none() {
                self.announced(&response)?;
            }
            if end.is_none() || self.etag.is_none() {
                self.etag = strong(&response.headers);
            }
            self.answer = Some(Answer {
                body: response.body,
                skip,
                check: known
                    .filter(|known| skip > 0 && known.bytes() == skip)
                    .map(|known| Hasher::new(known.clone().finish().algorithm())),
                end,
                began: self.at,
                url: response.url,
                shared: response.version == Version::HTTP_2,
            });
            return Ok(());
        }
    }

    async fn ask(&self, wanted: Option<Wanted>) -> Result<Response, Error> {
        let ask = Ask {
            range: wanted,
            ..Ask::get(&self.url, ACCEPT)
        };
        if !self.strict {
            return self.peer.ask(ask).await;
        }
        let direct = self.direct().clone();
        if let Some(url) = direct
            && let Ok(response) = self.peer.ask_elsewhere(Ask { url: &url, ..ask }).await
            && response.status == StatusCode::PARTIAL_CONTENT
        {
            return Ok(response);
        }
        let response = self.peer.ask(ask).await?;
        *self.direct() = (response.url.origin() != self.url.origin()).then(|| response.url.clone());
        Ok(response)
    }

    fn direct(&self) -> MutexGuard<'_, Option<Url>> {
        self.direct.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> Option<Wanted> {
        let part = self.at > 0 || self.stop < self.size;
        (part && !self.whole).then(|| Wanted {
            start: self.at,
            end: Some(self.stop).filter(|stop| *stop < self.size),
        })
    }

    /// Where the part that a response holds ends; none for the whole blob.
    fn end(&self, response: &Response, wanted: Option<Wanted>) -> Result<Option<u64>, Error> {
        let odd = |why: &str| {
            Err(Error::new(
                ErrorKind::BadResponse,
                format!("a range was answered {why}"),
            ))
        };
        if response.status == StatusCode::OK || wanted.is_none() {
            return Ok(None);
        }
        if response.status != StatusCode::PARTIAL_CONTENT {
            return odd(&format!("by {}", response.status));
        }
        let Some(Part { bytes, total }) = Part::of(&response.headers) else {
            return odd("without a Content-Range that can be read");
        };
        if bytes.start != self.at || bytes.end > self.stop {
            return odd("by another range");
        }
        if total.is_some_and(|total| total != self.size) {
            return odd("for a blob of another size");
        }
        if response
            .body
            .announced()
            .is_some_and(|size| size != bytes.end - bytes.start)
        {
            return odd("by a body of another length");
        }
        match (&self.etag, strong(&response.headers)) {
            (Some(old), Some(new)) if *old != new => odd("from another version of the blob"),
            _ => Ok(Some(bytes.end)),
        }
    }

    fn announced(&self, response: &Response) -> Result<(), Error> {
        match response.body.announced() {
            Some(size) if size != self.size => {
                let message = format!("the registry announces {size} bytes, the manifest {}", self.size);
                Err(Error::new(ErrorKind::Size, message))
            }
            _ => Ok(()),
        }
    }
}

impl Answer {
    /// What is new in `bytes`.
    fn skipped(&mut self, mut bytes: Bytes, known: Option<&Hasher>) -> Result<Bytes, Error> {
        if self.skip == 0 {
            return Ok(bytes);
        }
        let old =
            bytes.split_to(usize::try_from(self.skip).map_or(bytes.len(), |skip| skip.min(bytes.len())));
        self.skip -= old.len() as u64;
        if let Some(check) = &mut self.check {
            check.update(&old);
        }
        if self.skip == 0
            && let (Some(again), Some(known)) = (self.check.take(), known)
            && again.finish() != known.clone().finish()
        {
            let message = format!("the first {} bytes are others than before", known.bytes());
            return Err(Error::new(ErrorKind::Digest, message));
        }
        Ok(bytes)
    }
}

/// The version that a response names, if it stands for the very bytes.
fn strong(headers: &HeaderMap) -> Option<HeaderValue> {
    headers
        .get(ETAG)
        .filter(|etag| !etag.as_bytes().starts_with(b"W/"))
        .cloned()
}
