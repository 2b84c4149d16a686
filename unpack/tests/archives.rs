// SPDX-License-Identifier: Apache-2.0
//! What each dialect of tar can say, and what none may.
#![allow(missing_docs)]

mod common;

use common::{Place, brief, images, lines, tar};
use fixture::{Dialect, Entry, Header, Kind, Layer};
use unpack::{Error, Limits, Unpacked, Whiteouts};

fn unpack(place: &Place, tar: &[u8]) -> Result<Unpacked, Error> {
    place.unpack(tar, Whiteouts::Remove, Limits::default())
}

/// The tree of an archive.
#[track_caller]
fn accepted(tar: &[u8], want: &str) {
    let place = Place::new();
    unpack(&place, tar).unwrap_or_else(|e| panic!("{want}: {e}"));
    assert_eq!(brief(&place.root()), lines(want));
    kept(&place, tar);
}

/// Kept and mounted it must show the tree that it was unpacked to.
#[track_caller]
fn kept(place: &Place, tar: &[u8]) {
    let (dir, done) = place.keep("kept", tar, Limits::default()).expect("a valid layer");
    let folder = dir.parent().expect("a folder");
    let shown = images::merged(&[(dir.clone(), done.notes)], folder, |root| fixture::tree(root));
    assert_eq!(shown.expect("a valid image"), fixture::tree(place.root()), "kept");
}

/// The line of one name in the listing of an archive's tree.
#[track_caller]
fn line(tar: &[u8], name: &str) -> String {
    let place = Place::new();
    unpack(&place, tar).unwrap_or_else(|e| panic!("{name}: {e}"));
    kept(&place, tar);
    let listing = fixture::tree(place.root());
    let start = format!("./{name} ");
    let line = listing.lines().find(|line| line.starts_with(&start));
    line.unwrap_or_else(|| panic!("no {name} in\n{listing}"))
        .to_owned()
}

#[track_caller]
fn refused(tar: &[u8], words: &str) {
    let error = unpack(&Place::new(), tar).expect_err(words).to_string();
    assert!(error.contains(words), "{error}, not {words}");
    let kept = Place::new()
        .keep("kept", tar, Limits::default())
        .expect_err(words)
        .to_string();
    assert_eq!(kept, error, "kept");
}

