// SPDX-License-Identifier: Apache-2.0
//! Layers kept as archives with an index: what only that form has to prove. That it shows the same trees
//! is looked at wherever trees are.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::{Place, images, tar};
use fixture::{Dialect, Entry, Kind, Layer};
use unpack::erofs::{Blocks, INDEX, SPARSE, Source, TAR, merge};
use unpack::{ErrorKind, Limits, Notes, Whiteouts};

/// Keeps one layer beside its tree, and compares what both show, in both sizes of blocks.
#[track_caller]
fn same(layer: &[u8]) -> (Place, PathBuf) {
    let place = Place::new();
    place
        .unpack(layer, Whiteouts::Remove, Limits::default())
        .expect("a valid layer");
    let (dir, done) = place
        .keep("kept", layer, Limits::default())
        .expect("a valid layer");
    let kept = [(dir.clone(), done.notes)];
    let shown = images::merged(&kept, dir.parent().expect("a folder"), |root| fixture::tree(root));
    let (shown, want) = (shown.expect("a valid image"), fixture::tree(place.root()));
    assert!(shown == want, "{}", difference(&shown, &want));
    (place, dir)
}

/// The first lines that differ: listings here are long.
fn difference(have: &str, want: &str) -> String {
    let pair = have.lines().zip(want.lines()).find(|(have, want)| have != want);
    format!("{} and {} bytes: {pair:?}", have.len(), want.len())
}

fn merged(layers: &[(PathBuf, Notes)], out: &Path) -> Result<unpack::erofs::Merged, unpack::Error> {
    let sources: Vec<Source<'_>> = layers.iter().map(|(dir, notes)| Source { dir, notes }).collect();
    merge(&sources, Blocks::Small, out)
}

#[test]
fn names_of_every_order_and_length_are_found_again() {
    let mut layer = Layer::new();
    // Before and behind the two names that every directory has, and between them.
    for name in ["!", "-", "+a", ".-", "..-", "...", ".a", "0", "~"] {
        layer = layer.entry(Entry::file(name, name));
    }
    for byte in (1..=255u8).filter(|byte| !matches!(byte, b'/' | b'.')) {
        layer = layer.entry(Entry::file([b"bytes/", &[byte][..]].concat(), [byte]));
    }
    // Names that leave no byte, or a few, at the end of a block.
    for length in (1..=255).rev() {
        let name = format!("lengths/{}", "n".repeat(length));
        layer = layer.entry(Entry::file(name, length.to_string()));
    }
    for number in 0..5000 {
        layer = layer.entry(Entry::file(format!("many/{number}"), number.to_string()));
    }
    same(&layer.tar(Dialect::Pax));
}

#[test]
fn links_of_every_length_come_back() {
    let mut layer = Layer::new();
    for length in (1..=600).chain([1000, 4000, 4095]) {
        let kind = Kind::Symlink(vec![b't'; length]);
        layer = layer.entry(Entry::new(kind, format!("links/{length}")));
    }
    same(&layer.tar(Dialect::Pax));
    let long = Entry::new(Kind::Symlink(vec![b't'; 4096]), "long");
    let error = Place::new().keep(
        "kept",
        &Layer::new().entry(long).tar(Dialect::Pax),
        Limits::default(),
    );
    assert!(
        error
            .expect_err("too long")
            .to_string()
            .contains("longer than 4095")
    );
    let error = Place::new().keep(
        "kept",
        &tar(&format!("f /{} \"\"", "n".repeat(256))),
        Limits::default(),
    );
    assert!(
        error
            .expect_err("too long")
            .to_string()
            .contains("longer than 255")
    );
}

#[test]
fn attributes_of_every_size_come_back_wherever_they_lie() {
    let mut text = String::new();
    for (number, length) in (0..700).step_by(7).chain([1000, 3000]).enumerate() {
        let value = "v".repeat(length);
        text += &format!("f /f{number} x.user.a=\"{value}\" x.user.b=\"{number}\" \"x\"\n");
        text += &format!("d /d{number} x.trusted.{}=\"x\"\n", "n".repeat(length % 200 + 1));
    }
    same(&tar(&text));
}

#[test]
fn files_of_every_kind_and_owner_come_back() {
    let text = r#"
        d / 0711 3:4 mtime="-7.000000001"
        f /small 4755 0:0 mtime="1700000000.123456789" "x"
        f /owned 0644 70000:4294967294 "y"
        h /other -> /small
        c /zero 0666 1:5
        c /large 0600 4095:1048575
        b /disk 0660 7:300
        p /pipe 1777
        l /link -> small
        d /sticky 1777
        d /group 2755
        f /empty ""
    "#;
    let (_place, dir) = same(&tar(text));
    let device = |name: &str| {
        let show = |root: &Path| fs::symlink_metadata(root.join(name)).expect("metadata").rdev();
        images::mounted(&dir.join(INDEX), &images::own_devices(&dir), show)
    };
    assert_eq!(device("large"), nix::sys::stat::makedev(4095, 1_048_575));
    assert_eq!(device("disk"), nix::sys::stat::makedev(7, 300));
}

