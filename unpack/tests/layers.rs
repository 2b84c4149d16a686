// SPDX-License-Identifier: Apache-2.0
//! What layers mean: each case is layers as text and the tree that must come out.
#![allow(missing_docs)]

mod common;

use common::{Place, brief, layers, lines, tar};
use fixture::{Dialect, Entry, Kind};
use unpack::{Limits, Notes, Whiteouts};

/// Applies layers to one tree, in each dialect that can hold them.
#[track_caller]
fn check(text: &str, want: &str) {
    for dialect in [Dialect::Pax, Dialect::Gnu] {
        let place = Place::new();
        for layer in layers(text, dialect) {
            place
                .unpack(&layer, Whiteouts::Remove, Limits::default())
                .expect("valid layers");
        }
        assert_eq!(brief(&place.root()), lines(want), "{dialect:?}");
    }
}

/// Unpacks one layer for overlayfs and gives its notes.
#[track_caller]
fn overlay(text: &str, want: &str) -> Notes {
    let place = Place::new();
    let unpacked = place
        .unpack(&tar(text), Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    assert_eq!(brief(&place.root()), lines(want));
    unpacked.notes
}

fn names(paths: &[Vec<u8>]) -> Vec<String> {
    paths.iter().map(|p| p.escape_ascii().to_string()).collect()
}

#[test]
fn every_kind_of_entry_is_made() {
    check(
        "d /a\nf /a/f \"x\"\nl /a/l -> f\nh /a/h -> /a/f\np /a/p\nc /a/null 0666 1:3\nb /a/loop 0660 7:7",
        "d a\nf a/f x\nf a/h x\nl a/l -> f\nc a/loop 7:7\nc a/null 1:3\np a/p",
    );
}

#[test]
fn metadata_is_exact_on_every_kind() {
    let place = Place::new();
    let layer = tar(r#"
        d /d 2750 7:8 mtime=-1.5 x.user.d="on a directory"
        d /closed 0500 0:0 mtime=1.000000001
        f /closed/f 4755 3000000:4000000000 mtime=1700000000.123456789 x.user.a="\x00\n=\xff" x.security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        f /zero 0000 0:0 mtime=8589934602
        l /l -> d 0777 5:6 mtime=2.25
        p /p 0600 1:2 mtime=3.5
        c /c 6666 3:4 1:3 mtime=-0.75
    "#);
    place
        .unpack(&layer, Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    let listing = fixture::tree(place.root());
    for want in [
        ". dir 0755 0:0 0.000000000",
        "./d dir 2750 7:8 -2.500000000 user.d=\"on a directory\"",
        "./closed dir 0500 0:0 1.000000001",
        "./closed/f file 4755 3000000:4000000000 0 1700000000.123456789 links=1 sha256:e3b0c44298fc1c14 \
         security.capability=\"\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\" \
         user.a=\"\\x00\\n=\\xff\"",
        "./zero file 0000 0:0 0 8589934602.000000000 links=1 sha256:e3b0c44298fc1c14",
        "./l link 0777 5:6 2.250000000 links=1 -> d",
        "./p fifo 0600 1:2 3.500000000 links=1",
        "./c char 6666 3:4 1:3 -1.250000000 links=1",
    ] {
        assert!(
            listing.lines().any(|line| line == want),
            "no line {want} in\n{listing}"
        );
    }
}

#[test]
fn names_are_bytes_of_any_length() {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(255));
    check(
        &format!(
            "f \"/\\xff\\xfe\" \"x\"\nf \"/ sp ace \" \"\"\nf \"/new\\nline\" \"\"\nf /{long} \"y\"\nl /l -> {}",
            "t".repeat(300)
        ),
        &format!(
            "f  sp ace \nd {d}\nf {long} y\nl l -> {t}\nf new\\nline\nf \\xff\\xfe x",
            d = "d".repeat(200),
            t = "t".repeat(300)
        )
        .replace("f  sp ace \n", "f  sp ace\n"),
    );
}

#[test]
fn the_root_has_three_names() {
    for name in ["./", "/", "."] {
        let place = Place::new();
        let mut entry = Entry::directory("x");
        entry.name = name.into();
        entry.mode = 0o711;
        let layer = fixture::Layer::new().entry(entry).tar(Dialect::Pax);
        place
            .unpack(&layer, Whiteouts::Overlay, Limits::default())
            .expect("a root entry");
        assert!(
            fixture::tree(place.root()).starts_with(". dir 0711 0:0 1700000000"),
            "{name}"
        );
    }
}

#[test]
fn names_may_start_with_a_slash_or_a_dot() {
    check(
        "f //a \"1\"\nf ./b \"2\"\nf .//./c//d \"3\"",
        "f a 1\nf b 2\nd c\nf c/d 3",
    );
}

#[test]
fn the_last_of_a_name_wins_whatever_it_was() {
    check("f /a \"1\"\nf /a \"2\"", "f a 2");
    check("d /a\nf /a/x \"\"\nf /a \"file\"", "f a file");
    check("f /a \"1\"\nd /a\nf /a/x \"2\"", "d a\nf a/x 2");
    check("l /a -> b\nd /a\nd /b\nf /a/x \"1\"", "d a\nf a/x 1\nd b");
    check("d /a\nl /a -> b\nd /b\nf /a/x \"1\"", "l a -> b\nd b\nf b/x 1");
    check("f /a \"1\"\nf /a/x \"2\"", "d a\nf a/x 2");
    check("f /a \"1\"\nh /b -> /a\nf /a \"2\"", "f a 2\nf b 1");
    check("f /a \"1\"\nf /b \"2\"\nh /b -> /a", "f a 1\nf b 1");
    check("p /a\nc /a 1:3\nl /a -> x", "l a -> x");
}

#[test]
fn a_layer_replaces_what_lower_ones_made() {
    check("d /a\nf /a/x \"1\"\n---\nf /a \"2\"", "f a 2");
    check("f /a \"1\"\n---\nd /a\nf /a/x \"2\"", "d a\nf a/x 2");
    check("d /b\nl /a -> b\n---\nd /a\nf /a/x \"2\"", "d a\nf a/x 2\nd b");
    check("f /b \"1\"\nl /a -> b\n---\nf /a \"2\"", "f a 2\nf b 1");
    check(
        "d /a\nf /a/x \"1\"\n---\nd /a 0700\nf /a/y \"2\"",
        "d a\nf a/x 1\nf a/y 2",
    );
    check("f /a \"1\"\nh /b -> /a\n---\nf /a \"2\"", "f a 2\nf b 1");
}

#[test]
fn a_link_among_the_parents_counts_only_within_its_layer() {
    // In its own layer it leads on, inside the root.
    check(
        "l /lib -> usr/lib\nf /lib/x \"1\"",
        "l lib -> usr/lib\nd usr\nd usr/lib\nf usr/lib/x 1",
    );
    check(
        "l /lib -> /usr/lib\nf /lib/x \"1\"",
        "l lib -> /usr/lib\nd usr\nd usr/lib\nf usr/lib/x 1",
    );
    check(
        "d /a\nl /a/up -> ../../b\nf /a/up/x \"1\"",
        "d a\nl a/up -> ../../b\nd b\nf b/x 1",
    );
    // A lower layer's link is replaced, whether layers are applied to one tree or stacked.
    check(
        "d /usr\nl /lib -> usr\n---\nf /lib/x \"1\"",
        "d lib\nf lib/x 1\nd usr",
    );
}

#[test]
fn whiteouts_remove_what_is_below_and_only_that() {
    check("f /a \"1\"\nf /b \"1\"\n---\nw /a", "f b 1");
    check("d /a\nd /a/b\nf /a/b/c \"1\"\n---\nw /a", "");
    check("f /a \"1\"\n---\nf /a \"2\"\nw /a", "f a 2");
    check("f /a \"1\"\n---\nw /a\nf /a \"2\"", "f a 2");
    check(
        "d /a\nf /a/x \"1\"\n---\nw /a\nd /a\nf /a/y \"2\"",
        "d a\nf a/y 2",
    );
    check(
        "d /a\nf /a/x \"1\"\n---\nd /a\nf /a/y \"2\"\nw /a",
        "d a\nf a/y 2",
    );
    check("f /a \"1\"\n---\nw /a\n---\nf /a \"3\"", "f a 3");
    check("f /a \"1\"\n---\nw /b\nw /no/such/file", "f a 1");
    check("d /a\nf /a/x \"1\"\n---\nf /a \"2\"\nw /a/x", "f a 2");
    check(
        "d /d\nf /d/x \"1\"\nl /l -> d\n---\nw /l/x",
        "d d\nf d/x 1\nl l -> d",
    );
    check("f /a \"1\"\nh /b -> /a\n---\nw /a", "f b 1");
}

#[test]
fn opaque_directories_hide_in_any_order() {
    check(
        "d /a\nf /a/x \"1\"\nd /a/d\nf /a/d/y \"1\"\n---\no /a\nf /a/z \"2\"",
        "d a\nf a/z 2",
    );
    check("d /a\nf /a/x \"1\"\n---\nf /a/z \"2\"\no /a", "d a\nf a/z 2");
    check(
        "d /a\nd /a/d\nf /a/d/x \"1\"\n---\nf /a/d/y \"2\"\no /a",
        "d a\nd a/d\nf a/d/y 2",
    );
    check("f /a \"1\"\nd /d\n---\nf /b \"2\"\no /", "f b 2");
}

#[test]
fn hard_links_reach_lower_layers() {
    check("f /a \"1\"\n---\nh /b -> /a\nh /c -> /b", "f a 1\nf b 1\nf c 1");
    check("l /a -> x\nh /b -> /a", "l a -> x\nl b -> x");
    check("f /a \"1\"\nh /a -> /a", "f a 1");
}

#[test]
fn a_lower_directory_keeps_its_metadata_unless_described_again() {
    let place = Place::new();
    for layer in layers(
        "d /a 0700 1:2 mtime=5.5 x.user.k=\"v\"\nd /b 0700 1:2 mtime=6 x.user.k=\"v\"\n---\nf /a/x \"\"\nd /b 0711 mtime=7\nf /b/x \"\"",
        Dialect::Pax,
    ) {
        place
            .unpack(&layer, Whiteouts::Remove, Limits::default())
            .expect("valid layers");
    }
    let listing = fixture::tree(place.root());
    assert!(
        listing.contains("./a dir 0700 1:2 5.500000000 user.k=\"v\"\n"),
        "{listing}"
    );
    assert!(listing.contains("./b dir 0711 0:0 7.000000000\n"), "{listing}");
}

#[test]
fn overlay_form_leaves_to_the_notes_what_lower_layers_decide() {
    let notes = overlay(
        "d /etc\nw /etc/shadow\nf /opt/app/run \"x\"\nh /from -> /lower/file\nh /again -> /from\no /srv",
        "d etc\nc etc/shadow 0:0\nd opt\nd opt/app\nf opt/app/run x\nd srv",
    );
    assert_eq!(names(&notes.implied), ["", "opt", "opt/app", "srv"]);
    assert_eq!(names(&notes.whiteouts), ["etc"]);
    let links: Vec<_> = notes
        .links
        .iter()
        .map(|(n, t)| (n.as_slice(), t.as_slice()))
        .collect();
    assert_eq!(links, [(&b"from"[..], &b"lower/file"[..]), (b"again", b"from")]);
    assert!(!notes.opaque_root);
    assert!(overlay("o /\nf /a \"\"", "f a").opaque_root);
}

#[test]
fn overlay_form_marks_a_replaced_directory_as_opaque() {
    for text in [
        "w /a\nd /a\nf /a/x \"\"",
        "d /a\nf /a/x \"\"\nw /a",
        "w /a\nf /a \"\"\nf /a/x \"\"",
        "o /a\nf /a/x \"\"",
    ] {
        let place = Place::new();
        place
            .unpack(&tar(text), Whiteouts::Overlay, Limits::default())
            .expect("a valid layer");
        let listing = fixture::tree(place.root());
        let line = listing
            .lines()
            .find(|line| line.starts_with("./a dir"))
            .expect("a directory");
        assert!(line.ends_with("trusted.overlay.opaque=\"y\""), "{text}: {line}");
        assert_eq!(brief(&place.root()), ["d a", "f a/x"], "{text}");
    }
}

#[test]
fn no_layer_speaks_to_overlayfs() {
    let place = Place::new();
    let layer = tar(r#"
        d /a x.trusted.overlay.opaque="y" x.trusted.overlay.redirect="/secret" x.user.overlay.opaque="y" x.user.kept="1"
        f /f x.trusted.overlay.metacopy="" x.trusted.overlay.whiteout="y" "data"
        c /smuggled 0:0
    "#);
    place
        .unpack(&layer, Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    assert_eq!(brief(&place.root()), ["d a", "f f data"]);
    let listing = fixture::tree(place.root());
    assert!(
        !listing.contains("overlay") && listing.contains("user.kept=\"1\""),
        "{listing}"
    );
}

#[test]
fn aufs_book_keeping_is_passed_over() {
    check(
        "d /.wh..wh.plnk\nf /.wh..wh.plnk/12.34 \"x\"\nf /.wh..wh.aufs \"\"\nf /a \"1\"",
        "f a 1",
    );
}

#[test]
fn archives_may_end_without_saying_so() {
    check("f /a \"1\"\nopen-end", "f a 1");
    check("open-end", "");
}

#[test]
fn sparse_files_keep_their_holes() {
    use std::os::unix::fs::MetadataExt;
    let data = "D".repeat(4096);
    // PAX 0.1: one island of 4,096 bytes at 1 MiB in a file of 4 MiB.
    let mut entry = Entry::new(Kind::File(data.clone().into()), "GNUSparseFile.0/s");
    for (key, value) in [
        ("GNU.sparse.numblocks", "1"),
        ("GNU.sparse.map", "1048576,4096"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.size", "4194304"),
    ] {
        entry.pax.push((key.into(), value.into()));
    }
    let old = fixture::Layer::new().entry(entry).tar(Dialect::Pax);
    // PAX 1.0: the map is text before the data.
    let map = format!("{:\0<512}", "1\n1048576\n4096\n");
    let mut entry = Entry::new(Kind::File((map + &data).into()), "GNUSparseFile.0/s");
    for (key, value) in [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "s"),
        ("GNU.sparse.realsize", "4194304"),
    ] {
        entry.pax.push((key.into(), value.into()));
    }
    let new = fixture::Layer::new().entry(entry).tar(Dialect::Pax);
    for layer in [old, new] {
        let place = Place::new();
        place
            .unpack(&layer, Whiteouts::Remove, Limits::default())
            .expect("a sparse file");
        let meta = std::fs::metadata(place.root().join("s")).expect("the file");
        assert_eq!(meta.len(), 4 << 20);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let content = std::fs::read(place.root().join("s")).expect("content");
        assert!(content[1 << 20..][..4096] == *data.as_bytes() && content[..1 << 20].iter().all(|b| *b == 0));
    }
}
