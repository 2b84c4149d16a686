// SPDX-License-Identifier: Apache-2.0
//! Layers that want out, or want too much.
#![allow(missing_docs)]

mod common;

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Place, brief, tar};
use fixture::{Dialect, Header};
use unpack::{Codec, Error, ErrorKind, Layer, Limits, Root, Whiteouts};

const MODES: [Whiteouts; 2] = [Whiteouts::Overlay, Whiteouts::Remove];

/// The layer is refused with these words.
#[track_caller]
fn refused(text: &str, words: &str) {
    for mode in MODES {
        let place = Place::new();
        let error = place
            .unpack(&tar(text), mode, Limits::default())
            .expect_err("a hostile layer")
            .to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn nothing_is_written_outside_the_root() {
    for text in [
        "l /x -> ../outside\nf /x/canary \"evil\"",
        "l /x -> /outside\nf /x/canary \"evil\"",
        "l /x -> ../../../../../../..\nf /x/tmp/evil \"evil\"",
        "l /x -> ../outside/canary\nf /x \"evil\"",
        "l /x -> ../outside\nd /x 0777 1:1",
        "l /x -> ../outside\nd /x/y 0777",
        "l /x -> ../outside\nl /y -> x/canary\nf /y \"evil\"",
        "l /x -> ../outside\nw /x/canary",
        "l /x -> ../outside\no /x",
        "l /x -> ../outside\nh /x/new -> /f",
        "d /d\nl /d/x -> ../../outside\nf /d/x/canary \"evil\"",
        "l /a -> b\nl /b -> ../outside\nf /a/canary \"evil\"",
        "l /x -> ../outside\nh /y -> /x\nf /y/canary \"evil\"",
        "l /x -> ../outside\nc /x/null 1:3\np /x/pipe\nl /x/l -> canary",
        "f //../../../outside/evil \"evil\"",
        "f /x/../../outside/evil \"evil\"",
        "d /..\nf /../outside/evil \"evil\"",
        "h /y -> ../outside/canary\nf /y \"evil\"",
        "l /x -> ../outside\nh /y -> /x/canary\nf /y \"evil\"",
    ] {
        for mode in MODES {
            let place = Place::new();
            let before = place.listing_outside();
            let layer = tar(text);
            // Some are refused and some are contained; both are right.
            let _ = place.unpack(&layer, mode, Limits::default());
            let _ = place.unpack(&layer, mode, Limits::default());
            assert_eq!(place.listing_outside(), before, "{mode:?}: {text}");
        }
    }
}

#[test]
fn what_no_layer_may_say_is_refused_by_name() {
    refused("f /../x \"\"", "upwards");
    refused("f /a/../x \"\"", "upwards");
    refused("f /a \"\"\nh /b -> ../a", "upwards");
    refused("d /a\nh /b -> /a", "hard link to a directory");
    refused("h /b -> //", "hard link to the root");
    refused("f / \"\"", "the root is no directory");
    refused("l / -> outside", "the root is no directory");
    refused("f /.wh. \"\"", "whiteout of no name");
    refused("f /.wh... \"\"", "whiteout of no name");
    refused("d /.wh.a\nf /.wh.a/x \"\"", "below the name of a whiteout");
    refused("l /a -> b\nl /b -> a\nf /a/x \"\"", "40 symbolic links");
    refused("f /a 4294967295:0 \"\"", "owner is out of range");
    refused("f /a 0:4294967296 \"\"", "owner is out of range");
    refused("f /a \"\" type=Q", "no known type");
    refused("f /a \"\" pax.path=\"x\\0y\"", "NUL");
    refused("f /a \"\" pax.size=\"-1\"", "no number");
}

#[test]
fn an_error_names_the_entry() {
    let place = Place::new();
    let error = place
        .unpack(&tar("d /a\nh /a/b -> /a"), Whiteouts::Remove, Limits::default())
        .expect_err("refused");
    assert_eq!(error.entry(), Some(&b"a/b"[..]));
    assert_eq!(error.to_string(), "entry `a/b`: it is a hard link to a directory");
}

#[test]
fn limits_hold_at_their_value_and_break_above() {
    type Set = fn(&mut Limits);
    let long = "n".repeat(120);
    let cases: &[(&str, Set, Set, String)] = &[
        (
            "entries",
            |l| l.entries = 3,
            |l| l.entries = 2,
            "f /a \"\"\nf /b \"\"\nf /c \"\"".into(),
        ),
        (
            "record_bytes",
            |l| l.record_bytes = 1200,
            |l| l.record_bytes = 300,
            "d /a\nd /b".into(),
        ),
        (
            "depth",
            |l| l.depth = 3,
            |l| l.depth = 2,
            "f /a/b/c/x \"\"".into(),
        ),
        (
            "name_bytes",
            |l| l.name_bytes = 120,
            |l| l.name_bytes = 119,
            format!("f /{long} \"\""),
        ),
        (
            "name_bytes",
            |l| l.name_bytes = 120,
            |l| l.name_bytes = 119,
            format!("l /a -> {long}"),
        ),
        (
            "header_bytes",
            |l| l.header_bytes = 130,
            |l| l.header_bytes = 129,
            format!("f /{long} \"\""),
        ),
        (
            "xattrs",
            |l| l.xattrs = 2,
            |l| l.xattrs = 1,
            "f /a x.user.a=\"1\" x.user.b=\"2\" \"\"".into(),
        ),
        (
            "xattr_bytes",
            |l| l.xattr_bytes = 3,
            |l| l.xattr_bytes = 2,
            "f /a x.user.a=\"123\" \"\"".into(),
        ),
        (
            "file_bytes",
            |l| l.file_bytes = 5,
            |l| l.file_bytes = 4,
            "f /a \"12345\"".into(),
        ),
        (
            "layer_bytes",
            |l| l.layer_bytes = 2048,
            |l| l.layer_bytes = 2047,
            "f /a \"12345\"".into(),
        ),
        (
            "sparse_pieces",
            |l| l.sparse_pieces = 2,
            |l| l.sparse_pieces = 1,
            "f /a pax.GNU.sparse.map=\"0,1,2,1\" pax.GNU.sparse.size=\"9\" \"xy\"".into(),
        ),
    ];
    for (name, at, over, text) in cases {
        let run = |set: &Set| {
            let mut limits = Limits::default();
            set(&mut limits);
            Place::new().unpack(&tar(text), Whiteouts::Overlay, limits)
        };
        run(at).unwrap_or_else(|e| panic!("{name} at its limit: {e}"));
        let error = run(over).expect_err(name);
        assert!(
            matches!(error.kind(), ErrorKind::Limit(limit, _) if limit == name),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_huge_header_is_refused_before_it_is_read() {
    for flag in [b'x', b'g', b'L', b'K'] {
        let header = Header::new("x", flag, 1 << 32).bytes();
        let endless = header.chain(std::io::repeat(b'a'));
        let place = Place::new();
        let root = Root::create(&place.root()).expect("root");
        let error = Layer::new(&root).unpack(endless).expect_err("refused");
        assert_eq!(
            error.kind(),
            &ErrorKind::Limit("header_bytes", 1 << 20),
            "{error}"
        );
    }
}

#[test]
fn bombs_end_early() {
    let place = Place::new();
    let mut tar = Header::new("zeros", b'0', 7 << 30).bytes().to_vec();
    tar.extend(std::iter::repeat_n(0, 400 << 20));
    for (codec, bytes) in [
        (Codec::Gzip, gzip(&tar)),
        (Codec::Zstd, zstd::encode_all(&tar[..], 3).expect("zstd")),
    ] {
        let dir = place.root().with_extension(format!("{codec:?}"));
        let root = Root::create(&dir).expect("root");
        let error = Layer::new(&root)
            .codec(codec)
            .unpack(&bytes[..])
            .expect_err("a bomb");
        assert_eq!(
            error.kind(),
            &ErrorKind::Limit("ratio", 500),
            "{codec:?}: {error}"
        );
    }
}

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
    let mut wide = zstd::Encoder::new(Vec::new(), 3).expect("zstd");
    wide.window_log(28).expect("window");
    std::io::Write::write_all(&mut wide, &vec![0; 1 << 20]).expect("zstd");
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
        (
            "zstd with a huge window",
            Codec::Zstd,
            wide.finish().expect("zstd"),
        ),
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
fn the_digest_covers_what_follows_the_archive() {
    let mut bytes = tar("f /a \"1\"");
    bytes.extend_from_slice(&[7; 700_000]);
    let place = Place::new();
    let unpacked = place
        .unpack(&bytes, Whiteouts::Overlay, Limits::default())
        .expect("accepted");
    assert_eq!(unpacked.diff_id, image_spec::Digest::sha256(&bytes));
    assert_eq!((unpacked.bytes, unpacked.entries), (bytes.len() as u64, 1));
}

#[test]
fn damaged_archives_are_refused() {
    let good = tar("f /a fill=3000\nf /b fill=3000");
    assert!(codec(Codec::Plain, &good[..512 + 1000]).is_err(), "cut in a file");
    assert!(
        codec(Codec::Plain, &good[..512 + 3072 + 100]).is_err(),
        "cut in a header"
    );
    let mut sum = good.clone();
    sum[150] ^= 1;
    assert!(codec(Codec::Plain, &sum).is_err(), "a wrong checksum");
    let only_extension = Header::new("x", b'L', 2)
        .bytes()
        .iter()
        .copied()
        .chain(*b"a\0")
        .collect::<Vec<_>>();
    assert!(
        codec(Codec::Plain, &only_extension).is_err(),
        "an extension header of nothing"
    );
}

#[test]
fn swapping_directories_for_links_meanwhile_reaches_nothing_outside() {
    let place = Place::new();
    let before = place.listing_outside();
    let root = Root::create(&place.root()).expect("root");
    let mut text = String::new();
    for i in 0..4000 {
        text.push_str(&format!("f /d{}/sub/f{i} \"x\"\nw /d{}/canary\n", i % 80, i % 80));
    }
    let layer = tar(&text);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: String| place.root().join(name);
            while !done.load(Ordering::Relaxed) {
                for i in 0..80 {
                    let _ = std::fs::rename(at(format!("d{i}")), at(format!("aside{i}")));
                    let _ = std::os::unix::fs::symlink("../outside", at(format!("d{i}")));
                    let _ = std::fs::remove_file(at(format!("d{i}")));
                    let _ = std::fs::rename(at(format!("aside{i}")), at(format!("d{i}")));
                }
            }
        });
        // Whether it succeeds depends on the race; where it writes must not.
        let _ = Layer::new(&root).whiteouts(Whiteouts::Remove).unpack(&layer[..]);
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(place.listing_outside(), before);
}
