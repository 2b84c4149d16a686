// SPDX-License-Identifier: Apache-2.0
//! Layers that ask for what no layer may have, and trees that change meanwhile.
#![allow(missing_docs)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{Place, tar};
use unpack::{Layer, Limits, Root, Whiteouts};

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
    let kept = Place::new().keep("kept", &tar(text), Limits::default());
    let error = kept.expect_err("a hostile layer").to_string();
    assert!(error.contains(words), "kept: {text}: {error}");
}

#[test]
fn what_no_layer_may_say_is_refused_by_name() {
    refused("f /../x \"\"", "upwards");
    refused("f /a/../x \"\"", "upwards");
    // Nor beside an entry whose directory is known.
    refused("f /a/x \"\"\nf /a/.. \"\"", "upwards");
    refused("f /a/x \"\"\nd /a/../", "upwards");
    refused("f /a/x \"\"\nf /a/y pax.path=\"a/..\" \"\"", "upwards");
    refused("f /a \"\"\nh /b -> ../a", "upwards");
    refused("d /a\nh /b -> /a", "hard link to a directory");
    refused("h /b -> //", "hard link to the root");
    refused("f / \"\"", "the root is no directory");
    refused("l / -> outside", "the root is no directory");
    refused("f /.wh. \"\"", "whiteout of no name");
    refused("f /.wh... \"\"", "whiteout of no name");
    refused("d /.wh.a\nf /.wh.a/x \"\"", "below the name of a whiteout");
    refused("l /a -> b\nl /b -> a\nf /a/x \"\"", "40 symbolic links");
    refused("w /a\nh /b -> /a", "not there");
    refused("o /d\nh /b -> /d/a", "not there");
    refused("w /d\nh /b -> /d/a", "not there");
    refused("f /a \"\"\nh /b -> /a/x", "not there");
    refused("f /a 4294967295:0 \"\"", "owner is out of range");
    refused("f /a 0:4294967296 \"\"", "owner is out of range");
    refused("f /a \"\" type=Q", "no known type");
    refused("f /a \"\" pax.path=\"x\\0y\"", "NUL");
    refused("f /a \"\" pax.size=\"-1\"", "no number");
}

#[test]
fn links_to_an_entry_s_directory_are_bounded() {
    let chain = |n| {
        let links: String = (1..n).map(|i| format!("l /{i} -> {}\n", i - 1)).collect();
        format!("l /0 -> d\n{links}f /{}/x \"\"", n - 1)
    };
    // As many parts as a link can have.
    let long = "./".repeat(2047);
    for mode in MODES {
        for text in [chain(40), format!("l /a -> {long}d\nf /a/x \"\"")] {
            let place = Place::new();
            place
                .unpack(&tar(&text), mode, Limits::default())
                .expect("within bounds");
            assert!(place.root().join("d/x").is_file());
        }
    }
    refused(&chain(41), "more than 40 symbolic links");
    refused(
        &format!("l /a -> {long}b\nl /b -> d\nf /a/x \"\""),
        "too long together",
    );
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
fn swapping_directories_for_links_meanwhile_reaches_nothing_outside() {
    for mode in MODES {
        let place = Place::new();
        let before = place.listing_outside();
        let root = Root::create(&place.root()).expect("root");
        let mut text = String::from("f /f \"x\"\n");
        for i in 0..1000 {
            let d = i % 80;
            // Each kind of thing, and removals, where a link to the outside stands now and then.
            text.push_str(&format!(
                "f /d{d}/sub/f{i} 0777 1:1 \"x\"\nw /d{d}/canary\nd /d{d}/sub 0777 1:1\nh /d{d}/h{i} -> /f\n\
                 l /d{d}/l{i} -> canary\np /d{d}/p{i} 0777 1:1\nf /d{d}/canary 0777 1:1 \"x\"\n"
            ));
            if i % 50 == 0 {
                text.push_str(&format!("o /d{d}\nf /d{d} \"x\"\n"));
            }
        }
        let layer = tar(&text);
        let done = AtomicBool::new(false);
        let swaps = std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                let at = |name: String| place.root().join(name);
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) {
                    for i in 0..80 {
                        let _ = std::fs::rename(at(format!("d{i}")), at(format!("aside{i}")));
                        let linked = std::os::unix::fs::symlink("../outside", at(format!("d{i}")));
                        swaps += usize::from(linked.is_ok());
                        let _ = std::fs::remove_file(at(format!("d{i}")));
                        let _ = std::fs::rename(at(format!("aside{i}")), at(format!("d{i}")));
                    }
                }
                swaps
            });
            // Whether it succeeds depends on the race; where it writes must not. It is tried again
            // when it fails early, so that there is a race.
            for _ in 0..6 {
                let _ = Layer::new(&root).whiteouts(mode).unpack(&layer[..]);
            }
            done.store(true, Ordering::Relaxed);
            swapping.join().expect("swaps")
        });
        assert!(swaps > 0);
        assert_eq!(place.listing_outside(), before, "{mode:?}");
    }
}
