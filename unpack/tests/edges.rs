// SPDX-License-Identifier: Apache-2.0
//! Entries at the edges of what the kernel and file systems take, in both forms.
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::MetadataExt;

use common::{Place, brief, layers, lines, tar};
use fixture::Header;
use unpack::{ErrorKind, Limits, Whiteouts};

const MODES: [Whiteouts; 2] = [Whiteouts::Overlay, Whiteouts::Remove];

const NAME: usize = 255;
const MAJOR: usize = 329;
const MINOR: usize = 337;

/// The tree that comes of one archive, in both forms.
#[track_caller]
fn accepted(tar: &[u8], want: &str) {
    for mode in MODES {
        let place = Place::new();
        place
            .unpack(tar, mode, Limits::default())
            .unwrap_or_else(|e| panic!("{mode:?}: {want}: {e}: {:?}", e.io_error()));
        assert_eq!(brief(&place.root()), lines(want), "{mode:?}");
    }
}

/// The archive is refused with these words in both forms, and nothing is made.
#[track_caller]
fn refused(tar: &[u8], words: &str) {
    for mode in MODES {
        let place = Place::new();
        let error = place.unpack(tar, mode, Limits::default()).expect_err(words);
        assert!(error.to_string().contains(words), "{mode:?}: {error}");
        assert!(brief(&place.root()).is_empty(), "{mode:?}: {words}");
    }
}

/// The kernel finds the name too long; the error tells of which entry.
#[track_caller]
fn too_long(text: &str) {
    for mode in MODES {
        let error = Place::new()
            .unpack(&tar(text), mode, Limits::default())
            .expect_err("a long name");
        assert!(matches!(error.kind(), ErrorKind::Io(_)), "{mode:?}: {error}");
        assert!(error.entry().is_some(), "{mode:?}: {error}");
        let cause = error.io_error().expect("a cause").raw_os_error();
        assert_eq!(
            cause,
            Some(nix::errno::Errno::ENAMETOOLONG as i32),
            "{mode:?}: {error}"
        );
    }
}

#[test]
fn device_numbers_that_the_kernel_would_cut_are_refused() {
    let device = |kind, major, minor| {
        Header::new("a", kind, 0)
            .binary(MAJOR, 8, major)
            .binary(MINOR, 8, minor)
            .bytes()
    };
    for kind in [b'3', b'4'] {
        for (major, minor) in [
            (0x1000, 0),
            (0, 0x10_0000),
            (0x1000, 0x10_0000),
            (1 << 32, 0),
            (0, 1 << 32),
            (0, i64::MAX),
            (-1, 0),
            (0, -1),
        ] {
            refused(&device(kind, major, minor), "device number is out of range");
        }
    }
    for mode in MODES {
        let place = Place::new();
        place
            .unpack(&device(b'3', 0xfff, 0xf_ffff), mode, Limits::default())
            .expect("the largest");
        let meta = std::fs::symlink_metadata(place.root().join("a")).expect("a device");
        assert_eq!(meta.rdev(), nix::sys::stat::makedev(0xfff, 0xf_ffff), "{mode:?}");
    }
    // Of these two, overlayfs takes the first for a whiteout and the second for what it is.
    accepted(&device(b'3', 0, 0), "");
    accepted(&device(b'4', 0, 0), "c a 0:0");
}

#[test]
fn names_have_255_bytes_and_no_more() {
    let (most, more) = ("n".repeat(NAME), "n".repeat(NAME + 1));
    accepted(&tar(&format!("f /{most} \"1\"")), &format!("f {most} 1"));
    accepted(
        &tar(&format!("f /a \"1\"\nh /{most} -> /a\nl /l -> {more}")),
        &format!("f a 1\nl l -> {more}\nf {most} 1"),
    );
    for text in [
        format!("f /{more} \"\""),
        format!("d /{more}"),
        format!("f /{more}/a \"\""),
        format!("l /{more} -> a"),
        format!("p /{more}"),
        format!("c /{more} 1:3"),
        format!("f /a \"\"\nh /{more} -> /a"),
        format!("h /a -> /{more}"),
        format!("h /a -> /{more}/b"),
        format!("l /l -> {more}\nf /l/a \"\""),
        format!("f /a/b \"\"\nf /a/{more} \"\""),
        format!("w /{more}"),
        format!("o /{more}"),
    ] {
        too_long(&text);
    }
    // The name of a whiteout is longer than what it hides.
    let text = format!("f /{most} \"1\"\nf /a \"2\"\n---\nw /{most}");
    let place = Place::new();
    for layer in layers(&text, common::Form::Pax).expect("layers") {
        place
            .unpack(&layer, Whiteouts::Remove, Limits::default())
            .expect("a whiteout");
    }
    assert_eq!(brief(&place.root()), ["f a 2"]);
}

#[test]
fn the_targets_of_links_have_4095_bytes_and_no_more() {
    let most = "t".repeat(4095);
    accepted(&tar(&format!("l /a -> {most}")), &format!("l a -> {most}"));
    too_long(&format!("l /a -> {most}t"));
    // Of a hard link's target only the parts are given to the kernel.
    let deep = ["d"; 3000].join("/");
    for mode in MODES {
        let place = Place::new();
        let text = format!("f /{deep}/f \"1\"\nh /a -> /{deep}/f");
        place
            .unpack(&tar(&text), mode, Limits::default())
            .expect("a deep target");
        let meta = std::fs::metadata(place.root().join("a")).expect("a link");
        assert_eq!(meta.nlink(), 2, "{mode:?}");
    }
}

