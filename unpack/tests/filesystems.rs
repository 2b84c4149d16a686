// SPDX-License-Identifier: Apache-2.0
//! What a file system cannot do is refused in clear words, or done in another way.
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::mounts::Mounted;
use common::{Place, brief, tar};
use fixture::{Dialect, Entry, Kind, Layer};
use unpack::{ErrorKind, Limits, Whiteouts};

#[test]
fn attributes_are_never_lost_in_silence() {
    let Some(fs) = Mounted::ramfs("attributes_are_never_lost_in_silence") else {
        return;
    };
    use Whiteouts::{Overlay, Remove};
    for (mode, text, entry, name) in [
        (Overlay, "f /a x.user.k=\"v\" \"\"", "a", "user.k"),
        (Overlay, "d /a x.user.k=\"v\"", "a", "user.k"),
        (Remove, "d /d\nd /d/a x.user.k=\"v\"", "d/a", "user.k"),
        (
            Overlay,
            "f /a x.security.capability=\"\\x00\\x00\\x00\\x02\\x00\\x20\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\" \"\"",
            "a",
            "security.capability",
        ),
        (Overlay, "l /a -> x x.trusted.k=\"v\"", "a", "trusted.k"),
        (Overlay, "p /a x.security.k=\"v\"", "a", "security.k"),
        (Overlay, "c /a 1:3 x.trusted.k=\"v\"", "a", "trusted.k"),
        (Overlay, "o /a\nf /b \"\"", "a", "trusted.overlay.opaque"),
        (Overlay, "w /a\nd /a\nf /b \"\"", "a", "trusted.overlay.opaque"),
    ] {
        let place = Place::on(Some(&fs.path()));
        let error = place.unpack(&tar(text), mode, Limits::default()).expect_err(text);
        assert_eq!(error.kind(), &ErrorKind::Xattr(name.into()), "{text}: {error}");
        assert_eq!(
            error.to_string(),
            format!(
                "entry `{entry}`: the file system cannot hold an extended attribute, use one that can \
                 (ext4, XFS, Btrfs, tmpfs): `{name}`"
            )
        );
    }
    // All that needs none is as exact as elsewhere.
    let place = Place::on(Some(&fs.path()));
    let text = "d /d 2750 7:8 mtime=-1.5\nf /f 4755 1:2 mtime=1.25 \"1\"\nl /l -> x 0777 3:4 mtime=2.5 x.user.a=\"1\"\n\
                p /p 0600 5:6\nh /h -> /f\nd /gone\nf /gone/x \"\"\n---\nw /gone/x\no /d";
    for layer in common::layers(text, common::Form::Pax).expect("layers") {
        place
            .unpack(&layer, Remove, Limits::default())
            .expect("no attributes");
    }
    let listing = fixture::tree(place.root());
    for line in [
        "./d dir 2750 7:8 -2.500000000\n",
        "./f file 4755 1:2 1 1.250000000 links=2 ",
        "./gone dir 0755 0:0 1700000000.000000000\n",
        "./l link 0777 3:4 2.500000000 ",
        "./p fifo 0600 5:6 ",
    ] {
        assert!(listing.contains(line), "no {line} in\n{listing}");
    }
}

/// So many names of one file that ext4 needs two files for them.
const NAMES: usize = 70_000;
const EXT4_LINKS: u64 = 65_000;

/// Links to `a` from directories of a thousand.
fn links(mut layer: Layer, names: usize) -> Vec<u8> {
    for i in 0..names {
        layer = layer.entry(Entry::new(
            Kind::Hardlink(b"a".to_vec()),
            format!("{}/{i}", i / 1000),
        ));
    }
    layer.tar(Dialect::Pax)
}

/// The inodes that the names have, with their link counts.
fn inodes(root: &Path, names: usize) -> std::collections::BTreeMap<u64, u64> {
    let meta = |i: usize| std::fs::symlink_metadata(root.join(format!("{}/{i}", i / 1000))).expect("a name");
    (0..names)
        .map(meta)
        .map(|meta| (meta.ino(), meta.nlink()))
        .collect()
}

