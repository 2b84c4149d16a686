// SPDX-License-Identifier: Apache-2.0
//! Overlaps the stages of one layer: the calling thread inflates, one thread hashes, one consumes.
//!
//! Buffers go round: inflated, shared by both threads, and back to be filled again when the last of
//! them lets go. Their number bounds the memory of a layer, whatever its size.
//!
//! Where there is nothing to inflate and the reader verifies the bytes itself, the consumer takes them
//! from the reader: they are hashed once, and copied nowhere.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use image_spec::{Algorithm, Digest, Hasher};

use crate::codec::Inflated;
use crate::{Codec, Error, ErrorKind, Limits};

/// Large enough that handing a buffer over costs nothing beside filling it; a multiple of tar's block.
const BUFFER_BYTES: usize = 256 << 10;
/// Buffers of one layer: each stage holds one and some wait between them. 2 MiB in all.
const BUFFERS: usize = 8;

/// A full buffer, shared by the stages.
#[derive(Clone)]
struct Chunk(Arc<Buffer>);

struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: SyncSender<Vec<u8>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Fails only when the layer has ended and nobody fills buffers any more.
        let _ = self.home.try_send(std::mem::take(&mut self.bytes));
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        self.0.bytes.get(..self.0.length).unwrap_or_default()
    }
}

/// The inflated bytes as the consuming stage reads them. Ends where they end, or where the inflating
/// stage failed: then [`run`] returns that failure whatever the consumer made of it.
pub(crate) struct Input {
    chunks: Receiver<Chunk>,
    current: Option<Chunk>,
    used: usize,
}

impl Input {
    /// Reads on to the end: the bytes behind an archive are under the digests too.
    fn drain(&mut self) {
        self.current = None;
        self.chunks.iter().for_each(drop);
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self
            .current
            .as_ref()
            .is_none_or(|chunk| self.used >= chunk.0.length)
        {
            // The old buffer goes home before the next is waited for.
            self.current = None;
            self.current = self.chunks.recv().ok();
            self.used = 0;
        }
        Ok(self
            .current
            .as_ref()
            .and_then(|chunk| chunk.bytes().get(self.used..))
            .unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.used += length;
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

/// What came of the inflated bytes.
pub(crate) struct Outcome<T> {
    pub(crate) value: T,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Reads `reader`, which holds its bytes to this digest, to its end while `consume` takes them.
pub(crate) fn run_verified<T: Send>(
    reader: impl BufRead + Send,
    limits: &Limits,
    digest: Digest,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, Error> + Send,
) -> Result<Outcome<T>, Error> {
    let mut input = Verified {
        reader,
        limit: limits.layer_bytes,
        bytes: 0,
        failed: None,
    };
    // A thread of its own, since the consumer may change what belongs to its thread.
    let value = thread::scope(|scope| {
        let consuming = spawn(scope, "unpack", || {
            let value = consume(&mut input)?;
            input.drain();
            Ok(value)
        })?;
        join(consuming)
    });
    match input.failed {
        Some(error) => Err(error),
        None => Ok(Outcome {
            value: value?,
            digest,
            bytes: input.bytes,
        }),
    }
}

/// The bytes as the reader has them. Ends where they end, or at the reader's failure, as [`Input`] does.
struct Verified<R> {
    reader: R,
    limit: u64,
    bytes: u64,
    failed: Option<Error>,
}

impl<R: BufRead> Verified<R> {
    fn drain(&mut self) {
        while let Ok(length @ 1..) = self.fill_buf().map(<[u8]>::len) {
            self.consume(length);
        }
    }

    /// Waits for bytes; false at the end, whatever it came by.
    fn has_bytes(&mut self) -> bool {
        if self.bytes > self.limit {
            self.failed = Some(Error::limit("layer_bytes", self.limit));
        }
        while self.failed.is_none() {
            match self.reader.fill_buf() {
                Ok(bytes) => return !bytes.is_empty(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => self.failed = Some(Error::with_source(ErrorKind::Read, e)),
            }
        }
        false
    }
}

impl<R: BufRead> BufRead for Verified<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self.has_bytes() {
            true => self.reader.fill_buf(),
            false => Ok(&[]),
        }
    }

    fn consume(&mut self, length: usize) {
        self.bytes += length as u64;
        self.reader.consume(length);
    }
}

impl<R: BufRead> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

/// Inflates `reader` to its end while the bytes are hashed and `consume` takes them.
pub(crate) fn run<T: Send>(
    reader: impl BufRead,
    codec: Codec,
    limits: &Limits,
    algorithm: Algorithm,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, Error> + Send,
) -> Result<Outcome<T>, Error> {
    let (home, free) = sync_channel(BUFFERS);
    for _ in 0..BUFFERS {
        // Cannot fail: the channel holds as many. The memory is touched only when it is filled.
        let _ = home.send(Vec::new());
    }
    let (to_hash, hash_chunks) = sync_channel::<Chunk>(BUFFERS);
    let (to_consumer, chunks) = sync_channel::<Chunk>(BUFFERS);
    thread::scope(|scope| {
        let hashing = spawn(scope, "diff-id", move || {
            let mut hasher = Hasher::new(algorithm);
            hash_chunks.iter().for_each(|chunk| hasher.update(chunk.bytes()));
            (hasher.bytes(), hasher.finish())
        })?;
        let consuming = spawn(scope, "unpack", move || {
            let mut input = Input {
                chunks,
                current: None,
                used: 0,
            };
            let value = consume(&mut input)?;
            input.drain();
            Ok(value)
        })?;
        let inflated = inflate(reader, codec, limits, &home, &free, [to_hash, to_consumer]);
        let (bytes, digest) = join(hashing);
        let consumed = join(consuming);
        // A consumer that stops early ends the inflating too; its own error is then the cause.
        inflated?;
        Ok(Outcome {
            value: consumed?,
            digest,
            bytes,
        })
    })
}

fn inflate(
    reader: impl BufRead,
    codec: Codec,
    limits: &Limits,
    home: &SyncSender<Vec<u8>>,
    free: &Receiver<Vec<u8>>,
    stages: [SyncSender<Chunk>; 2],
) -> Result<(), Error> {
    let mut inflated = Inflated::new(codec, reader, limits)?;
    while let Ok(mut bytes) = free.recv() {
        bytes.resize(BUFFER_BYTES, 0);
        let length = inflated.fill(&mut bytes)?;
        if length == 0 {
            break;
        }
        let chunk = Chunk(Arc::new(Buffer {
            bytes,
            length,
            home: home.clone(),
        }));
        if stages.iter().any(|stage| stage.send(chunk.clone()).is_err()) {
            break;
        }
    }
    Ok(())
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>, Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn_scoped(scope, body)
        .map_err(|e| Error::io("start a thread", e))
}

/// A panic goes on where it came from: it is a defect, not an outcome.
fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