#[test]
fn holes_stay_holes_and_files_may_be_larger_than_four_gibibytes() {
    const SIZE: u64 = 5 << 30;
    let map = format!("0,3,{},4", SIZE - 4);
    let text = format!(
        "f /before \"b\"\nf /large pax.GNU.sparse.major=0 pax.GNU.sparse.minor=1 pax.GNU.sparse.size={SIZE} \
         pax.GNU.sparse.map=\"{map}\" \"abcwxyz\"\nf /after \"a\""
    );
    let place = Place::new();
    let (dir, done) = place
        .keep("kept", &tar(&text), Limits::default())
        .expect("a sparse file");
    let sparse = fs::metadata(dir.join(SPARSE)).expect("the contents");
    assert!(sparse.len() >= SIZE && sparse.blocks() < 100, "{sparse:?}");
    let ends = |root: &Path| {
        use std::os::unix::fs::FileExt;
        let file = fs::File::open(root.join("large")).expect("the file");
        let mut ends = [[0; 5]; 2];
        file.read_exact_at(&mut ends[0], 0).expect("the beginning");
        file.read_exact_at(&mut ends[1], SIZE - 5).expect("the end");
        (
            file.metadata().expect("metadata").len(),
            ends,
            fs::read(root.join("after")).expect("another file"),
        )
    };
    let folder = dir.parent().expect("a folder");
    let shown = images::merged(&[(dir.clone(), done.notes)], folder, ends).expect("a valid image");
    assert_eq!(shown, (SIZE, [*b"abc\0\0", *b"\0wxyz"], b"a".to_vec()));
}

#[test]
fn the_same_archive_gives_the_same_bytes() {
    let text = r#"
        f /a x.user.b="2" x.user.a="1" "1"
        d /d
        w /d/gone
        h /d/low -> /below
        l /d/link -> ../a
    "#;
    let place = Place::new();
    let keep = |name| {
        place
            .keep(name, &tar(text), Limits::default())
            .expect("a valid layer")
    };
    let ((first, notes), (second, _)) = (keep("first"), keep("second"));
    let (base, _) = place
        .keep("base", &tar("f /below \"\""), Limits::default())
        .expect("a valid layer");
    for file in [INDEX, TAR] {
        assert_eq!(
            fs::read(first.join(file)).expect("a file"),
            fs::read(second.join(file)).expect("a file")
        );
    }
    let image = |dir: &Path, out: &str| {
        let out = place.outside().join(out);
        let layers = [
            (base.clone(), Notes::default()),
            (dir.to_owned(), notes.notes.clone()),
        ];
        merged(&layers, &out).expect("a valid image");
        fs::read(out).expect("the image")
    };
    assert_eq!(image(&first, "one"), image(&second, "two"));
}

#[test]
fn the_archive_is_kept_as_it_is() {
    // Without its end, and longer than the blocks that end it.
    for layer in [
        tar("f /a \"1\""),
        tar("f /a \"1\"\nopen-end"),
        [tar("f /a \"1\""), vec![7; 5000]].concat(),
    ] {
        let (place, dir) = same(&layer);
        let kept = fs::read(dir.join(TAR)).expect("the archive");
        assert_eq!(kept[..layer.len()], layer);
        assert!(kept[layer.len()..].iter().all(|b| *b == 0) && kept.len() % 4096 == 0);
        let (_, done) = place
            .keep("again", &layer, Limits::default())
            .expect("a valid layer");
        assert_eq!(done.diff_id, image_spec::Digest::sha256(&layer));
    }
}

