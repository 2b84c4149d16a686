// SPDX-License-Identifier: Apache-2.0
//! Compressed layers are read whole or refused.
#![allow(missing_docs)]

mod common;

use std::io::Read;

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
        let error = Layer::new(&root).codec(kind).unpack(Cut(bytes)).expect_err("cut");
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
