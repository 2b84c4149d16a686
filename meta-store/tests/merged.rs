// SPDX-License-Identifier: Apache-2.0
//! Layers in two forms, the merged images made of them, and what all that takes on disk.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Barrier;

use common::{
    chain, chain_id, devices, id, image, keep, layer, list, merge, new_merged, publish, publish_merged,
    tamper,
};
use meta_store::{Device, ErrorKind, Form, NewLayer, NewMerged, Store};
use tempfile::{TempDir, tempdir};

/// A store with these layers kept.
fn with(layers: &[&str]) -> (TempDir, Store) {
    let dir = tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    for text in layers {
        keep(&store, text);
    }
    (dir, store)
}

fn folder(text: &str) -> String {
    format!("sha256-{}.erofs", id(text).hex())
}

#[test]
fn forms_of_a_layer_are_kept_side_by_side() {
    let (dir, store) = with(&[]);
    let tree = publish(&store, "a");
    assert_eq!(store.layer(&id("a"), Form::Erofs).unwrap(), None);
    let kept = keep(&store, "a");
    assert_eq!((tree.form, kept.form), (Form::Tree, Form::Erofs));
    assert_eq!(fs::read_to_string(tree.tree.join("word")).unwrap(), "a");
    assert_eq!(fs::read_to_string(kept.tree.join("tar")).unwrap(), "a");
    let store = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), Some(tree));
    assert_eq!(store.layer(&id("a"), Form::Erofs).unwrap(), Some(kept.clone()));
    fs::remove_dir_all(kept.tree).unwrap();
    assert_eq!(store.layer(&id("a"), Form::Erofs).unwrap(), None);
    assert!(
        store.layer(&id("a"), Form::Tree).unwrap().is_some(),
        "the other form is untouched"
    );
}

#[test]
fn kept_layer_without_its_archive_or_index_is_absent() {
    for file in ["tar", "index"] {
        let (dir, store) = with(&["a"]);
        let path = store
            .layer(&id("a"), Form::Erofs)
            .unwrap()
            .unwrap()
            .tree
            .join(file);
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert_eq!(store.layer(&id("a"), Form::Erofs).unwrap(), None, "{file}");
        keep(&store, "a");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{file}");
    }
}

#[test]
fn image_needs_its_layers_in_any_form_and_a_mount_in_its_own() {
    let (dir, store) = with(&["a"]);
    let bundle = dir.path().join("bundle");
    store.put_image(&image("x", &["a"])).unwrap();
    let error = store
        .begin_mount(&bundle, "overlay", Form::Tree, &[id("a")], "x")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    publish(&store, "a");
    let mount = store
        .begin_mount(&bundle, "erofs", Form::Erofs, &[id("a")], "x")
        .unwrap();
    assert_eq!(store.mount_of(&bundle).unwrap().unwrap().form, Form::Erofs);
    assert_eq!(mount.form, Form::Erofs);
    assert_eq!(store.remove_image("x").unwrap().layers, 1, "the form no one uses");
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
    assert!(store.layer(&id("a"), Form::Erofs).unwrap().is_some());
    store.end_mount(&bundle).unwrap();
    assert_eq!(list(&dir.path().join("store"), "layers"), [""; 0]);
}

#[test]
fn removal_takes_both_forms() {
    let (dir, store) = with(&["a"]);
    publish(&store, "a");
    store.put_image(&image("x", &["a"])).unwrap();
    assert_eq!(store.remove_image("x").unwrap().layers, 2);
    assert_eq!(list(&dir.path().join("store"), "layers"), [""; 0]);
}

#[test]
fn merged_image_is_found_with_its_devices_in_order() {
    let (dir, store) = with(&["a", "bb"]);
    let other = Store::open(&dir.path().join("store")).unwrap();
    let chain = chain_id(&["a", "bb", "a"]);
    assert_eq!(store.merged(&chain, 512).unwrap(), None);
    let mut new = new_merged(&store, &["a", "bb", "a"]);
    new.devices = devices(&store, &["bb", "a", "bb"]);
    let made = publish_merged(&store, &new, "merged").unwrap();
    assert_eq!(fs::read_to_string(&made.image).unwrap(), "merged");
    assert_eq!(made.devices, new.devices);
    assert_eq!(made.disk_bytes, fs::metadata(&made.image).unwrap().blocks() * 512);
    for store in [store, other] {
        assert_eq!(store.merged(&chain, 512).unwrap(), Some(made.clone()));
        assert_eq!(store.merged(&chain, 4096).unwrap(), None);
        assert_eq!(store.merged(&chain_id(&["a", "bb"]), 512).unwrap(), None);
    }
    let store = Store::open(&dir.path().join("store")).unwrap();
    let large = NewMerged {
        block_size: 4096,
        ..new
    };
    let large = publish_merged(&store, &large, "large").unwrap();
    assert_eq!(store.merged(&chain, 4096).unwrap(), Some(large));
    assert_eq!(store.merged(&chain, 512).unwrap(), Some(made));
    assert_eq!(list(&dir.path().join("store"), "staging"), [""; 0]);
}