#[test]
fn a_file_has_more_names_than_ext4_allows() {
    let Some(fs) = Mounted::ext4("a_file_has_more_names_than_ext4_allows", 256) else {
        return;
    };
    // 4 KiB in the middle of 8 MiB, to see that holes stay holes.
    let sparse = r#"pax.GNU.sparse.map="4194304,4096" pax.GNU.sparse.size="8388608" fill=4096"#;
    for (kind, text) in [
        (
            "file",
            format!("f /a 4751 5:6 mtime=-1.5 x.user.k=\"v\" {sparse}"),
        ),
        (
            "link",
            "l /a -> anywhere 0777 5:6 mtime=2.25 x.trusted.k=\"v\"".to_owned(),
        ),
        ("char", "c /a 6751 5:6 1:3 mtime=3.5 x.trusted.k=\"v\"".to_owned()),
    ] {
        let place = Place::on(Some(&fs.path()));
        place
            .unpack(
                &links(Layer::parse(&text), NAMES),
                Whiteouts::Overlay,
                Limits::default(),
            )
            .unwrap_or_else(|e| panic!("{kind}: {e}: {:?}", e.io_error()));
        let inodes = inodes(&place.root(), NAMES);
        let mut counts: Vec<u64> = inodes.values().copied().collect();
        counts.sort_unstable();
        assert_eq!(counts, [NAMES as u64 + 1 - EXT4_LINKS, EXT4_LINKS], "{kind}");
        // One of each, but for the count, is like the other.
        let root = place.root();
        let line = |i: usize| {
            let line = fixture::tree(root.join(format!("{}/{i}", i / 1000)));
            let words: Vec<&str> = line.split_whitespace().collect();
            let but_count = words.into_iter().filter(|word| !word.starts_with("links="));
            but_count.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(0), line(NAMES - 1), "{kind}");
        assert!(
            line(0).contains("5:6") && line(0).contains(".k=\"v\""),
            "{kind}: {}",
            line(0)
        );
        if kind == "file" {
            let meta = std::fs::metadata(root.join(format!("69/{}", NAMES - 1))).expect("a copy");
            assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        }
    }
}

#[test]
fn links_beyond_a_file_system_s_number_cost_no_more_than_a_layer_may() {
    let test = "links_beyond_a_file_system_s_number_cost_no_more_than_a_layer_may";
    let Some(fs) = Mounted::ext4(test, 512) else {
        return;
    };
    let (lower, upper) = (tar("f /a fill=67108864"), links(Layer::new(), 65_000));
    for (limit, works) in [(64 << 20, true), ((64 << 20) - 4096, false)] {
        let place = Place::on(Some(&fs.path()));
        place
            .unpack(&lower, Whiteouts::Remove, Limits::default())
            .expect("a large file");
        let mut limits = Limits::default();
        limits.layer_bytes = limit;
        match place.unpack(&upper, Whiteouts::Remove, limits) {
            Ok(_) => assert!(works),
            Err(e) => assert!(
                !works && e.kind() == &ErrorKind::Limit("layer_bytes", limit),
                "{e}"
            ),
        }
    }
}

#[test]
fn links_go_on_when_all_names_of_a_copy_are_gone() {
    let test = "links_go_on_when_all_names_of_a_copy_are_gone";
    let Some(fs) = Mounted::ext4(test, 64) else {
        return;
    };
    // The first 64,999 links fill the file; then one name after the other is a copy and gives way.
    let mut layer = Layer::parse("f /a 0640 \"content\"");
    for i in 0..64_999 {
        layer = layer.entry(Entry::new(
            Kind::Hardlink(b"a".to_vec()),
            format!("{}/{i}", i / 1000),
        ));
    }
    for _ in 0..3 {
        layer = layer
            .entry(Entry::new(Kind::Hardlink(b"a".to_vec()), "x"))
            .entry(Entry::new(Kind::Hardlink(b"a".to_vec()), "y"))
            .entry(Entry::file("x", "new"))
            .entry(Entry::file("y", "new"));
    }
    let layer = layer
        .entry(Entry::new(Kind::Hardlink(b"a".to_vec()), "x"))
        .entry(Entry::new(Kind::Hardlink(b"x".to_vec()), "z"))
        .tar(Dialect::Pax);
    let place = Place::on(Some(&fs.path()));
    place
        .unpack(&layer, Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    let brief = brief(&place.root());
    let ends: Vec<&str> = brief
        .iter()
        .map(String::as_str)
        .filter(|line| !line.contains('/'))
        .collect();
    assert_eq!(ends[ends.len() - 3..], ["f x content", "f y new", "f z content"]);
    let meta = std::fs::metadata(place.root().join("z")).expect("the last");
    assert_eq!((meta.nlink(), meta.mode() & 0o7777), (2, 0o640));
}

#[test]
fn a_time_beyond_what_ext4_holds_is_the_nearest_that_it_does() {
    let Some(fs) = Mounted::ext4("a_time_beyond_what_ext4_holds_is_the_nearest_that_it_does", 32) else {
        return;
    };
    let place = Place::on(Some(&fs.path()));
    place
        .unpack(
            &tar("f /a mtime=-99999999999 \"\"\nd /b mtime=99999999999"),
            Whiteouts::Overlay,
            Limits::default(),
        )
        .expect("a valid layer");
    let mtime = |name| {
        std::fs::metadata(place.root().join(name))
            .expect("a file")
            .mtime()
    };
    assert_eq!((mtime("a"), mtime("b")), (-(1 << 31), (1 << 34) - (1 << 31) - 1));
}

#[test]
fn a_tmpfs_holds_what_ext4_does() {
    let Some(fs) = Mounted::tmpfs("a_tmpfs_holds_what_ext4_does") else {
        return;
    };
    let place = Place::on(Some(&fs.path()));
    let layer = links(Layer::parse("f /a x.user.k=\"v\" \"1\""), NAMES);
    place
        .unpack(&layer, Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    let counts: Vec<u64> = inodes(&place.root(), NAMES).into_values().collect();
    assert_eq!(counts, [NAMES as u64 + 1]);
}
