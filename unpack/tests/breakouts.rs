// SPDX-License-Identifier: Apache-2.0
//! Layers that want out of their root, on each kind of file system. Beside the root lies a canary.
#![allow(missing_docs)]

mod common;

use std::path::Path;

use common::mounts::Mounted;
use common::{FORMS, Place, brief, layers, lines};
use unpack::{ErrorKind, Limits, Whiteouts};

/// What must come of a shape where whiteouts remove.
enum Want {
    /// This tree, all of it inside.
    Tree(&'static str),
    /// A refusal with these words.
    Refused(&'static str),
}
use Want::{Refused, Tree};

/// The last layer of each wants out.
const SHAPES: &[(&str, Want)] = &[
    // A file through a symbolic link.
    ("l /x -> ../outside/canary\nf /x \"evil\"", Tree("f x evil")),
    (
        "l /x -> ../outside\nf /x/canary \"evil\"",
        Tree("d outside\nf outside/canary evil\nl x -> ../outside"),
    ),
    (
        "l /x -> /outside\nf /x/canary \"evil\"",
        Tree("d outside\nf outside/canary evil\nl x -> /outside"),
    ),
    (
        "l /x -> ../../../../../../../..\nf /x/evil \"\"",
        Tree("f evil\nl x -> ../../../../../../../.."),
    ),
    (
        "l /x -> a/../../outside\nf /x/canary \"evil\"",
        Tree("d outside\nf outside/canary evil\nl x -> a/../../outside"),
    ),
    (
        "d /d\nl /d/x -> ../../outside\nf /d/x/canary \"evil\"",
        Tree("d d\nl d/x -> ../../outside\nd outside\nf outside/canary evil"),
    ),
    (
        "l /a -> b\nl /b -> ../outside\nf /a/canary \"evil\"",
        Tree("l a -> b\nl b -> ../outside\nd outside\nf outside/canary evil"),
    ),
    (
        "l /a -> /b/c\nl /b -> /..\nf /a/evil \"\"",
        Tree("l a -> /b/c\nl b -> /..\nd c\nf c/evil"),
    ),
    ("l /x -> /\nf /x/evil \"\"", Tree("f evil\nl x -> /")),
    (
        "l /x -> .\nl /x/y -> ../outside\nf /x/y/canary \"evil\"",
        Tree("d outside\nf outside/canary evil\nl x -> .\nl y -> ../outside"),
    ),
    (
        "l /x -> ../outside/canary\nf /x/y \"evil\"",
        Tree("d outside\nd outside/canary\nf outside/canary/y evil\nl x -> ../outside/canary"),
    ),
    ("l /x -> x\nf /x/y \"\"", Refused("40 symbolic links")),
    ("l /a -> b\nl /b -> a\nf /a/x \"\"", Refused("40 symbolic links")),
    // A lower layer's link leads nowhere at all.
    (
        "l /x -> ../outside\n---\nf /x/canary \"evil\"",
        Tree("d x\nf x/canary evil"),
    ),
    ("l /x -> ../outside/canary\n---\nf /x \"evil\"", Tree("f x evil")),
    // Names that say it openly.
    ("f /../outside/canary \"evil\"", Refused("upwards")),
    ("f //../outside/canary \"evil\"", Refused("upwards")),
    ("f /x/../../outside/canary \"evil\"", Refused("upwards")),
    (
        "f //outside/canary \"evil\"",
        Tree("d outside\nf outside/canary evil"),
    ),
    ("d /..", Refused("upwards")),
    ("l /. -> ../outside", Refused("the root is no directory")),
    ("h /x -> ../outside/canary\nf /x \"evil\"", Refused("upwards")),
    // Hard links.
    ("h /x -> //outside/canary\nf /x \"evil\"", Refused("not there")),
    (
        "l /x -> ../outside\nh /y -> /x/canary\nf /y \"evil\"",
        Refused("not there"),
    ),
    (
        "l /x -> /outside\nh /y -> /x/canary\nf /y \"evil\"",
        Refused("not there"),
    ),
    (
        "l /x -> ../outside/canary\nh /y -> /x\nf /y \"evil\"",
        Tree("l x -> ../outside/canary\nf y evil"),
    ),
    (
        "l /x -> ../outside\nh /y -> /x\nf /y/canary \"evil\"",
        Tree("d outside\nf outside/canary evil\nl x -> ../outside\nl y -> ../outside"),
    ),
    (
        "l /x -> ../outside/canary\nh /y -> /x 0777 1:1",
        Tree("l x -> ../outside/canary\nl y -> ../outside/canary"),
    ),
    (
        "l /x -> ../outside\nf /f \"1\"\nh /x/canary -> /f",
        Tree("f f 1\nd outside\nf outside/canary 1\nl x -> ../outside"),
    ),
    ("l /x -> ../outside\n---\nh /y -> /x/canary", Refused("not there")),
    ("d /d\nh /x -> /d", Refused("hard link to a directory")),
    ("h /x -> .", Refused("hard link to the root")),
    ("h /x -> /x", Refused("not there")),
    ("d /x\nf /x/f \"\"\nh /x -> /x/f", Refused("below its own name")),
    // Directories, devices and links over links and through them.
    ("l /x -> ../outside\nd /x 0777 1:1", Tree("d x")),
    ("l /x -> ../outside\n---\nd /x 0777 1:1", Tree("d x")),
    (
        "l /x -> ../outside\nd /x/d 0777 1:1",
        Tree("d outside\nd outside/d\nl x -> ../outside"),
    ),
    (
        "l /x -> ../outside\nc /x/canary 1:3\np /x/p\nl /x/l -> canary",
        Tree("d outside\nc outside/canary 1:3\nl outside/l -> canary\np outside/p\nl x -> ../outside"),
    ),
    ("l /x -> ../outside/canary\nl /x -> ../outside\nd /x", Tree("d x")),
    // Whiteouts.
    ("l /x -> ../outside\nw /x/canary", Tree("l x -> ../outside")),
    ("l /x -> /outside\nw /x/canary", Tree("l x -> /outside")),
    ("l /x -> ../outside\no /x", Tree("l x -> ../outside")),
    ("l /x -> ../outside\n---\nw /x/canary", Tree("l x -> ../outside")),
    ("l /x -> ../outside\n---\no /x", Tree("l x -> ../outside")),
    ("l /x -> ../outside\n---\nw /x", Tree("")),
    ("d /d\nl /d/x -> ../../outside\n---\nw /d", Tree("")),
    ("d /d\nl /d/x -> ../../outside\n---\no /d", Tree("d d")),
    ("f /../.wh.outside \"\"", Refused("upwards")),
    ("f /.wh. \"\"", Refused("whiteout of no name")),
    ("f /.wh.. \"\"", Refused("whiteout of no name")),
    ("f /.wh... \"\"", Refused("whiteout of no name")),
    ("f /.wh.a/.wh... \"\"", Refused("below the name of a whiteout")),
    ("f /.wh.../outside \"\"", Refused("below the name of a whiteout")),
    (
        "l /x -> .wh.a\nf /x/f \"\"",
        Refused("below the name of a whiteout"),
    ),
];

fn nothing_leaves_its_root_on(base: Option<&Path>) {
    for (text, want) in SHAPES {
        for form in FORMS {
            let Some(layers) = layers(text, form) else {
                continue;
            };
            let place = Place::on(base);
            let before = place.listing_outside();
            let mut result = Ok(());
            for layer in &layers {
                result = place
                    .unpack(layer, Whiteouts::Remove, Limits::default())
                    .map(drop);
            }
            match (want, result) {
                (Tree(want), Ok(())) => assert_eq!(brief(&place.root()), lines(want), "{form:?}: {text}"),
                (Refused(words), Err(e)) => {
                    assert!(matches!(e.kind(), ErrorKind::Refused(_)), "{form:?}: {text}: {e}");
                    assert!(e.to_string().contains(words), "{form:?}: {text}: {e}");
                }
                (Tree(_), Err(e)) => panic!("{form:?}: {text}: {e}"),
                (Refused(_), Ok(())) => panic!("{form:?}: accepted: {text}"),
            }
            assert_eq!(place.listing_outside(), before, "{form:?}: {text}");

            // The last alone and twice, as it comes for overlayfs.
            let place = Place::on(base);
            let before = place.listing_outside();
            for _ in 0..2 {
                let last = layers.last().expect("a layer");
                let result = place.unpack(last, Whiteouts::Overlay, Limits::default());
                match (want, result) {
                    // A lower layer may have it.
                    (Refused("not there"), Ok(_)) => {}
                    (Refused(_), Ok(_)) => panic!("{form:?}: accepted: {text}"),
                    // Where there are no attributes, no directory can be marked as opaque.
                    (Tree(_), Err(e)) => assert_eq!(
                        e.kind(),
                        &ErrorKind::Xattr(b"trusted.overlay.opaque".to_vec()),
                        "{form:?}: {text}: {e}"
                    ),
                    _ => {}
                }
            }
            assert_eq!(place.listing_outside(), before, "{form:?}: {text}");
        }
    }
}

#[test]
fn nothing_leaves_its_root() {
    nothing_leaves_its_root_on(None);
}

#[test]
fn nothing_leaves_its_root_on_ext4() {
    if let Some(fs) = Mounted::ext4("nothing_leaves_its_root_on_ext4", 32) {
        nothing_leaves_its_root_on(Some(&fs.path()));
    }
}

#[test]
fn nothing_leaves_its_root_on_tmpfs() {
    if let Some(fs) = Mounted::tmpfs("nothing_leaves_its_root_on_tmpfs") {
        nothing_leaves_its_root_on(Some(&fs.path()));
    }
}

#[test]
fn nothing_leaves_its_root_without_attributes() {
    if let Some(fs) = Mounted::ramfs("nothing_leaves_its_root_without_attributes") {
        nothing_leaves_its_root_on(Some(&fs.path()));
    }
}