#[test]
fn store_that_was_moved_still_finds_its_merged_images() {
    let (dir, store) = with(&["a"]);
    merge(&store, &["a"]);
    drop(store);
    fs::rename(dir.path().join("store"), dir.path().join("moved")).unwrap();
    let store = Store::open(&dir.path().join("moved")).unwrap();
    let found = store.merged(&chain_id(&["a"]), 512).unwrap().unwrap();
    assert_eq!(fs::read_to_string(&found.image).unwrap(), "a");
    assert_eq!(fs::read_to_string(&found.devices[0].file).unwrap(), "a");
}

#[test]
fn twins_merged_at_once_give_one_image() {
    let (dir, store) = with(&["a", "b"]);
    let start = Barrier::new(6);
    let images: Vec<_> = std::thread::scope(|scope| {
        let merging = |number: usize| {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                let new = new_merged(store, &["a", "b"]);
                start.wait();
                publish_merged(store, &new, &number.to_string()).unwrap().image
            })
        };
        let all: Vec<_> = (0..6).map(merging).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(images.iter().all(|image| *image == images[0]));
    let store_dir = dir.path().join("store");
    assert_eq!(list(&store_dir, "merged").len(), 1);
    assert_eq!(list(&store_dir, "staging"), [""; 0]);
}

#[test]
fn merged_image_goes_with_the_first_of_its_layers() {
    let (dir, store) = with(&["a", "b"]);
    let store_dir = dir.path().join("store");
    store.put_image(&image("one", &["a"])).unwrap();
    store.put_image(&image("two", &["a", "b"])).unwrap();
    let one = merge(&store, &["a"]);
    merge(&store, &["a", "b"]);
    store.remove_image("two").unwrap();
    assert_eq!(store.merged(&chain_id(&["a", "b"]), 512).unwrap(), None);
    assert_eq!(store.merged(&chain_id(&["a"]), 512).unwrap(), Some(one));
    assert_eq!(list(&store_dir, "merged").len(), 1);
    store.remove_image("one").unwrap();
    assert_eq!(list(&store_dir, "merged"), [""; 0]);
    assert_eq!(list(&store_dir, "layers"), [""; 0]);
}

#[test]
fn mount_keeps_the_merged_image_of_its_layers() {
    let (dir, store) = with(&["a", "b"]);
    let bundle = dir.path().join("bundle");
    store.put_image(&image("x", &["a", "b"])).unwrap();
    let made = merge(&store, &["a", "b"]);
    let layers = [id("a"), id("b")];
    store
        .begin_mount(&bundle, "erofs", Form::Erofs, &layers, "x")
        .unwrap();
    store.remove_image("x").unwrap();
    let again = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(
        again.merged(&chain_id(&["a", "b"]), 512).unwrap(),
        Some(made.clone())
    );
    store.end_mount(&bundle).unwrap();
    assert!(!made.image.exists());
}

#[test]
fn merged_image_that_lost_something_is_absent_and_made_again() {
    type Loss = fn(&Path, &Store);
    let table: [(&str, Loss); 5] = [
        ("the file", |image, _| fs::remove_file(image).unwrap()),
        ("its directory", |image, _| {
            fs::remove_dir_all(image.parent().unwrap()).unwrap()
        }),
        ("a device", |_, store| {
            fs::remove_file(&devices(store, &["b"])[0].file).unwrap()
        }),
        ("a layer without devices", |_, store| {
            fs::remove_dir_all(store.layer(&id("c"), Form::Erofs).unwrap().unwrap().tree).unwrap()
        }),
        ("a layer, published again", |_, store| {
            fs::remove_dir_all(store.layer(&id("a"), Form::Erofs).unwrap().unwrap().tree).unwrap();
            keep(store, "a");
        }),
    ];
    for (name, lose) in table {
        let (dir, store) = with(&["a", "b", "c"]);
        let mut new = new_merged(&store, &["a", "b", "c"]);
        new.devices.pop();
        let made = publish_merged(&store, &new, "one").unwrap();
        lose(&made.image, &store);
        assert_eq!(store.merged(&new.chain_id, 512).unwrap(), None, "{name}");
        for text in ["a", "b", "c"] {
            keep(&store, text);
        }
        let again = publish_merged(&store, &new, "two").unwrap();
        assert_ne!(again.image, made.image, "{name}: names are never used again");
        drop(store);
        let store = Store::open(&dir.path().join("store")).unwrap();
        assert_eq!(store.merged(&new.chain_id, 512).unwrap(), Some(again), "{name}");
        assert_eq!(
            list(&dir.path().join("store"), "merged").len(),
            1,
            "{name}: what was lost is swept"
        );
    }
}

