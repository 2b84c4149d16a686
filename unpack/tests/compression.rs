// SPDX-License-Identifier: Apache-2.0
//! Compressed layers are read whole or refused.
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Read};

use common::{Place, brief, tar};
use unpack::{Codec, Error, ErrorKind, Layer, Root};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

fn codec(codec: Codec, bytes: &[u8]) -> Result<Vec<String>, Error> {
    let place = Place::new();
    let root = Root::create(&place.root())?;
    Layer::new(&root).codec(codec).unpack(bytes)?;
    Ok(brief(&place.root()))
}

#[test]
fn compressed_layers_are_read_whole_or_refused() {
    let tar = tar("f /a \"1\"");
    let (gz, zst) = (gzip(&tar), zstd::encode_all(&tar[..], 3).expect("zstd"));
    let (half, rest) = tar.split_at(700);
    let zst_of = |part: &[u8]| zstd::encode_all(part, 3).expect("zstd");
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
    let join = |parts: &[&[u8]]| parts.concat();
    let empty_member = gzip(b"");
    for (name, kind, bytes) in [
        ("plain", Codec::Plain, tar.clone()),
        ("gzip", Codec::Gzip, gz.clone()),
        ("two gzip members", Codec::Gzip, join(&[&gzip(half), &gzip(rest)])),
        ("an empty gzip member", Codec::Gzip, join(&[&gz, &empty_member])),
        ("zstd", Codec::Zstd, zst.clone()),
        (
            "two zstd frames",
            Codec::Zstd,
            join(&[&zst_of(half), &zst_of(rest)]),
        ),
        (
            "skippable frames",
            Codec::Zstd,
            join(&[&skippable, &zst, &skippable]),
        ),
    ] {
        assert_eq!(
            codec(kind, &bytes).unwrap_or_else(|e| panic!("{name}: {e}")),
            ["f a 1"],
            "{name}"
        );
    }
    let mut bad_crc = gz.clone();
    let crc = bad_crc.len() - 8;
    bad_crc[crc] ^= 1;
    for (name, kind, bytes) in [
        ("gzip, then garbage", Codec::Gzip, join(&[&gz, b"garbage"])),
        ("gzip, then zeros", Codec::Gzip, join(&[&gz, &[0; 512]])),
        (
            "gzip without its trailer",
            Codec::Gzip,
            gz[..gz.len() - 8].to_vec(),
        ),
        ("gzip cut in its data", Codec::Gzip, gz[..gz.len() / 2].to_vec()),
        ("gzip with a wrong checksum", Codec::Gzip, bad_crc),
        ("gzip called zstd", Codec::Zstd, gz.clone()),
        ("zstd called gzip", Codec::Gzip, zst.clone()),
        ("gzip called tar", Codec::Plain, gz.clone()),
        ("zstd cut", Codec::Zstd, zst[..zst.len() - 1].to_vec()),
        ("zstd, then garbage", Codec::Zstd, join(&[&zst, b"garbage"])),
        ("nothing called gzip", Codec::Gzip, Vec::new()),
        ("nothing called zstd", Codec::Zstd, Vec::new()),
    ] {
        assert!(codec(kind, &bytes).is_err(), "{name} is accepted");
    }
}

#[test]
fn a_reader_s_own_error_is_the_cause() {
    struct Cut<'a>(&'a [u8]);
    impl Read for Cut<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(std::io::Error::other("the network went away")),
                length => Ok(length),
            }
        }
    }
    let gz = gzip(&tar("f /a \"1\""));
    for (kind, bytes) in [
        (Codec::Gzip, &gz[..]),
        (Codec::Gzip, &gz[..20]),
        (Codec::Plain, &[0; 1024]),
    ] {
        let place = Place::new();
        let root = Root::create(&place.root()).expect("root");
        let error = Layer::new(&root)
            .codec(kind)
            .unpack(BufReader::new(Cut(bytes)))
            .expect_err("cut");
        assert_eq!(error.kind(), &ErrorKind::Read, "{error}");
        assert_eq!(
            error.io_error().expect("a cause").to_string(),
            "the network went away"
        );
    }
}

#[test]
fn a_cut_anywhere_ends_in_an_error() {
    // CVE-2021-20291: a reader that waits for the rest of a stream waits for ever.
    let tar = tar("f /a fill=60\nf /b \"1\"");
    let zst = zstd::encode_all(&tar[..], 3).expect("zstd");
    for (kind, bytes) in [(Codec::Gzip, gzip(&tar)), (Codec::Zstd, zst)] {
        for end in 0..bytes.len() {
            assert!(codec(kind, &bytes[..end]).is_err(), "{kind:?} cut at {end}");
        }
    }
}

