// SPDX-License-Identifier: Apache-2.0
//! Each limit holds at its value and breaks above it, by its name.
#![allow(missing_docs)]

mod common;

use std::io::{BufReader, Read, Write};

use common::{Place, tar};
use fixture::{Entry, Header};
use unpack::{Codec, Error, ErrorKind, Layer, Limits, Root, Whiteouts};

fn unpack(codec: Codec, bytes: &[u8], limits: Limits) -> Result<(), Error> {
    let place = Place::new();
    let root = Root::create(&place.root())?;
    let layer = Layer::new(&root).whiteouts(Whiteouts::Overlay);
    layer.codec(codec).limits(limits).unpack(bytes).map(drop)
}

/// The bytes are accepted under this limit, and refused by name under one that is less by one.
#[track_caller]
fn holds(name: &'static str, value: u64, set: fn(&mut Limits, u64), codec: Codec, bytes: &[u8]) {
    let with = |value| {
        let mut limits = Limits::default();
        set(&mut limits, value);
        unpack(codec, bytes, limits)
    };
    with(value).unwrap_or_else(|e| panic!("{name} at {value}: {e}"));
    let error = with(value - 1).expect_err(name);
    assert_eq!(error.kind(), &ErrorKind::Limit(name, value - 1), "{error}");
    assert!(
        error
            .to_string()
            .ends_with(&format!("limit `{name}` exceeded: {}", value - 1)),
        "{error}"
    );
}