#[test]
fn merged_image_of_an_earlier_boot_counts_only_after_sync() {
    let (dir, store) = with(&["a", "b"]);
    let store_dir = dir.path().join("store");
    merge(&store, &["a"]);
    store.sync().unwrap();
    merge(&store, &["b"]);
    drop(store);
    tamper(
        &store_dir,
        "UPDATE merged SET boot = 'an earlier one' WHERE boot IS NOT NULL",
    );
    let store = Store::open(&store_dir).unwrap();
    assert!(store.merged(&chain_id(&["a"]), 512).unwrap().is_some());
    assert_eq!(store.merged(&chain_id(&["b"]), 512).unwrap(), None);
    assert_eq!(list(&store_dir, "merged").len(), 1, "its file is swept");
    drop(store);
    tamper(&store_dir, "UPDATE layers SET boot = 'an earlier one'");
    let store = Store::open(&store_dir).unwrap();
    assert_eq!(
        store.merged(&chain_id(&["a"]), 512).unwrap(),
        None,
        "nor without its layers"
    );
    assert_eq!(list(&store_dir, "merged"), [""; 0]);
}

#[test]
fn what_has_no_record_is_swept_when_nobody_can_use_it() {
    let (dir, store) = with(&["a"]);
    let store_dir = dir.path().join("store");
    merge(&store, &["a"]);
    fs::create_dir(store_dir.join("merged/stranger")).unwrap();
    fs::write(store_dir.join("merged/stranger/image"), "?").unwrap();
    fs::create_dir_all(store_dir.join(format!("layers/{}/tree", folder("lost")))).unwrap();
    symlink("/etc", store_dir.join("merged/link")).unwrap();
    let lease = store.lease().unwrap();
    drop(Store::open(&store_dir).unwrap());
    assert_eq!(list(&store_dir, "merged").len(), 3, "a lease is held");
    drop(lease);
    drop(Store::open(&store_dir).unwrap());
    assert_eq!(list(&store_dir, "merged").len(), 1);
    assert_eq!(list(&store_dir, "layers"), [folder("a")]);
    assert!(store.merged(&chain_id(&["a"]), 512).unwrap().is_some());
    assert!(Path::new("/etc").exists());
}

#[test]
fn only_a_file_of_the_stage_and_files_of_the_layers_are_merged() {
    let (dir, store) = with(&["a", "b"]);
    publish(&store, "tree only");
    fs::write(dir.path().join("outside"), "").unwrap();
    let good = || new_merged(&store, &["a"]);
    let tree = store.layer(&id("a"), Form::Erofs).unwrap().unwrap().tree;
    symlink("/etc/passwd", tree.join("link")).unwrap();
    let device = |file: &Path| NewMerged {
        devices: vec![Device {
            file: file.to_owned(),
            offset: 0,
        }],
        ..good()
    };
    let named = |file: &str| NewMerged {
        file: file.into(),
        ..good()
    };
    let table = [
        (
            "elsewhere",
            device(&dir.path().join("outside")),
            ErrorKind::Invalid,
        ),
        ("a link", device(&tree.join("link")), ErrorKind::Invalid),
        ("a directory", device(&tree), ErrorKind::Invalid),
        ("nothing", device(&tree.join("none")), ErrorKind::Invalid),
        ("by `..`", device(&tree.join("../tree/tar")), ErrorKind::Invalid),
        (
            "of another layer",
            device(&devices(&store, &["b"])[0].file),
            ErrorKind::Invalid,
        ),
        ("no name", named(""), ErrorKind::Invalid),
        ("path", named("../outside"), ErrorKind::Invalid),
        ("lock", named("lock"), ErrorKind::Invalid),
        (
            "layers of the other form",
            NewMerged {
                layers: vec![id("a"), id("tree only")],
                ..good()
            },
            ErrorKind::Missing,
        ),
        (
            "too many layers",
            NewMerged {
                layers: vec![id("a"); 501],
                ..good()
            },
            ErrorKind::Invalid,
        ),
    ];
    for (name, new, kind) in table {
        let error = publish_merged(&store, &new, "x").unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
    }
    let store_dir = dir.path().join("store");
    assert_eq!(list(&store_dir, "merged"), [""; 0]);
    assert_eq!(list(&store_dir, "staging"), [""; 0]);
    assert_eq!(store.merged(&chain_id(&["a"]), 512).unwrap(), None);
}

