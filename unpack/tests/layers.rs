// SPDX-License-Identifier: Apache-2.0
//! What layers mean: each case is layers as text and the tree that must come out.
#![allow(missing_docs)]

mod common;

use common::{FORMS, Form, Place, brief, images, layers, lines, tar};
use fixture::{Dialect, Entry};
use unpack::{Limits, Notes, Whiteouts};

/// Applies layers to one tree, in every dialect that has such entries.
#[track_caller]
fn check(text: &str, want: &str) {
    check_in(&FORMS, text, want);
}

#[track_caller]
fn check_in(forms: &[Form], text: &str, want: &str) {
    let mut unpacked = 0;
    for form in forms {
        let Some(layers) = layers(text, *form) else {
            continue;
        };
        let place = Place::new();
        let mut kept = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            place
                .unpack(layer, Whiteouts::Remove, Limits::default())
                .unwrap_or_else(|e| panic!("{form:?}: {e}"));
            let (dir, done) = place
                .keep(&number.to_string(), layer, Limits::default())
                .unwrap_or_else(|e| panic!("{form:?}, kept: {e}"));
            kept.push((dir, done.notes));
        }
        assert_eq!(brief(&place.root()), lines(want), "{form:?}");
        let tree = fixture::tree(place.root());
        let shown = images::merged(&kept, place.root().parent().expect("a folder"), |root| {
            fixture::tree(root)
        });
        assert_eq!(shown.expect("a valid image"), tree, "{form:?}, kept");
        unpacked += 1;
    }
    assert!(unpacked >= forms.len().min(3), "too few dialects");
}