#[test]
fn a_pax_size_of_a_sparse_file_is_that_of_its_pieces() {
    let pax = |text: &str| {
        let mut tar = Header::new("x", b'x', text.len() as u64).bytes();
        tar.extend_from_slice(text.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
        tar
    };
    let data = |header: Header, data: &str| {
        let mut tar = header.bytes();
        tar.extend_from_slice(data.as_bytes());
        tar.resize(tar.len().next_multiple_of(512), 0);
        tar
    };
    let next = data(Header::new("next", b'0', 1), "N");
    let one = format!("{:\0<512}xy", "2\n0\n1\n2\n1\n");
    let old = Header::new("s", b'S', 0)
        .set(257, b"ustar  \0")
        .octal(483, 12, 3)
        .octal(386, 12, 0)
        .octal(398, 12, 1)
        .octal(410, 12, 2)
        .octal(422, 12, 1);
    for (form, tar) in [
        (
            "0.1",
            [
                pax(
                    "10 size=2\n21 GNU.sparse.size=3\n26 GNU.sparse.numblocks=2\n26 GNU.sparse.map=0,1,2,1\n",
                ),
                data(Header::new("s", b'0', 0), "xy"),
            ],
        ),
        (
            "1.0",
            [
                pax("12 size=514\n22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n25 GNU.sparse.realsize=3\n"),
                data(Header::new("s", b'0', 0), &one),
            ],
        ),
        ("old GNU", [pax("10 size=2\n"), data(old, "xy")]),
    ] {
        let tar = [tar.concat(), next.clone()].concat();
        for mode in MODES {
            let place = Place::new();
            place
                .unpack(&tar, mode, Limits::default())
                .unwrap_or_else(|e| panic!("{form}: {e}"));
            assert_eq!(brief(&place.root()), ["f next N", "f s x\\x00y"], "{form}");
        }
    }
}

/// An access list of the owner, another user, the group, the mask and all others.
const LIST: &str = r"\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\x05\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff";

#[test]
fn access_lists_are_attributes_like_others() {
    for mode in MODES {
        let place = Place::new();
        let key = "x.system.posix_acl_access";
        let text = format!(
            "f /f 4670 7:8 {key}=\"{LIST}\" \"1\"\nd /d 2670 7:8 {key}=\"{LIST}\" x.system.posix_acl_default=\"{LIST}\"\n\
             f /d/f 0600 \"2\"\np /p 0670 {key}=\"{LIST}\""
        );
        place
            .unpack(&tar(&text), mode, Limits::default())
            .expect("a valid layer");
        let listing = fixture::tree(place.root());
        for (line, lists) in [
            ("./f file 4670 7:8 1 ", 1),
            ("./d dir 2670 7:8 ", 2),
            ("./d/f file 0600 0:0 1 ", 0),
            ("./p fifo 0670 0:0 ", 1),
        ] {
            let found = listing.lines().find(|l| l.starts_with(line));
            let found = found.unwrap_or_else(|| panic!("no {line} in\n{listing}"));
            assert_eq!(found.matches("posix_acl").count(), lists, "{found}");
        }
        // Links have none, and files give none to what is in them.
        for text in [
            format!("l /l -> x {key}=\"{LIST}\""),
            format!("f /f x.system.posix_acl_default=\"{LIST}\" \"\""),
            format!("f /f {key}=\"no list\" \"\""),
        ] {
            let error = Place::new()
                .unpack(&tar(&text), mode, Limits::default())
                .expect_err("no list");
            assert!(error.to_string().contains("extended attribute"), "{error}");
        }
    }
}

#[test]
fn a_hard_link_has_what_its_file_s_entry_says() {
    for mode in MODES {
        let place = Place::new();
        let text = "f /a 0640 1:2 mtime=3 x.user.k=\"a\" \"1\"\nh /b -> /a 4777 5:6 mtime=7 x.user.k=\"b\"";
        place
            .unpack(&tar(text), mode, Limits::default())
            .expect("a valid layer");
        let listing = fixture::tree(place.root());
        let same = "file 0640 1:2 1 3.000000000 links=2 ";
        assert_eq!(listing.matches(same).count(), 2, "{listing}");
        assert_eq!(listing.matches("user.k=\"a\"").count(), 2, "{listing}");
    }
}

#[test]
fn times_at_the_ends_of_all_numbers_are_no_errors() {
    let times = ["9223372036854775807.999999999", "-9223372036854775807.999999999"];
    for time in times {
        let text = format!(
            "f /f pax.mtime=\"{time}\" \"\"\nd /d pax.mtime=\"{time}\"\nl /l -> x pax.mtime=\"{time}\"\np /p pax.mtime=\"{time}\""
        );
        accepted(&tar(&text), "d d\nf f\nl l -> x\np p");
    }
    refused(&tar("f /f pax.mtime=\"9223372036854775808\" \"\""), "no time");
}
