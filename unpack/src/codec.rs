// SPDX-License-Identifier: Apache-2.0
use std::io::{self, BufRead, Read};

use crate::{Error, ErrorKind, Limits, gzip};

/// How a layer's bytes are compressed.
///
/// gzip may have several members and zstd several frames, skippable ones among them: their contents
/// follow one another (RFC 1952 section 2.2, RFC 8878 section 3.1). Anything else after the end, a
/// missing trailer or a wrong checksum is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// A tar as it is.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// The bytes of a layer's archive, inflated as [`Layer::unpack`](crate::Layer::unpack) does it.
    ///
    /// Reading fails with an [`Error`] inside where the compressed bytes are damaged, where others follow
    /// them, or at a limit.
    ///
    /// # Errors
    /// The decoder cannot be set up.
    pub fn inflate<'a, R: BufRead + 'a>(
        self,
        reader: R,
        limits: &'a Limits,
    ) -> Result<impl Read + 'a, Error> {
        Inflated::new(self, reader, limits)
    }
}

/// Inflated bytes, cut off where a limit says so.
pub(crate) struct Inflated<'a, R: BufRead> {
    inner: Decoder<'a, Counted<R>>,
    codec: Codec,
    limits: &'a Limits,
    bytes: u64,
}

enum Decoder<'a, R: BufRead> {
    Plain(R),
    Gzip(gzip::Decoder<R>),
    Zstd(Box<zstd::Decoder<'a, R>>),
}

struct Counted<R> {
    inner: R,
    bytes: u64,
    /// A reader's own error, kept from the decoder's wording of it.
    failed: bool,
}

impl<'a, R: BufRead> Inflated<'a, R> {
    pub(crate) fn new(codec: Codec, reader: R, limits: &'a Limits) -> Result<Self, Error> {
        let input = Counted {
            inner: reader,
            bytes: 0,
            failed: false,
        };
        let inner = match codec {
            Codec::Plain => Decoder::Plain(input),
            Codec::Gzip => Decoder::Gzip(gzip::Decoder::new(input)),
            Codec::Zstd => {
                let mut decoder =
                    zstd::Decoder::with_buffer(input).map_err(|e| Error::io("set up zstd", e))?;
                decoder
                    .window_log_max(limits.zstd_window_log)
                    .map_err(|e| Error::io("set up zstd", e))?;
                Decoder::Zstd(Box::new(decoder))
            }
        };
        Ok(Inflated {
            inner,
            codec,
            limits,
            bytes: 0,
        })
    }

    /// Fills the buffer as far as there are bytes; less than its length only at the end.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let result = match &mut self.inner {
                Decoder::Plain(d) => d.read(rest),
                Decoder::Gzip(d) => d.read(rest),
                Decoder::Zstd(d) => d.read(rest),
            };
            match result {
                Ok(0) => {
                    self.drained()?;
                    break;
                }
                Ok(length) => filled += length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.error(e)),
            }
        }
        self.bytes += filled as u64;
        if self.bytes > self.limits.layer_bytes {
            return Err(Error::limit("layer_bytes", self.limits.layer_bytes));
        }
        if self.bytes > Limits::RATIO_GRACE && self.bytes / self.input().bytes.max(1) > self.limits.ratio {
            return Err(Error::limit("ratio", self.limits.ratio));
        }
        Ok(filled)
    }

    fn input(&mut self) -> &mut Counted<R> {
        match &mut self.inner {
            Decoder::Plain(d) => d,
            Decoder::Gzip(d) => d.get_mut(),
            Decoder::Zstd(d) => d.get_mut(),
        }
    }

    /// At the end of the contents nothing compressed may be left: all of it is under the digest.
    fn drained(&mut self) -> Result<(), Error> {
        match self.input().fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(Error::new(ErrorKind::Codec(match self.codec {
                Codec::Plain => "tar: bytes after the end",
                Codec::Gzip => "gzip: bytes after the last member",
                Codec::Zstd => "zstd: bytes after the last frame",
            }))),
            Err(e) => Err(Error::with_source(ErrorKind::Read, e)),
        }
    }

    fn error(&mut self, source: io::Error) -> Error {
        let kind = match (self.input().failed, self.codec) {
            (true, _) | (_, Codec::Plain) => ErrorKind::Read,
            (false, Codec::Gzip) => ErrorKind::Codec("gzip"),
            // The decoder's only complaint about memory; it gives no number for it.
            (false, Codec::Zstd) if source.to_string().contains("too much memory") => {
                ErrorKind::Limit("zstd_window_log", self.limits.zstd_window_log.into())
            }
            (false, Codec::Zstd) => ErrorKind::Codec("zstd"),
        };
        Error::with_source(kind, source)
    }
}

impl<R: BufRead> Read for Inflated<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill(buffer).map_err(io::Error::other)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let result = self.inner.fill_buf();
        if let Err(e) = &result {
            self.failed = e.kind() != io::ErrorKind::Interrupted;
        }
        result
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
        self.bytes += length as u64;
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        match &result {
            Ok(length) => self.bytes += *length as u64,
            Err(e) => self.failed = e.kind() != io::ErrorKind::Interrupted,
        }
        result
    }
}