/// Unpacks one layer for overlayfs and gives its notes.
#[track_caller]
fn overlay(text: &str, want: &str) -> Notes {
    let place = Place::new();
    let unpacked = place
        .unpack(&tar(text), Whiteouts::Overlay, Limits::default())
        .expect("a valid layer");
    assert_eq!(brief(&place.root()), lines(want));
    let (dir, kept) = place
        .keep("kept", &tar(text), Limits::default())
        .expect("a valid layer");
    assert_eq!(
        images::mounted(&dir.join("index"), &images::own_devices(&dir), brief),
        lines(want)
    );
    assert_eq!(kept.notes, unpacked.notes);
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
        c /c 6666 3:4 1:3 mtime=-0.75 x.trusted.c="1"
        b /b 1640 4294967294:4294967294 7:7 mtime=4.25
        d /sticky 1777 0:0 mtime=-0.000000001 x.trusted.d="\x00"
        l /attributed -> x 0777 0:0 mtime=-1 x.trusted.l="1" x.security.l="2"
        p /q 4711 0:0 mtime=0 x.trusted.p="1"
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
        "./c char 6666 3:4 1:3 -1.250000000 links=1 trusted.c=\"1\"",
        "./b block 1640 4294967294:4294967294 7:7 4.250000000 links=1",
        "./sticky dir 1777 0:0 -1.999999999 trusted.d=\"\\x00\"",
        "./attributed link 0777 0:0 -1.000000000 links=1 -> x security.l=\"2\" trusted.l=\"1\"",
        "./q fifo 4711 0:0 0.000000000 links=1 trusted.p=\"1\"",
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
    check_in(
        &[Form::Pax, Form::Gnu],
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
fn the_root_has_many_names() {
    for name in ["./", "/", ".", ".//.", ""] {
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
    check("l /a -> b\nf /a \"1\"\nl /a -> c", "l a -> c");
    check("d /a\nf /a/x \"1\"\nd /a\nf /a/y \"2\"", "d a\nf a/x 1\nf a/y 2");
    check("d /a\nf /a/x \"1\"\nf /a \"2\"\nd /a", "d a");
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
    check("f /a \"1\"\n---\nl /a -> x\n---\nd /a\n---\np /a", "p a");
    check("d /a\nf /a/x \"1\"\n---\nf /a \"\"\nd /a", "d a");
    check(
        "d /a\nf /a/x \"1\"\n---\nl /a -> b\nd /a\nf /a/y \"2\"",
        "d a\nf a/y 2",
    );
}

#[test]
fn layers_may_come_again() {
    let (a, b) = (tar("f /x \"a\"\nf /a \"\""), tar("f /x \"b\"\nw /a"));
    let place = Place::new();
    for (layer, want) in [
        (&a, "f a\nf x a"),
        (&b, "f x b"),
        (&a, "f a\nf x a"),
        (&a, "f a\nf x a"),
    ] {
        place
            .unpack(layer, Whiteouts::Remove, Limits::default())
            .expect("a valid layer");
        assert_eq!(brief(&place.root()), lines(want));
    }
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
fn neighbours_of_an_entry_are_where_their_own_name_leads() {
    // The directory of the entry before is gone, or a link on the way leads elsewhere.
    check(
        "d /a\nf /a/x \"1\"\nl /a -> b\nf /a/y \"2\"",
        "l a -> b\nd b\nf b/y 2",
    );
    check("f /a/x \"1\"\nf /a \"\"\nf /a/y \"2\"", "d a\nf a/y 2");
    check(
        "f /a/b/x \"1\"\nl /a -> c\nf /a/b/y \"2\"",
        "l a -> c\nd c\nd c/b\nf c/b/y 2",
    );
    check(
        "l /l -> a\nf /l/x \"1\"\nl /l -> b\nf /l/y \"2\"\nd /l\nf /l/z \"3\"",
        "d a\nf a/x 1\nd b\nf b/y 2\nd l\nf l/z 3",
    );
    check(
        "f /a/x \"1\"\nl /l -> a\nf /l/y \"2\"\nd /a\nf /l/z \"3\"",
        "d a\nf a/x 1\nf a/y 2\nf a/z 3\nl l -> a",
    );
    check(
        "f /a/x \"1\"\n---\nf /a/y \"2\"\nw /a\nf /a/z \"3\"",
        "d a\nf a/y 2\nf a/z 3",
    );
    check(
        "f /a/x \"1\"\n---\nf /a/y \"2\"\nw /a/x\no /a\nf /a/z \"3\"",
        "d a\nf a/y 2\nf a/z 3",
    );
    // Names that differ from it in more than the last part.
    check(
        "f /a/x \"1\"\nf /a//y \"2\"\nf /a/./z \"3\"\nf /a/b/c \"4\"\nd /a/d/\nd /a/.",
        "d a\nd a/b\nf a/b/c 4\nd a/d\nf a/x 1\nf a/y 2\nf a/z 3",
    );
    check(
        "f /ab/x \"1\"\nf /a/y \"2\"\nf /abc \"3\"",
        "d a\nf a/y 2\nd ab\nf ab/x 1\nf abc 3",
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
    // What was only passed on the way to a whiteout is no part of the layer.
    check("d /a\nf /a/x \"1\"\n---\nw /a/x\nw /a", "");
    check("d /a\nf /a/x \"1\"\n---\nw /a\nw /a/x", "");
    check(
        "d /a\nd /a/b\nf /a/b/x \"1\"\n---\nw /a/b/x\no /a\nf /a/y \"2\"",
        "d a\nf a/y 2",
    );
    check(
        "l /l -> gone/../d\nd /d\nf /l/x \"1\"",
        "d d\nf d/x 1\nl l -> gone/../d",
    );
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
    check("f /a \"1\"\nd /d\n---\no /\nf /b \"2\"", "f b 2");
    check(
        "d /a\nf /a/x \"1\"\n---\no /a\nw /a/x\no /a\nf /a/y \"2\"\no /a",
        "d a\nf a/y 2",
    );
    check("d /a\nf /a/x \"1\"\n---\nf /a \"2\"\no /a", "f a 2");
}

#[test]
fn hard_links_reach_lower_layers() {
    check("f /a \"1\"\n---\nh /b -> /a\nh /c -> /b", "f a 1\nf b 1\nf c 1");
    check("l /a -> x\nh /b -> /a", "l a -> x\nl b -> x");
    check("f /a \"1\"\nh /a -> /a", "f a 1");
    check("f /a \"1\"\n---\nh /a -> /a\nw /a", "f a 1");
    check("f /a \"1\"\nd /b\nf /b/x \"\"\nh /b -> /a", "f a 1\nf b 1");
    check(
        "f /a \"1\"\nl /b -> x\nh /b -> /a\nh /c -> /b",
        "f a 1\nf b 1\nf c 1",
    );
    check("f /a \"1\"\nh /b -> /a\nd /a\nh /c -> /b", "d a\nf b 1\nf c 1");
    check(
        "f /a \"1\"\nh /b -> /a\n---\nf /a \"2\"\nh /c -> /b\nh /d -> /a",
        "f a 2\nf b 1\nf c 1\nf d 2",
    );
    check(
        "p /a\nh /b -> /a\nc /c 1:3\nh /d -> /c",
        "p a\np b\nc c 1:3\nc d 1:3",
    );
}

#[test]
fn a_lower_directory_keeps_its_metadata_unless_described_again() {
    let place = Place::new();
    let text = r#"
        d /a 0700 1:2 mtime=5.5 x.user.k="v"
        d /b 0700 1:2 mtime=6 x.user.k="v"
        d /c 0700 1:2 mtime=7.25
        ---
        f /a/x ""
        d /b 0711 mtime=7
        f /b/x ""
        w /c/nothing
    "#;
    for layer in layers(text, Form::Pax).expect("layers") {
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
    assert!(listing.contains("./c dir 0700 1:2 7.250000000\n"), "{listing}");
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
    assert_eq!(
        links,
        [(&b"from"[..], &b"lower/file"[..]), (b"again", b"lower/file")]
    );
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
        // A file in between hides the lower directory as well.
        "f /a \"\"\nf /a/x \"\"",
        "o /a\nf /a \"\"\nd /a\nf /a/x \"\"",
        "h /a -> /lower\nd /a\nf /a/x \"\"",
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
fn overlay_form_holds_no_directories_for_whiteouts_that_hide_nothing() {
    for (text, want) in [
        ("w /a\nw /a/x", "c a 0:0"),
        ("w /a/x\nw /a", "c a 0:0"),
        ("o /a\nw /a/b/x\nw /a/y", "d a"),
        ("w /a/b/x\no /a", "d a"),
        ("f /a \"1\"\nw /a/x", "f a 1"),
        ("h /a -> /lower\nw /a/x\nw /a", ""),
        ("o /\nw /a\nw /b/c", ""),
    ] {
        overlay(text, want);
    }
}

#[test]
fn a_deferred_link_leads_to_the_lower_file_whatever_becomes_of_others() {
    let notes = overlay(
        "h /a/b -> /low\nh /c -> /a/b\nl /a -> x\nh /d -> /e\nf /d \"1\"",
        "l a -> x\nf d 1",
    );
    assert_eq!(notes.links, [(b"c".to_vec(), b"low".to_vec())]);
}

#[test]
fn a_deferred_link_leads_where_links_of_its_own_layer_lead() {
    let notes = overlay(
        "d /d\nl /l -> d\nh /a -> /l/x\nl /m -> e/./f\nh /b -> /m/y\nl /n -> /l\nh /c -> /n/z",
        "d d\nl l -> d\nl m -> e/./f\nl n -> /l",
    );
    let links = [("a", "d/x"), ("b", "e/f/y"), ("c", "d/z")];
    let links = links.map(|(name, target)| (name.into(), target.into()));
    assert_eq!(notes.links, links);
    check(
        "d /d\nf /d/x \"1\"\n---\nl /l -> d\nh /a -> /l/x",
        "f a 1\nd d\nf d/x 1\nl l -> d",
    );
}

#[test]
fn a_lower_file_that_is_linked_to_itself_stays_in_a_directory_that_hides_it() {
    let file = "d /b\nf /b/c \"1\"\nf /b/d \"2\"";
    for upper in [
        "h /b/c -> /b/c\nw /b",
        "h /b/c -> /b/c\no /b",
        "h /b/c -> /b/c\no /",
    ] {
        let notes = overlay(upper, "d b");
        assert_eq!(notes.links, [(b"b/c".to_vec(), b"b/c".to_vec())], "{upper}");
        check(&format!("{file}\n---\n{upper}"), "d b\nf b/c 1");
    }
    // It comes back where the layer had put something else.
    for upper in [
        "h /b/e -> /b/c\nl /b/c -> e\nh /b/c -> /b/e",
        "h /b/e -> /b/c\nf /b/c \"3\"\nh /b/c -> /b/e",
        "h /b/e -> /b/c\nw /b/c\nh /b/c -> /b/e",
        "w /b/c/x\nh /b/e -> /b/c\nh /b/c -> /b/e",
    ] {
        assert_eq!(
            overlay(upper, "d b").links,
            [(b"b/e".to_vec(), b"b/c".to_vec())],
            "{upper}"
        );
        check(&format!("{file}\n---\n{upper}"), "d b\nf b/c 1\nf b/d 2\nf b/e 1");
    }
    // Where nothing hides it, it shows by itself.
    let upper = "h /b/c -> /b/c\nw /b/c";
    assert!(overlay(upper, "d b").links.is_empty());
    check(&format!("{file}\n---\n{upper}"), "d b\nf b/c 1\nf b/d 2");
    assert!(
        overlay("h /b/c -> /b/c\nw /b\nf /b/c \"3\"", "d b\nf b/c 3")
            .links
            .is_empty()
    );
}

#[test]
fn no_layer_has_a_file_below_the_name_of_a_link_to_it() {
    // In one tree the link takes the place of the directory, so nothing is left to lead to.
    for text in [
        "h /a -> /a/x",
        "h /a/b -> /a/b/c/d",
        "l /l -> a\nh /a -> /l/x",
        "h /a -> /a/x\nf /a \"\"",
    ] {
        let error = Place::new()
            .unpack(&tar(text), Whiteouts::Overlay, Limits::default())
            .expect_err(text);
        assert!(
            error.to_string().contains("below its own name"),
            "{text}: {error}"
        );
    }
    // A name that only begins like it is another.
    let notes = overlay("h /a -> /ab/x\nh /b/c -> /b/cd", "d b");
    assert_eq!(notes.links.len(), 2);
    // A file that has another name already is not lost with its directory.
    let text = "h /d -> /a/c\nh /a -> /d";
    let notes = overlay(text, "");
    let links = [("d", "a/c"), ("a", "a/c")].map(|(name, target)| (name.into(), target.into()));
    assert_eq!(notes.links, links);
    check(&format!("d /a\nf /a/c \"1\"\n---\n{text}"), "f a 1\nf d 1");
}

#[test]
fn attributes_of_users_are_passed_over_only_where_linux_has_none() {
    let place = Place::new();
    let unpacked = place
        .unpack(
            &tar("l /l -> x x.user.a=\"1\"\nc /c 1:3 x.user.a=\"1\" x.user.b=\"2\"\np /p x.user.a=\"1\"\nf /f x.user.a=\"1\" \"\""),
            Whiteouts::Overlay,
            Limits::default(),
        )
        .expect("a valid layer");
    assert_eq!(unpacked.dropped_xattrs, 4);
    let listing = fixture::tree(place.root());
    assert_eq!(listing.matches("user.").count(), 1, "{listing}");
}

#[test]
fn nothing_is_inherited_from_directories_that_pass_on() {
    // A set-group-ID directory passes its group on, a default access list passes itself on.
    let list = r"\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x07\x00\x05\x00\x00\x00\x04\x00\x00\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff";
    let lower = tar(&format!(
        "d /g 2755 0:7\nd /list x.system.posix_acl_default=\"{list}\""
    ));
    let upper = "d /g/d\nf /g/f \"1\"\np /g/p\nl /g/l -> x\nf /g/i/f \"2\"\n\
                 d /list/d\nf /list/f 0640 \"1\"\np /list/p 0644\nl /list/l -> x\nf /list/i/f 0666 \"2\"";
    for reopened in [false, true] {
        let place = Place::new();
        let root = unpack::Root::create(&place.root()).expect("a root");
        let first = unpack::Layer::new(&root).whiteouts(Whiteouts::Remove);
        first.unpack(&lower[..]).expect("a valid layer");
        let root = match reopened {
            true => unpack::Root::open(&place.root()).expect("the root"),
            false => root,
        };
        let second = unpack::Layer::new(&root).whiteouts(Whiteouts::Remove);
        second.unpack(&tar(upper)[..]).expect("a valid layer");
        let listing = fixture::tree(place.root());
        for want in [
            "./g/d dir 0755 0:0 1700000000.000000000",
            "./g/f file 0644 0:0 1",
            "./g/i dir 0755 0:0 0.000000000",
            "./g/i/f file 0644 0:0 1",
            "./g/l link 0777 0:0 1",
            "./g/p fifo 0644 0:0 1",
            "./list/d dir 0755 0:0 1700000000.000000000\n",
            "./list/f file 0640 0:0 1",
            "./list/i dir 0755 0:0 0.000000000\n",
            "./list/i/f file 0666 0:0 1",
            "./list/p fifo 0644 0:0 1",
        ] {
            assert!(listing.contains(want), "no {want} in\n{listing}");
        }
        assert_eq!(listing.matches("posix_acl").count(), 1, "{listing}");
    }
}
