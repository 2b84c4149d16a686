// SPDX-License-Identifier: Apache-2.0
//! gzip (RFC 1952): members one after the other, to the very end of the bytes.
//!
//! What frames the compressed data is read here, once for both engines, so that they take and refuse
//! the same bytes: ISA-L, the faster one (feature `isal`), and zlib-rs, which is all Rust.

mod header;
#[cfg(feature = "isal")]
mod isal;
#[cfg(any(test, not(feature = "isal")))]
mod zlib;

use std::io::{self, BufRead, Read};

use header::Header;

#[cfg(feature = "isal")]
type Fastest = isal::Isal;
#[cfg(not(feature = "isal"))]
type Fastest = zlib::Zlib;

/// Inflates the data of one member and compares its trailer.
trait Engine: Default {
    /// Takes some input and makes some output; both may be cut anywhere.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step>;

    /// Prepares for the next member.
    fn reset(&mut self);
}

/// What an [`Engine`] did with what it was given.
struct Step {
    consumed: usize,
    produced: usize,
    /// The member is complete, and its trailer is right.
    done: bool,
}

/// Reads the contents of all members.
pub(crate) struct Decoder<R>(Members<R, Fastest>);

impl<R: BufRead> Decoder<R> {
    pub(crate) fn new(input: R) -> Self {
        Decoder(Members::new(input))
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.0.input
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        self.0.read(output)
    }
}

struct Members<R, E> {
    input: R,
    place: Place,
    engine: Box<E>,
}

enum Place {
    Header(Header),
    Body,
    /// After a member: another may follow, or nothing.
    Between,
    End,
}

impl<R: BufRead, E: Engine> Members<R, E> {
    fn new(input: R) -> Self {
        Members {
            input,
            place: Place::Header(Header::default()),
            engine: Box::default(),
        }
    }

    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() {
            return Ok(0);
        }
        loop {
            match &mut self.place {
                Place::End => return Ok(0),
                Place::Between if self.input.fill_buf()?.is_empty() => self.place = Place::End,
                Place::Between => self.place = Place::Header(Header::default()),
                Place::Header(header) => {
                    let bytes = self.input.fill_buf()?;
                    if bytes.is_empty() {
                        return Err(cut());
                    }
                    let (used, complete) = header.take(bytes)?;
                    self.input.consume(used);
                    if complete {
                        self.engine.reset();
                        self.place = Place::Body;
                    }
                }
                Place::Body => {
                    let bytes = self.input.fill_buf()?;
                    // The engine may hold back output, so it is asked once more without input.
                    let ended = bytes.is_empty();
                    let step = self.engine.step(bytes, output)?;
                    self.input.consume(step.consumed);
                    if step.done {
                        self.place = Place::Between;
                    }
                    if step.produced > 0 {
                        return Ok(step.produced);
                    }
                    if !step.done && step.consumed == 0 {
                        return Err(if ended { cut() } else { corrupt("no progress") });
                    }
                }
            }
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ends inside a member")
}

fn corrupt(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::{Compression, GzBuilder, write::GzEncoder};

    use super::*;

    /// Hands out at most so many bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(self.1);
            self.0.read(&mut buffer[..length])
        }
    }

    fn inflate<E: Engine>(bytes: &[u8], input: usize, output: usize) -> Result<Vec<u8>, String> {
        let mut members = Members::<_, E>::new(BufReader::with_capacity(4096, Drip(bytes, input)));
        let (mut all, mut buffer) = (Vec::new(), vec![0; output]);
        loop {
            match members.read(&mut buffer) {
                Ok(0) => return Ok(all),
                Ok(length) => all.extend_from_slice(&buffer[..length]),
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Both engines, with input and output in pieces of several sizes, must say the same.
    fn both(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let want = inflate::<zlib::Zlib>(bytes, 4096, 65536);
        for (input, output) in [(1, 1), (1, 65536), (2, 7), (7, 300), (100, 100_000), (4096, 1)] {
            if want.as_ref().is_ok_and(|all| all.len() > 100_000) && input * output < 300 {
                continue;
            }
            let zlib = inflate::<zlib::Zlib>(bytes, input, output);
            assert!(
                zlib == want,
                "zlib-rs differs with pieces of {input} and {output}"
            );
            #[cfg(feature = "isal")]
            {
                let isal = inflate::<isal::Isal>(bytes, input, output);
                let same = isal == want || (isal.is_err() && want.is_err());
                assert!(same, "ISA-L differs with pieces of {input} and {output}");
            }
        }
        want
    }

    /// Text, noise and runs, the same at every run.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut bytes = Vec::new();
        while bytes.len() < length {
            match next() % 3 {
                0 => bytes.extend(std::iter::repeat_n(next() as u8, next() % 700)),
                1 => bytes.extend((0..next() % 400).map(|_| next() as u8)),
                _ if bytes.is_empty() => {}
                _ => {
                    let start = next() % bytes.len();
                    let end = bytes.len().min(start + next() % 500);
                    bytes.extend_from_within(start..end);
                }
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn contents_of_every_size_and_level_come_back() {
        for length in [0, 1, 100, 32_768, 65_537, 400_000] {
            for level in [0, 1, 6, 9] {
                let bytes = sample(length);
                assert!(
                    both(&gzip(&bytes, level)) == Ok(bytes),
                    "{length} bytes at level {level}"
                );
            }
        }
    }

    #[test]
    fn members_follow_one_another() {
        let (one, two) = (sample(1000), sample(70_000));
        let bytes = [gzip(&one, 6), gzip(b"", 6), gzip(&two, 1)].concat();
        assert_eq!(both(&bytes), Ok([one, two].concat()));
    }

    #[test]
    fn every_field_of_a_header_is_passed_over() {
        let mut encoder = GzBuilder::new()
            .filename("a name")
            .comment("a comment")
            .extra(vec![7; 300])
            .mtime(1)
            .write(Vec::new(), Compression::fast());
        encoder.write_all(b"content").unwrap();
        assert_eq!(both(&encoder.finish().unwrap()), Ok(b"content".to_vec()));
    }

    #[test]
    fn a_cut_anywhere_is_an_error() {
        let bytes = gzip(&sample(3000), 6);
        for length in 0..bytes.len() {
            assert!(both(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn a_changed_byte_is_an_error_or_does_not_matter() {
        let content = sample(600);
        let bytes = gzip(&content, 6);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            // Time, extra flags and system of the header say nothing of the content.
            match both(&changed) {
                Ok(all) => assert!(all == content && (4..10).contains(&at), "byte {at}"),
                Err(_) => assert!(!(4..10).contains(&at), "byte {at}"),
            }
        }
    }

    #[test]
    fn nothing_else_may_follow() {
        let bytes = gzip(b"content", 6);
        for tail in [&b"\0"[..], b"garbage", &[0; 512], b"\x1f", b"\x1f\x8b\x08"] {
            assert!(both(&[&bytes, tail].concat()).is_err(), "{tail:?}");
        }
    }
}