/// An archive in GNU's form: one block, then data filled up to whole blocks.
fn gnu(header: Header, data: &[u8]) -> Vec<u8> {
    let mut tar = header.set(257, b"ustar  \0").bytes();
    tar.extend_from_slice(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar
}

type Set = fn(&mut Limits, u64);

const HEADER: Set = |limits, value| limits.header_bytes = value;
const NAME: Set = |limits, value| limits.name_bytes = value as usize;
const DEPTH: Set = |limits, value| limits.depth = value as usize;
const XATTRS: Set = |limits, value| limits.xattrs = value as usize;
const XATTR: Set = |limits, value| limits.xattr_bytes = value as usize;
const PIECES: Set = |limits, value| limits.sparse_pieces = value as usize;
const FILE: Set = |limits, value| limits.file_bytes = value;

#[test]
fn limits_hold_at_their_value_and_break_above() {
    let long = "n".repeat(120);
    let gnu_long = |flag, flag2| {
        let name = gnu(Header::new("././@LongLink", flag, 120), long.as_bytes());
        [name, Header::new("a", flag2, 0).link("b").bytes()].concat()
    };
    let map = format!("{:\0<512}xy", "2\n0\n1\n2\n1\n");
    let mut entry = Entry::file("a", map);
    for (key, value) in [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", "9"),
    ] {
        entry.pax.push((key.into(), value.into()));
    }
    let text_map = fixture::Layer::new().entry(entry);
    let slots = Header::new("a", b'S', 2)
        .octal(483, 12, 9)
        .octal(386, 12, 0)
        .octal(398, 12, 1);
    let old_map = gnu(slots.octal(410, 12, 2).octal(422, 12, 1), b"xy");
    let cases: &[(&str, u64, Set, Vec<u8>)] = &[
        (
            "entries",
            3,
            |l, v| l.entries = v,
            tar("f /a \"\"\nf /b \"\"\nf /c \"\""),
        ),
        (
            "entries",
            2,
            |l, v| l.entries = v,
            tar("f /a x.user.a=\"1\" \"\""),
        ),
        ("depth", 3, DEPTH, tar("f /a/b/c/x \"\"")),
        ("depth", 3, DEPTH, tar("d /a/b/c")),
        ("depth", 3, DEPTH, tar("l /l -> a/b/c\nf /l/x \"\"")),
        ("depth", 3, DEPTH, tar("w /a/b/c/x")),
        ("name_bytes", 120, NAME, tar(&format!("f /{long} \"\""))),
        ("name_bytes", 120, NAME, tar(&format!("l /a -> {long}"))),
        (
            "name_bytes",
            120,
            NAME,
            tar(&format!("f /a \"\"\nh /b -> /{}a", "./".repeat(59) + "/")),
        ),
        (
            "name_bytes",
            120,
            NAME,
            tar(&format!("f /a pax.GNU.sparse.name=\"{long}\" \"\"")),
        ),
        ("name_bytes", 120, NAME, gnu_long(b'L', b'0')),
        ("name_bytes", 120, NAME, gnu_long(b'K', b'2')),
        ("name_bytes", 3, NAME, Header::new("abc", b'0', 0).bytes()),
        ("header_bytes", 120, HEADER, gnu_long(b'L', b'0')),
        ("header_bytes", 130, HEADER, tar(&format!("f /{long} \"\""))),
        ("header_bytes", 130, HEADER, tar(&format!("g path=\"{long}\""))),
        // What several headers say of one entry counts together, with 96 bytes for each attribute.
        (
            "header_bytes",
            210,
            HEADER,
            [
                &tar("g SCHILY.xattr.user.a=\"123\"")[..1024],
                &tar("f /a x.user.b=\"123\" \"\""),
            ]
            .concat(),
        ),
        (
            "xattrs",
            2,
            XATTRS,
            tar("f /a x.user.a=\"1\" x.user.b=\"2\" \"\""),
        ),
        ("xattr_bytes", 3, XATTR, tar("f /a x.user.a=\"123\" \"\"")),
        ("file_bytes", 5, FILE, tar("f /a \"12345\"")),
        ("file_bytes", 9, FILE, old_map.clone()),
        (
            "file_bytes",
            9,
            FILE,
            tar("f /a pax.GNU.sparse.map=\"0,1\" pax.GNU.sparse.size=\"9\" \"x\""),
        ),
        (
            "layer_bytes",
            2048,
            |l, v| l.layer_bytes = v,
            tar("f /a \"12345\""),
        ),
        (
            "sparse_pieces",
            2,
            PIECES,
            tar("f /a pax.GNU.sparse.map=\"0,1,2,1\" pax.GNU.sparse.size=\"9\" \"xy\""),
        ),
        ("sparse_pieces", 2, PIECES, text_map.tar(fixture::Dialect::Pax)),
        ("sparse_pieces", 2, PIECES, old_map),
        (
            "sparse_pieces",
            2,
            PIECES,
            tar(
                "f /a pax.GNU.sparse.size=\"9\" pax.GNU.sparse.offset=\"0\" pax.GNU.sparse.numbytes=\"1\" \
             pax.GNU.sparse.offset=\"2\" pax.GNU.sparse.numbytes=\"1\" \"xy\"",
            ),
        ),
    ];
    for (name, value, set, bytes) in cases {
        holds(name, *value, *set, Codec::Plain, bytes);
    }
}

#[test]
fn what_is_remembered_of_a_layer_is_limited() {
    let (mut few, mut many) = (Limits::default(), Limits::default());
    (few.record_bytes, many.record_bytes) = (2000, 20_000);
    let value = "v".repeat(3000);
    for text in [
        "d /a\nd /b\nd /c\nd /d\nd /e\nd /f\nd /g\nd /h".to_owned(),
        format!("d /a x.trusted.k=\"{value}\""),
        format!("d /. x.trusted.k=\"{value}\""),
        (0..40).map(|i| format!("w /{i}\n")).collect(),
        (0..40).map(|i| format!("l /{i} -> x\n")).collect(),
        (0..10).map(|i| format!("h /{i} -> /lower\n")).collect(),
    ] {
        let error = unpack(Codec::Plain, &tar(&text)[..], few.clone()).expect_err("too much");
        assert_eq!(
            error.kind(),
            &ErrorKind::Limit("record_bytes", 2000),
            "{text}: {error}"
        );
        unpack(Codec::Plain, &tar(&text)[..], many.clone()).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    // Files cost nothing where nothing of them needs to be known.
    let files: String = (0..2000).map(|i| format!("f /{i} \"\"\np /p{i}\n")).collect();
    unpack(Codec::Plain, &tar(&files)[..], few).expect("files");
}

/// More than the bytes from which on the ratio counts, nearly all behind the end of the archive.
fn zeros() -> Vec<u8> {
    vec![0; usize::try_from(Limits::RATIO_GRACE).expect("a size") + (1 << 20)]
}

fn gzip(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

#[test]
fn the_ratio_of_compression_is_limited() {
    let zeros = zeros();
    let ratio = |limits: &mut Limits, value| limits.ratio = value;
    for (codec, bytes) in [
        (Codec::Gzip, gzip(&zeros, 9)),
        (Codec::Zstd, zstd::encode_all(&zeros[..], 1).expect("zstd")),
    ] {
        holds("ratio", (zeros.len() / bytes.len()) as u64, ratio, codec, &bytes);
    }
    // Below the grace it does not count.
    let small = &zeros[..usize::try_from(Limits::RATIO_GRACE).expect("a size")];
    let mut limits = Limits::default();
    limits.ratio = 1;
    unpack(Codec::Gzip, &gzip(small, 9)[..], limits).expect("a small layer");
}

#[test]
fn the_window_of_zstd_is_limited() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    encoder.window_log(21).expect("a window");
    encoder.include_contentsize(false).expect("no size");
    encoder.write_all(&[0; 8 << 20]).expect("zstd");
    let bytes = encoder.finish().expect("zstd");
    let window = |limits: &mut Limits, value| limits.zstd_window_log = value as u32;
    holds("zstd_window_log", 21, window, Codec::Zstd, &bytes);
    assert_eq!(Limits::default().zstd_window_log, 27);
}

#[test]
fn a_huge_header_is_refused_before_it_is_read() {
    for flag in [b'x', b'g', b'L', b'K'] {
        let header = Header::new("x", flag, 1 << 32).bytes();
        let endless = header.chain(std::io::repeat(b'a'));
        let place = Place::new();
        let root = Root::create(&place.root()).expect("root");
        let error = Layer::new(&root)
            .unpack(BufReader::new(endless))
            .expect_err("refused");
        assert_eq!(
            error.kind(),
            &ErrorKind::Limit("header_bytes", 1 << 20),
            "{error}"
        );
    }
}

/// An archive that never ends where it should: files of zeros, compressed as far as it goes.
#[test]
fn bombs_end_early() {
    let mut tar = Header::new("zeros", b'0', 7 << 30).bytes();
    tar.extend(std::iter::repeat_n(0, 400 << 20));
    for (codec, bytes) in [
        (Codec::Gzip, gzip(&tar, 9)),
        (Codec::Zstd, zstd::encode_all(&tar[..], 3).expect("zstd")),
    ] {
        let error = unpack(codec, &bytes[..], Limits::default()).expect_err("a bomb");
        assert_eq!(
            error.kind(),
            &ErrorKind::Limit("ratio", 500),
            "{codec:?}: {error}"
        );
    }
}
