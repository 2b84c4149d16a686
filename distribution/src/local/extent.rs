// SPDX-License-Identifier: Apache-2.0
//! A run of bytes in an open file.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use nix::fcntl::OFlag;

use super::{blocking, folder};
use crate::{Error, ErrorKind};

/// Bytes of one read: few thread hops for large layers, little memory for many at once.
const CHUNK: u64 = 1 << 20;

/// A run of bytes in an open file, read at its own position, so that any number may share the file.
pub(crate) struct Extent {
    file: Arc<File>,
    at: u64,
    left: u64,
    buffers: Buffers,
}

impl Extent {
    pub(crate) fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self {
            file,
            at,
            left: size,
            buffers: Buffers::default(),
        }
    }

    /// Bytes that are still to come, if the file keeps its length.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; `None` at the end, also at that of a file which was cut meanwhile.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let want = self.left.min(CHUNK) as usize;
        if want == 0 {
            return Ok(None);
        }
        let (file, at, buffers) = (Arc::clone(&self.file), self.at, self.buffers.clone());
        let bytes = blocking(move || {
            let mut chunk = buffers.chunk(want);
            chunk.length =
                retry(|| file.read_at(chunk.space(want), at)).map_err(|cause| Error::io("read", cause))?;
            Ok(Bytes::from_owner(chunk))
        })
        .await?;
        self.at += bytes.len() as u64;
        self.left -= bytes.len() as u64;
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// All bytes at once, if they are at most `cap`. Blocks.
    pub(super) fn read(&self, cap: u64) -> Result<Vec<u8>, Error> {
        if self.left > cap {
            let message = format!("more than {cap} bytes: {}", self.left);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut bytes = vec![0; self.left as usize];
        self.file
            .read_exact_at(&mut bytes, self.at)
            .map_err(|cause| Error::io("read", cause))?;
        Ok(bytes)
    }

    /// The bytes of a range which lies within it and is small enough to be held. Blocks.
    pub(super) fn part(&self, range: &Range<u64>) -> Result<Bytes, Error> {
        let part = Self {
            file: Arc::clone(&self.file),
            at: self.at.saturating_add(range.start),
            left: range.end.min(self.left).saturating_sub(range.start),
            buffers: Buffers::default(),
        };
        part.read(u64::MAX).map(Bytes::from)
    }
}

/// Opens a regular file; its size in bytes comes with it. Blocks.
pub(super) fn open(path: &Path) -> Result<(Arc<File>, u64), Error> {
    // Without O_NONBLOCK a pipe would keep us waiting for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|cause| Error::io("the file cannot be opened", cause))?;
    let whole = folder::regular(file, &path.to_string_lossy())?;
    Ok((whole.file, whole.left))
}

/// Buffers whose chunks have been dropped. They go round: new memory would have to be cleared by the
/// kernel and by us before each read.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// A chunk with room for so many bytes.
    fn chunk(&self, room: usize) -> Chunk {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = free.unwrap_or_default();
        if bytes.len() < room {
            bytes.resize(room, 0);
        }
        Chunk {
            bytes,
            length: 0,
            home: self.clone(),
        }
    }
}

/// Bytes that were read; whoever drops the last of them gives the buffer back.
struct Chunk {
    bytes: Vec<u8>,
    length: usize,
    home: Buffers,
}

impl Chunk {
    fn space(&mut self, room: usize) -> &mut [u8] {
        &mut self.bytes[..room]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.home
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(bytes);
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