#[test]
fn altered_records_lead_nowhere() {
    for sql in [
        "UPDATE merged SET name = '../../outside'",
        "UPDATE merged SET disk_bytes = -1",
        "UPDATE merged_devices SET start = -1",
        "UPDATE merged_devices SET file = '../../../outside'",
        "UPDATE merged_devices SET file = '/etc/passwd'",
        "UPDATE merged_devices SET file = ''",
    ] {
        let (dir, store) = with(&["a"]);
        fs::write(dir.path().join("outside"), "canary").unwrap();
        merge(&store, &["a"]);
        tamper(&dir.path().join("store"), sql);
        assert_eq!(store.merged(&chain_id(&["a"]), 512).unwrap(), None, "{sql}");
        assert!(dir.path().join("outside").exists(), "{sql}");
        let made = merge(&store, &["a"]).image;
        assert_eq!(fs::read_to_string(made).unwrap(), "a", "{sql}: healed");
    }
    let (dir, store) = with(&["a"]);
    tamper(&dir.path().join("store"), "UPDATE layers SET form = '../..'");
    assert_eq!(store.layer(&id("a"), Form::Erofs).unwrap(), None);
    drop(Store::open(&dir.path().join("store")).unwrap());
    assert_eq!(list(&dir.path().join("store"), "layers"), [""; 0]);
}

#[test]
fn disk_use_counts_shared_layers_once_in_all_and_for_each_image() {
    let (dir, store) = with(&["a"]);
    assert_eq!(store.disk_use().unwrap().images.len(), 0);
    let kept = store
        .layer(&id("a"), Form::Erofs)
        .unwrap()
        .unwrap()
        .disk_bytes
        .unwrap();
    let stage = store.stage().unwrap();
    fs::create_dir_all(stage.path().join("tree/usr")).unwrap();
    fs::write(stage.path().join("tree/usr/large"), vec![1; 1 << 20]).unwrap();
    let tree = store.publish(stage, layer("b")).unwrap();
    assert_eq!(tree.disk_bytes, None, "not measured while something waits for it");
    keep(&store, "b");
    keep(&store, "c");
    store.put_image(&image("one", &["a", "b", "a"])).unwrap();
    store.put_image(&image("two", &["b"])).unwrap();
    store.put_image(&image("none", &[])).unwrap();
    let merged = merge(&store, &["a", "b", "a"]).disk_bytes;
    let used = store.disk_use().unwrap();
    let tree = store
        .layer(&id("b"), Form::Tree)
        .unwrap()
        .unwrap()
        .disk_bytes
        .unwrap();
    assert!(tree >= 1 << 20, "{tree}");
    assert_eq!(used.images["two"], tree + kept);
    assert_eq!(used.images["one"], tree + kept + kept + merged);
    assert_eq!(used.images["none"], 0);
    assert_eq!(used.total, tree + 3 * kept + merged);
    assert_eq!(
        Store::open(&dir.path().join("store"))
            .unwrap()
            .disk_use()
            .unwrap(),
        used
    );
    store.remove_image("one").unwrap();
    store.remove_image("two").unwrap();
    assert_eq!(store.disk_use().unwrap().total, kept, "no image has had `c` yet");
}

#[test]
fn disk_use_passes_over_records_without_their_tree() {
    let (_dir, store) = with(&[]);
    let tree = publish(&store, "a").tree;
    fs::remove_dir_all(tree).unwrap();
    assert_eq!(store.disk_use().unwrap().total, 0);
}

#[test]
fn kept_layer_is_measured_with_its_holes() {
    let (_dir, store) = with(&[]);
    let stage = store.stage().unwrap();
    let tree = stage.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for file in ["tar", "index"] {
        fs::write(tree.join(file), vec![1; 70_000]).unwrap();
    }
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let form = Form::Erofs;
    let record = store.publish(stage, NewLayer { form, ..layer("a") }).unwrap();
    let bytes = record.disk_bytes.unwrap();
    assert!((140_000..200_000).contains(&bytes), "{bytes}");
}