/// Blocks and data one after the other, each data filled up to whole blocks.
fn archive(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        out.extend_from_slice(part);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

fn file(name: &str, content: &str) -> Vec<u8> {
    archive(&[
        &Header::new(name, b'0', content.len() as u64).bytes(),
        content.as_bytes(),
    ])
}

fn gnu(header: Header) -> Header {
    header.set(257, b"ustar  \0")
}

const NAME: usize = 0;
const MODE: usize = 100;
const UID: usize = 108;
const GID: usize = 116;
const SIZE: usize = 124;
const MTIME: usize = 136;
const FLAG: usize = 156;
const MAGIC: usize = 257;
const MAJOR: usize = 329;
const MINOR: usize = 337;
const PREFIX: usize = 345;

#[test]
fn pax_global_headers_hold_until_an_entry_says_otherwise() {
    let text = r#"
        g mtime="5.5" uid="7" SCHILY.xattr.user.all="1"
        f /a "1"
        f /b pax.mtime="6" pax.uid="8" pax.SCHILY.xattr.user.all="" "2"
        f /c pax.uid="" "3"
        g uid="9"
        f /d "4"
    "#;
    let tar = tar(text);
    for (name, want) in [
        (
            "a",
            "0644 7:0 1 5.500000000 links=1 sha256:6b86b273ff34fce1 user.all=\"1\"",
        ),
        ("b", "0644 8:0 1 6.000000000 links=1 sha256:d4735e3a265e16ee"),
        (
            "c",
            "0644 0:0 1 5.500000000 links=1 sha256:4e07408562bedb8b user.all=\"1\"",
        ),
        (
            "d",
            "0644 9:0 1 5.500000000 links=1 sha256:4b227777d4dd1fc6 user.all=\"1\"",
        ),
    ] {
        assert_eq!(line(&tar, name), format!("./{name} file {want}"));
    }
    // One that nothing follows says nothing.
    accepted(&common::tar("f /a \"1\"\ng comment=\"x\""), "f a 1");
}

#[test]
fn several_pax_headers_of_an_entry_add_up() {
    let record = |text: &[u8]| archive(&[&Header::new("x", b'x', text.len() as u64).bytes(), text]);
    let first = record(b"8 uid=1\n8 gid=2\n25 SCHILY.xattr.user.a=1\n");
    assert!(unpack(&Place::new(), &first).is_err(), "nothing follows");
    let first = record(b"8 uid=1\n8 gid=2\n");
    let second = record(b"8 uid=3\n");
    let tar = [first, second, file("a", "1")].concat();
    assert!(line(&tar, "a").starts_with("./a file 0644 3:2 1"));
    let global = archive(&[&Header::new("x", b'g', 8).bytes(), b"8 uid=1\n"]);
    refused(
        &[record(b"8 uid=3\n"), global, file("a", "1")].concat(),
        "a global header stands between",
    );
}

#[test]
fn the_nearest_name_wins() {
    let long = |flag, name: &[u8]| {
        archive(&[
            &gnu(Header::new("././@LongLink", flag, name.len() as u64)).bytes(),
            name,
        ])
    };
    let pax = |text: &[u8]| archive(&[&Header::new("x", b'x', text.len() as u64).bytes(), text]);
    // As Go's reader, and so containerd, podman and umoci, have it.
    accepted(
        &[long(b'L', b"long\0"), pax(b"12 path=pax\n"), file("short", "1")].concat(),
        "f long 1",
    );
    accepted(
        &[pax(b"12 path=pax\n"), long(b'L', b"long\0"), file("short", "1")].concat(),
        "f long 1",
    );
    accepted(&[pax(b"12 path=pax\n"), file("short", "1")].concat(), "f pax 1");
    accepted(
        &[long(b'L', b"first\0"), long(b'L', b"last"), file("short", "1")].concat(),
        "f last 1",
    );
    let link = |header: Header| archive(&[&header.link("short").bytes()]);
    accepted(
        &[
            long(b'K', b"long\0"),
            pax(b"16 linkpath=pax\n"),
            link(Header::new("l", b'2', 0)),
        ]
        .concat(),
        "l l -> long",
    );
    // A sparse file's own name wins over the one that readers without sparse files see.
    let text = b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n21 GNU.sparse.size=3\n24 GNU.sparse.name=real\n26 GNU.sparse.map=0,1,2,1\n13 path=fake\n";
    accepted(
        &[pax(text), long(b'L', b"long\0"), file("short", "xy")].concat(),
        "f real x\\x00y",
    );
}

#[test]
fn numbers_are_read_as_widely_as_go_and_gnu_tar_read_them() {
    let header = || Header::new("a", b'0', 0);
    for (what, header, want) in [
        ("blanks before", header().set(MODE, b"   755 \0"), "0755 0:0 0 0."),
        (
            "blanks and NUL around",
            header().set(UID, b"\0 12  \0\0"),
            "0644 10:0 0 0.",
        ),
        ("no end", header().set(GID, b"00000017"), "0644 0:15 0 0."),
        (
            "nothing",
            header().set(MODE, &[0; 8]).set(UID, b"        "),
            "0000 0:0 0 0.",
        ),
        (
            "something behind the end",
            header().set(MODE, b"644\0junk"),
            "0644 0:0 0 0.",
        ),
        (
            "a file type in the mode",
            header().octal(MODE, 8, 0o100_600),
            "0600 0:0 0 0.",
        ),
        (
            "base 256",
            header().binary(UID, 8, 4_000_000_000),
            "0644 4000000000:0 0 0.",
        ),
        (
            "base 256 before 1970",
            header().binary(MTIME, 12, -2),
            "0644 0:0 0 -2.",
        ),
        (
            "eleven digits",
            header().set(MTIME, b"77777777777\0"),
            "0644 0:0 0 8589934591.",
        ),
        (
            "twelve digits",
            header().set(MTIME, b"100000000000"),
            "0644 0:0 0 8589934592.",
        ),
    ] {
        let line = line(&header.bytes(), "a");
        assert!(line.starts_with(&format!("./a file {want}")), "{what}: {line}");
    }
    for (what, header, words) in [
        (
            "no octal digit",
            header().set(MODE, b"0000648\0"),
            "no octal number",
        ),
        ("a letter", header().set(UID, b"12x\0\0\0\0\0"), "no octal number"),
        ("a sign", header().set(UID, b"-1\0\0\0\0\0\0"), "no octal number"),
        (
            "an owner below 0",
            header().binary(UID, 8, -1),
            "owner is out of range",
        ),
        (
            "the owner that means none",
            header().binary(GID, 8, 4_294_967_295),
            "owner is out of range",
        ),
        (
            "a size below 0",
            header().binary(SIZE, 12, -1),
            "size is negative",
        ),
        (
            "a size of 2^63",
            header().set(SIZE, b"\x80\0\0\0\x80\0\0\0\0\0\0\0"),
            "out of range",
        ),
        (
            "a time of 95 bits",
            header().set(MTIME, b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            "out of range",
        ),
    ] {
        let error = unpack(&Place::new(), &header.bytes()).expect_err(what);
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
}

#[test]
fn the_sum_of_a_header_may_be_of_signed_bytes() {
    let mut block = Header::new("\u{e9}", b'0', 0).bytes();
    block[148..156].fill(b' ');
    let sum: i32 = block.iter().map(|b| i32::from(b.cast_signed())).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    accepted(&block, "f \\xc3\\xa9");
    block[148] ^= 1;
    refused(&block, "checksum is wrong");
}

#[test]
fn prefixes_belong_to_the_forms_that_have_them() {
    let header = || Header::new("f", b'0', 0).set(PREFIX, b"p/q");
    let tree = "d p\nd p/q\nf p/q/f";
    accepted(&header().bytes(), tree);
    accepted(&header().set(MAGIC, b"ustar\0\0\0").bytes(), tree);
    accepted(&header().set(MAGIC, b"ustar\0  ").bytes(), tree);
    // Before ustar there was nothing there, and GNU has times and maps there.
    accepted(&header().set(MAGIC, &[0; 8]).bytes(), "f f");
    let times = gnu(Header::new("f", b'0', 0))
        .octal(PREFIX, 12, 7)
        .octal(357, 12, 7);
    accepted(&times.bytes(), "f f");
    // Go's writer before 1.8 put a prefix there too.
    accepted(&gnu(header()).bytes(), tree);
    // star's prefix ends where its times begin.
    let long = "p".repeat(131);
    let star = Header::new("f", b'0', 0)
        .set(PREFIX, long.as_bytes())
        .octal(476, 12, 7)
        .octal(488, 12, 7)
        .set(508, b"tar\0");
    accepted(&star.bytes(), &format!("d {long}\nf {long}/f"));
    let full = Header::new("n".repeat(100), b'0', 0).set(PREFIX, "p".repeat(155).as_bytes());
    accepted(
        &full.bytes(),
        &format!("d {p}\nf {p}/{n}", p = "p".repeat(155), n = "n".repeat(100)),
    );
    accepted(&Header::new("back\\slash", b'0', 0).bytes(), "f back\\\\slash");
}

#[test]
fn types_are_what_other_readers_take_them_for() {
    accepted(&Header::new("a", 0, 0).bytes(), "f a");
    accepted(&Header::new("a", b'7', 0).bytes(), "f a");
    // A slash makes a directory only where the archive has no other way to say it.
    accepted(&Header::new("a/", 0, 0).bytes(), "d a");
    accepted(&Header::new("a/", b'0', 0).bytes(), "f a");
    accepted(&Header::new("a/", b'5', 0).bytes(), "d a");
    // Links, devices and directories have no data, whatever their size says.
    for flag in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let entry = Header::new("b", flag, 512)
            .link("a")
            .octal(MAJOR, 8, 1)
            .octal(MINOR, 8, 3);
        let tar = [file("a", "1"), entry.bytes(), file("c", "2")].concat();
        let place = Place::new();
        assert_eq!(unpack(&place, &tar).expect("valid").entries, 3);
    }
    for flag in [b'A', b'D', b'M', b'N', b'V', b'X', b'8', b'9', 0xff] {
        refused(&Header::new("a", flag, 0).bytes(), "no known type");
    }
    refused(&Header::new("a", b'2', 0).bytes(), "a link has no target");
    refused(&Header::new("a", b'1', 0).bytes(), "a link has no target");
}

#[test]
fn device_numbers_are_those_of_the_kernel() {
    let device = |major, minor| {
        Header::new("a", b'3', 0)
            .octal(MAJOR, 8, major)
            .octal(MINOR, 8, minor)
    };
    assert!(line(&device(0xfff, 0xfffff).bytes(), "a").starts_with("./a char 0644 0:0 4095:1048575 "));
    // Cut to the kernel's width these would be 0:0, which overlayfs takes for a whiteout.
    for header in [
        device(0x1000, 0),
        device(0, 0x10_0000),
        device(1, 3).binary(MAJOR, 8, -1),
    ] {
        refused(&header.bytes(), "device number is out of range");
    }
    refused(
        &device(1, 3).set(MAGIC, &[0; 8]).bytes(),
        "a device has no numbers",
    );
}

#[test]
fn archives_end_in_several_ways() {
    let (a, b) = (file("a", "1"), file("b", "2"));
    let zeros = [0; 1024];
    for (what, tar) in [
        ("two blocks of zeros", [&a[..], &zeros].concat()),
        ("one", [&a[..], &zeros[..512]].concat()),
        ("less than one", [&a[..], &zeros[..100]].concat()),
        ("none", a.clone()),
        ("no padding", a[..513].to_vec()),
        ("anything behind the end", [&a[..], &zeros, &b].concat()),
    ] {
        let place = Place::new();
        unpack(&place, &tar).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(brief(&place.root()), ["f a 1"], "{what}");
    }
    accepted(b"", "");
    refused(
        &[&a[..], &zeros[..512], &b].concat(),
        "a block of zeros stands between entries",
    );
    refused(&[&a[..], &b[..100]].concat(), "ends inside a header");
    refused(&file("a", &"x".repeat(600))[..1000], "ends inside an entry");
    refused(
        &archive(&[&Header::new("x", b'x', 9).bytes(), b"9 uid=12\n"]),
        "ends after an extension header",
    );
    refused(&[7; 512], "no octal number");
}

#[test]
fn pax_records_that_say_nothing_sure_are_refused() {
    let pax = |text: &[u8]| {
        [
            archive(&[&Header::new("x", b'x', text.len() as u64).bytes(), text]),
            file("a", "1"),
        ]
        .concat()
    };
    accepted(&pax(b"9 uid=12\n\0\0\0\0"), "f a 1");
    accepted(
        &pax(b"8 path=\n13 linkpath=\n8 size=\n7 uid=\n9 mtime=\n"),
        "f a 1",
    );
    for text in [
        &b"12 path=a\n"[..],
        b"10 path a\n",
        b"8 path=a\n",
        b"5 =a\n\n",
        b" 10 path=a\n",
        b"+10 path=a\n",
        b"010 path=a",
        b"11 path=a\0\n",
        b"15 linkpath=\0\n\n",
        b"11 u\0id=12\n",
        b"13 mtime=1x\n",
        b"11 mtime=.\n",
        b"11 size=-1\n",
        b"12 size=1.5\n",
        b"11 uid=4x2\n",
        b"10 uid=-1\n",
        b"18 uid=4294967295\n",
        b"31 uid=99999999999999999999999\n",
    ] {
        assert!(
            unpack(&Place::new(), &pax(text)).is_err(),
            "{}",
            text.escape_ascii()
        );
    }
}

/// A file of 4 MiB with 4,096 bytes at 1 MiB and the last byte, in every form of sparse files.
#[test]
fn sparse_files_keep_their_holes() {
    use std::os::unix::fs::MetadataExt;
    const FULL: u64 = 4 << 20;
    let data = "D".repeat(4096) + "E";
    let with = |content: Vec<u8>, records: &[(&str, &str)]| {
        let mut entry = Entry::new(Kind::File(content), "GNUSparseFile.0/s");
        for (key, value) in records {
            entry
                .pax
                .push((key.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        Layer::new().entry(entry).tar(Dialect::Pax)
    };
    let old = |extended: bool| {
        let mut header = gnu(Header::new("s", b'S', 4097)).octal(483, 12, FULL);
        let slots = [(1 << 20, 4096), (FULL - 1, 1), (FULL, 0)];
        let inline = if extended { 1 } else { 3 };
        for (i, (offset, length)) in slots.iter().take(inline).enumerate() {
            header = header
                .octal(386 + 24 * i, 12, *offset)
                .octal(398 + 24 * i, 12, *length);
        }
        let mut table = [0u8; 512];
        for (i, (offset, length)) in slots.iter().skip(inline).enumerate() {
            table[24 * i..][..24].copy_from_slice(format!("{offset:011o}\0{length:011o}\0").as_bytes());
        }
        match extended {
            false => archive(&[&header.bytes(), data.as_bytes()]),
            true => archive(&[&header.set(482, b"\x01").bytes(), &table, data.as_bytes()]),
        }
    };
    let map = format!("{:\0<512}", "2\n1048576\n4096\n4194303\n1\n");
    for (form, tar) in [
        ("old GNU", old(false)),
        ("old GNU, extended", old(true)),
        (
            "PAX 0.0",
            with(
                data.clone().into(),
                &[
                    ("path", "s"),
                    ("GNU.sparse.size", "4194304"),
                    ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.offset", "1048576"),
                    ("GNU.sparse.numbytes", "4096"),
                    ("GNU.sparse.offset", "4194303"),
                    ("GNU.sparse.numbytes", "1"),
                ],
            ),
        ),
        (
            "PAX 0.1",
            with(
                data.clone().into(),
                &[
                    ("GNU.sparse.name", "s"),
                    ("GNU.sparse.size", "4194304"),
                    ("GNU.sparse.numblocks", "2"),
                    ("GNU.sparse.map", "1048576,4096,4194303,1"),
                ],
            ),
        ),
        (
            "PAX 1.0",
            with(
                (map + &data).into(),
                &[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "s"),
                    ("GNU.sparse.realsize", "4194304"),
                ],
            ),
        ),
    ] {
        let place = Place::new();
        unpack(&place, &tar).unwrap_or_else(|e| panic!("{form}: {e}"));
        assert_eq!(brief(&place.root()).len(), 1, "{form}");
        let path = place.root().join("s");
        let meta = std::fs::metadata(&path).expect("the file");
        assert_eq!(meta.len(), FULL, "{form}");
        assert!(meta.blocks() * 512 < 1 << 20, "{form}: {} blocks", meta.blocks());
        let content = std::fs::read(path).expect("content");
        let mut want = vec![0; FULL as usize];
        want[1 << 20..][..4096].fill(b'D');
        want[FULL as usize - 1] = b'E';
        assert!(content == want, "{form}");
    }
    let hole = [
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.size", "9"),
        ("GNU.sparse.numblocks", "0"),
        ("GNU.sparse.map", ""),
    ];
    assert!(line(&with(Vec::new(), &hole), "s").starts_with("./s file 0644 0:0 9 "));
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for (map, size, content, words) in [
        ("0,1,0,1", "9", "xy", "overlap"),
        ("5,1,2,1", "9", "xy", "overlap"),
        ("8,2", "9", "xy", "beyond its file"),
        ("0,1", "9", "xy", "more or less than its entry"),
        ("0,3", "9", "xy", "more or less than its entry"),
        ("1,18446744073709551615", "9", "xy", "overflows"),
        ("0,1,2", "9", "xy", "ends with an offset"),
        ("0,a", "9", "xy", "no number"),
        ("0,2", "-9", "xy", "no number"),
    ] {
        let text = format!("f /a pax.GNU.sparse.map=\"{map}\" pax.GNU.sparse.size=\"{size}\" \"{content}\"");
        refused(&tar(&text), words);
    }
    refused(&tar("f /a pax.GNU.sparse.map=\"0,1\" \"x\""), "has no size");
    refused(
        &tar(
            "f /a pax.GNU.sparse.map=\"0,1\" pax.GNU.sparse.numblocks=\"2\" pax.GNU.sparse.size=\"1\" \"x\"",
        ),
        "more or fewer pieces",
    );
    refused(
        &tar("f /a pax.GNU.sparse.major=\"2\" pax.GNU.sparse.minor=\"0\" \"x\""),
        "no known version",
    );
    let one = "pax.GNU.sparse.major=\"1\" pax.GNU.sparse.minor=\"0\" pax.GNU.sparse.realsize=\"9\"";
    refused(&tar(&format!("f /a {one} \"1\\n0\\n\"")), "sparse map");
    refused(
        &tar(&format!("f /a {one} \"{}\"", "1".repeat(600))),
        "line is too long",
    );
    refused(&Header::new("a", b'S', 0).bytes(), "not of GNU's form");
    let cut = gnu(Header::new("a", b'S', 0)).octal(483, 12, 0).set(482, b"\x01");
    refused(&cut.bytes(), "a sparse map is cut");
}

#[test]
fn a_pax_size_overrides_the_header_s_for_the_entry_alone() {
    // CVE-2025-62518: a reader that takes the header's size finds an entry in the file's content.
    let inner = tar("f /smuggled \"x\"");
    let mut entry = Entry::file("outer", inner.clone());
    let size = inner.len().to_string().into_bytes();
    entry.pax.push((b"size".to_vec(), size.clone()));
    entry.size = Some(0);
    let layer = Layer::new().entry(entry).tar(Dialect::Pax);
    let place = Place::new();
    unpack(&place, &layer).expect("valid");
    assert_eq!(std::fs::read(place.root().join("outer")).expect("outer"), inner);
    assert!(!place.root().join("smuggled").exists());
    // The record is not the long name's size, which stands between it and the entry.
    let text = [b"13 size=".as_slice(), &size, b"\n"].concat();
    let pax = archive(&[&Header::new("x", b'x', text.len() as u64).bytes(), &text]);
    let name = archive(&[&gnu(Header::new("././@LongLink", b'L', 6)).bytes(), b"outer\0"]);
    let entry = archive(&[&Header::new("short", b'0', 0).bytes(), &inner]);
    let place = Place::new();
    unpack(&place, &[pax, name, entry].concat()).expect("valid");
    assert_eq!(std::fs::read(place.root().join("outer")).expect("outer"), inner);
    assert!(!place.root().join("smuggled").exists());
}

#[test]
fn names_that_no_file_system_holds_are_errors() {
    let long = "n".repeat(256);
    assert!(unpack(&Place::new(), &tar(&format!("f /{long} \"\""))).is_err());
    assert!(unpack(&Place::new(), &tar(&format!("l /a -> {}", "t".repeat(4096)))).is_err());
    accepted(
        &tar(&format!("l /a -> {}", "t".repeat(4095))),
        &format!("l a -> {}", "t".repeat(4095)),
    );
    // A path may be longer than the kernel takes at once.
    let deep = ["d"; 3000].join("/");
    let place = Place::new();
    unpack(&place, &tar(&format!("f /{deep}/f \"1\""))).expect("a deep file");
    let mut at = place.root();
    at.push(["d"; 1000].join("/"));
    assert!(at.is_dir());
    let header = Header::new("a", b'0', 0).set(NAME, b"a\0b").set(FLAG, b"0");
    accepted(&header.bytes(), "f a");
}