#[test]
fn a_damaged_index_is_refused_or_shows_something_but_never_more() {
    let text = "d /d\nf /d/f x.user.a=\"1\" \"x\"\nl /l -> d\nc /c 1:3\nh /h -> /d/f\nd /e\nw /e/x";
    let place = Place::new();
    let (dir, done) = place
        .keep("kept", &tar(text), Limits::default())
        .expect("a valid layer");
    let index = fs::read(dir.join(INDEX)).expect("the index");
    let layers = [(dir.clone(), done.notes)];
    let image = place.outside().join("image");
    let mut refused = 0;
    for at in 1024..index.len() {
        for flip in [1, 0x80, 0xff] {
            let mut changed = index.clone();
            changed[at] ^= flip;
            fs::write(dir.join(INDEX), &changed).expect("write");
            match merged(&layers, &image) {
                Ok(_) => fs::remove_file(&image).expect("the image"),
                Err(e) => {
                    assert!(
                        matches!(e.kind(), ErrorKind::Damaged(_) | ErrorKind::Refused(_)),
                        "byte {at}: {e}"
                    );
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 300, "{refused}");
    for length in [0, 1023, 1024, 1151, 1152, index.len() - 1] {
        fs::write(dir.join(INDEX), &index[..length]).expect("write");
        assert!(merged(&layers, &image).is_err(), "{length} bytes");
    }
}

#[test]
fn a_directory_that_comes_twice_is_no_endless_way() {
    let place = Place::new();
    let (dir, done) = place
        .keep("kept", &tar("d /a/b/c"), Limits::default())
        .expect("a valid layer");
    let index = fs::read(dir.join(INDEX)).expect("the index");
    // Each entry of a directory that names another one is turned to the root.
    let root = u64::from(u16::from_le_bytes([index[1038], index[1039]]));
    let mut turned = 0;
    for at in (1280..index.len() - 12).step_by(4) {
        let nid = u64::from_le_bytes(index[at..at + 8].try_into().expect("eight bytes"));
        if nid > root && nid < root + 20 && index[at + 10] == 2 {
            let mut changed = index.clone();
            changed[at..at + 8].copy_from_slice(&root.to_le_bytes());
            fs::write(dir.join(INDEX), &changed).expect("write");
            let image = place.outside().join("image");
            let notes = Notes::default();
            match merged(&[(dir.clone(), notes)], &image) {
                Ok(_) => fs::remove_file(&image).expect("the image"),
                Err(e) => turned += u32::from(e.to_string().contains("comes twice")),
            }
        }
    }
    assert!(turned >= 3, "{turned}; {:?}", done.entries);
}

#[test]
fn an_archive_that_was_cut_later_is_refused() {
    let place = Place::new();
    let (dir, done) = place
        .keep("kept", &tar("f /a \"1\""), Limits::default())
        .expect("a valid layer");
    let layers = [(dir.clone(), done.notes)];
    let image = place.outside().join("image");
    fs::File::options()
        .write(true)
        .open(dir.join(TAR))
        .expect("open")
        .set_len(512)
        .expect("cut");
    assert!(matches!(
        merged(&layers, &image).expect_err("cut").kind(),
        ErrorKind::Damaged(_)
    ));
    fs::remove_file(dir.join(TAR)).expect("remove");
    assert!(merged(&layers, &image).is_err());
}

#[test]
fn a_link_to_nothing_is_refused_unless_an_upper_layer_hides_it() {
    let place = Place::new();
    let keep = |name: &str, text: &str| {
        let (dir, done) = place
            .keep(name, &tar(text), Limits::default())
            .expect("a valid layer");
        (dir, done.notes)
    };
    let (base, link) = (keep("base", "d /d"), keep("link", "h /d/h -> /nothing"));
    let hides = keep("hides", "f /d/h \"1\"");
    let image = |name| place.outside().join(name);
    let error = merged(&[base.clone(), link.clone()], &image("one")).expect_err("nothing");
    assert_eq!(error.entry(), Some(&b"d/h"[..]));
    merged(&[base, link, hides], &image("two")).expect("hidden");
}

#[test]
fn memory_of_an_index_is_limited() {
    let text: String = (0..1000).map(|i| format!("f /{i} \"\"\n")).collect();
    let limits = |bytes| {
        let mut limits = Limits::default();
        limits.record_bytes = bytes;
        limits
    };
    Place::new()
        .keep("kept", &tar(&text), limits(200_000))
        .expect("room");
    let error = Place::new()
        .keep("kept", &tar(&text), limits(50_000))
        .expect_err("a limit");
    assert_eq!(error.kind(), &ErrorKind::Limit("record_bytes", 50_000));
}

#[test]
fn the_index_of_a_layer_alone_is_its_image_unless_it_speaks_of_lower_ones() {
    for (text, copied) in [
        (
            "d /d\nf /d/a \"1\" x.user.a=\"b\"\nl /d/l -> a\nh /d/h -> /d/a",
            true,
        ),
        ("f /deep/down \"1\"", true),
        ("f /a \"1\"\nw /b", false),
        ("d /d\nf /d/a \"1\"\no /d", false),
        ("h /a -> /lower", false),
    ] {
        let place = Place::new();
        let (dir, done) = place
            .keep("kept", &tar(text), Limits::default())
            .expect("a valid layer");
        let lower = place
            .keep("lower", &tar("f /lower \"1\""), Limits::default())
            .expect("a valid layer");
        let out = dir.join("out");
        let lower = text.starts_with('h').then_some((lower.0, lower.1.notes));
        let layers: Vec<_> = lower.into_iter().chain([(dir.clone(), done.notes)]).collect();
        let image = merged(&layers, &out).expect("a valid image");
        let (index, merged) = (fs::read(dir.join(INDEX)).unwrap(), fs::read(&out).unwrap());
        assert_eq!(index == merged, copied, "{text}");
        assert_eq!(image.bytes, merged.len() as u64, "{text}");
        assert_eq!(image.devices.len(), layers.len(), "{text}");
    }
}