/// Bytes that arrive in pieces of one size.
struct Pieces<'a>(&'a [u8], usize);

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        Ok(&self.0[..self.1.min(self.0.len())])
    }

    fn consume(&mut self, length: usize) {
        assert!(length <= self.1, "more than was given");
        self.0 = &self.0[length..];
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[test]
fn layers_arrive_in_pieces_of_any_size() {
    let tar = tar(&format!("f /a \"{}\"\nd /d\nf /d/b \"2\"", "x".repeat(5000)));
    let zst = zstd::encode_all(&tar[..], 3).expect("zstd");
    let two = [zst.clone(), zst].concat();
    for (kind, bytes) in [
        (Codec::Plain, &tar),
        (Codec::Gzip, &gzip(&tar)),
        (Codec::Zstd, &two),
    ] {
        for size in [1, 2, 100, 511, 512, 513, 1 << 20] {
            let place = Place::new();
            let root = Root::create(&place.root()).expect("root");
            let layer = Layer::new(&root).codec(kind);
            let done = layer.unpack(Pieces(bytes, size)).expect("a valid layer");
            assert_eq!(brief(&place.root()).len(), 3, "{kind:?} in pieces of {size}");
            let want = match kind {
                Codec::Zstd => image_spec::Digest::sha256(&[&tar[..], &tar].concat()),
                _ => image_spec::Digest::sha256(&tar),
            };
            assert_eq!(done.diff_id, want, "{kind:?} in pieces of {size}");
        }
    }
}

/// Fails where a reader that found a wrong digest does: at its end.
struct Wrong<'a>(&'a [u8]);

impl BufRead for Wrong<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        match self.0 {
            [] => Err(std::io::Error::other("another digest")),
            bytes => Ok(bytes),
        }
    }

    fn consume(&mut self, length: usize) {
        self.0 = &self.0[length..];
    }
}

impl Read for Wrong<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[test]
fn what_its_reader_verifies_is_not_hashed_again() {
    let tar = [tar("d /d\nf /d/b \"2\""), vec![0; 5000]].concat();
    let own = image_spec::Digest::sha256(&tar);
    // Told apart from the layer's own, and believed.
    let told = image_spec::Digest::sha256(b"told");
    let long = image_spec::Digest::of(image_spec::Algorithm::Sha512, b"told");
    for (name, kind, bytes, verified, want) in [
        ("the reader's word", Codec::Plain, tar.clone(), told, told),
        ("of another algorithm", Codec::Plain, tar.clone(), long, own),
        ("of what is compressed", Codec::Gzip, gzip(&tar), told, own),
    ] {
        for keep in [false, true] {
            let place = Place::new();
            let root = Root::create(&place.root()).expect("root");
            let layer = Layer::new(&root).codec(kind).verified(verified);
            let pieces = Pieces(&bytes, 700);
            let done = match keep {
                true => layer.keep(pieces),
                false => layer.unpack(pieces),
            };
            let done = done.expect("a valid layer");
            assert_eq!(
                (done.diff_id, done.bytes, done.entries),
                (want, tar.len() as u64, 2),
                "{name}"
            );
            if !keep {
                assert_eq!(brief(&place.root()).len(), 2, "{name}");
            }
        }
    }
}

#[test]
fn a_reader_that_finds_a_wrong_digest_at_its_end_is_heard() {
    let bytes = tar("d /d\nf /d/b \"2\"");
    for keep in [false, true] {
        let place = Place::new();
        let root = Root::create(&place.root()).expect("root");
        let layer = Layer::new(&root).verified(image_spec::Digest::sha256(&bytes));
        let done = match keep {
            true => layer.keep(Wrong(&bytes)),
            false => layer.unpack(Wrong(&bytes)),
        };
        let error = done.expect_err("another digest");
        assert_eq!(error.kind(), &ErrorKind::Read, "{error}");
        assert_eq!(error.io_error().expect("a cause").to_string(), "another digest");
    }
}

#[test]
fn bytes_that_a_reader_verifies_are_limited_too() {
    let bytes = [tar("f /a \"1\""), vec![0; 100_000]].concat();
    for (limit, fits) in [(bytes.len() as u64, true), (bytes.len() as u64 - 1, false)] {
        let place = Place::new();
        let root = Root::create(&place.root()).expect("root");
        let mut limits = unpack::Limits::default();
        limits.layer_bytes = limit;
        let layer = Layer::new(&root).limits(limits);
        let done = layer
            .verified(image_spec::Digest::sha256(&bytes))
            .unpack(&bytes[..]);
        match done {
            Ok(_) => assert!(fits, "over the limit"),
            Err(error) => assert_eq!(
                (error.kind(), fits),
                (&ErrorKind::Limit("layer_bytes", limit), false)
            ),
        }
    }
}
