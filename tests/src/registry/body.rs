// SPDX-License-Identifier: Apache-2.0
//! Bodies of answers, honest and not.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::Sleep;

/// What one read of a file takes.
const PIECE: usize = 256 * 1024;

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    File(File, u64),
}

/// What follows the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Proper,
    Broken,
    Never,
}

#[derive(Debug)]
pub(super) struct Answer {
    source: Source,
    extra: Bytes,
    end: End,
    pace: Option<(usize, Duration)>,
    pause: Option<Pin<Box<Sleep>>>,
    cut: Arc<AtomicBool>,
}

impl Answer {
    pub(super) fn memory(bytes: impl Into<Bytes>) -> Self {
        Answer {
            source: Source::Memory(bytes.into()),
            extra: Bytes::new(),
            end: End::Proper,
            pace: None,
            pause: None,
            cut: Arc::default(),
        }
    }

    /// What a broken end sets, so that the connection ends once all before it was sent.
    pub(super) fn cutting(mut self, cut: Arc<AtomicBool>) -> Self {
        self.cut = cut;
        self
    }

    pub(super) fn file(mut file: File, start: u64, length: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start))?;
        Ok(Answer {
            source: Source::File(file, length),
            ..Answer::memory("")
        })
    }

    pub(super) fn length(&self) -> u64 {
        let own = match &self.source {
            Source::Memory(bytes) => bytes.len() as u64,
            Source::File(_, length) => *length,
        };
        own + self.extra.len() as u64
    }

    pub(super) fn with_extra(mut self, bytes: &[u8]) -> Self {
        self.extra = Bytes::copy_from_slice(bytes);
        self
    }

    /// Ends after at most so many bytes in this way.
    pub(super) fn ending(mut self, after: u64, end: End) -> Self {
        match &mut self.source {
            Source::Memory(bytes) => bytes.truncate(usize::try_from(after).unwrap_or(usize::MAX)),
            Source::File(_, length) => *length = (*length).min(after),
        }
        self.end = end;
        self
    }

    pub(super) fn paced(mut self, bytes: usize, pause: Duration) -> Self {
        self.pace = Some((bytes, pause));
        self
    }

    fn next(&mut self) -> io::Result<Bytes> {
        let limit = self.pace.map_or(PIECE, |(bytes, _)| bytes.clamp(1, PIECE));
        let piece = match &mut self.source {
            Source::Memory(bytes) => bytes.split_to(bytes.len().min(limit)),
            Source::File(_, 0) => Bytes::new(),
            Source::File(file, left) => {
                // The file is in the page cache or nearly so: no other thread is worth its switches.
                let mut buffer = Vec::with_capacity(limit);
                let size = file
                    .by_ref()
                    .take((*left).min(limit as u64))
                    .read_to_end(&mut buffer)?;
                *left = if size == 0 { 0 } else { *left - size as u64 };
                Bytes::from(buffer)
            }
        };
        Ok(if piece.is_empty() {
            std::mem::take(&mut self.extra)
        } else {
            piece
        })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some((_, pause)) = self.pace {
            let sleep = self
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            match sleep.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.pause = None,
            }
        }
        match self.next() {
            Err(error) => Poll::Ready(Some(Err(error))),
            Ok(piece) if !piece.is_empty() => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Ok(_) => match self.end {
                End::Proper => Poll::Ready(None),
                // An error here would throw away what is buffered; see `wire`.
                End::Broken => {
                    self.cut.store(true, Ordering::Relaxed);
                    Poll::Pending
                }
                End::Never => Poll::Pending,
            },
        }
    }
}
