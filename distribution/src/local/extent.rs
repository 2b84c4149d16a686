// SPDX-License-Identifier: Apache-2.0
//! A run of bytes in an open file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::blocking;
use crate::{Error, ErrorKind};

/// Bytes of one read: few thread hops for large layers, little memory for many at once.
const CHUNK: u64 = 1 << 20;

/// A run of bytes in an open file, read at its own position, so that any number may share the file.
pub(crate) struct Extent {
    file: Arc<File>,
    at: u64,
    left: u64,
    /// Used again as soon as the chunk before it has been dropped.
    buffer: BytesMut,
}

impl Extent {
    pub(crate) fn new(file: Arc<File>, at: u64, size: u64) -> Self {
        Self {
            file,
            at,
            left: size,
            buffer: BytesMut::new(),
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
        let (file, at, mut buffer) = (Arc::clone(&self.file), self.at, std::mem::take(&mut self.buffer));
        let (bytes, buffer) = blocking(move || {
            buffer.resize(want, 0);
            let read = retry(|| file.read_at(&mut buffer, at)).map_err(|cause| Error::io("read", cause))?;
            buffer.truncate(read);
            Ok((buffer.split().freeze(), buffer))
        })
        .await?;
        self.buffer = buffer;
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
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
