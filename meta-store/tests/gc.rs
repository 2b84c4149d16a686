// SPDX-License-Identifier: Apache-2.0
//! What goes when room is made, and what stays.

mod common;

use std::fs;

use common::{id, image, keep, list, publish, tamper};
use image_spec::{Algorithm, Digest};
use meta_store::{Form, Gc, ImageRecord, Store};
use tempfile::{TempDir, tempdir};

/// Three images of a layer each and one in common, asked for in this order, long ago.
fn three() -> (TempDir, Store) {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "common");
    for (last_used, name) in (100..).zip(["old", "middle", "new"]) {
        publish(&store, name);
        let image = image(name, &["common", name]);
        store.put_image(&ImageRecord { last_used, ..image }).unwrap();
    }
    (dir, store)
}

fn names(store: &Store) -> Vec<String> {
    store
        .images()
        .unwrap()
        .into_iter()
        .map(|image| image.name)
        .collect()
}

#[test]
fn without_a_limit_nothing_goes_that_is_needed() {
    let (dir, store) = three();
    let collected = store.gc(&Gc::default()).unwrap();
    assert_eq!((collected.images.len(), collected.freed), (0, 0));
    assert_eq!(collected.bytes, store.disk_use().unwrap().total);
    assert_eq!(list(dir.path(), "layers").len(), 4);
    // A layer without an image may belong to a pull that will go on, for a day.
    publish(&store, "interrupted");
    store.gc(&Gc::default()).unwrap();
    assert!(store.layer(&id("interrupted"), Form::Tree).unwrap().is_some());
    tamper(dir.path(), "UPDATE layers SET created = 1");
    let collected = store.gc(&Gc::default()).unwrap();
    assert!(collected.freed > 0);
    assert_eq!(list(dir.path(), "layers").len(), 4);
}

#[test]
fn images_go_that_nobody_asked_for_in_a_while() {
    let (dir, store) = three();
    store.touch("new").unwrap();
    let week = Gc {
        unused_for: Some(7 * 24 * 3600),
        ..Gc::default()
    };
    let collected = store.gc(&week).unwrap();
    assert_eq!(collected.images, ["old", "middle"]);
    assert_eq!(names(&store), ["new"]);
    assert_eq!(list(dir.path(), "layers").len(), 2);
    assert!(store.gc(&week).unwrap().images.is_empty());
}

#[test]
fn images_go_until_the_rest_fits() {
    let (_dir, store) = three();
    let used = store.disk_use().unwrap();
    let gc = |max_bytes| {
        let max_bytes = Some(max_bytes);
        let collected = store.gc(&Gc {
            max_bytes,
            ..Gc::default()
        });
        collected.unwrap()
    };
    assert!(gc(used.total).images.is_empty());
    let collected = gc(used.total - 1);
    assert_eq!(collected.images, ["old"]);
    assert_eq!(collected.freed, used.total - collected.bytes);
    let collected = gc(0);
    assert_eq!(collected.images, ["middle", "new"]);
    assert_eq!(collected.bytes, 0);
}

#[test]
fn pinned_images_and_those_of_bundles_stay() {
    let (dir, store) = three();
    assert!(store.pin("old", true).unwrap());
    assert!(!store.pin("unknown", true).unwrap());
    let bundle = dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let layers = [id("common"), id("middle")];
    store
        .begin_mount(&bundle, "overlay", Form::Tree, &layers, "middle")
        .unwrap();
    let all = Gc {
        unused_for: Some(0),
        max_bytes: Some(0),
    };
    let collected = store.gc(&all).unwrap();
    assert_eq!(collected.images, ["new"]);
    assert!(collected.bytes > 0);
    // Pulled again it stays pinned.
    store.put_image(&image("old", &["common"])).unwrap();
    assert!(store.image("old").unwrap().unwrap().pinned);
    assert!(store.gc(&all).unwrap().images.is_empty());
    store.end_mount(&bundle).unwrap();
    store.pin("old", false).unwrap();
    assert_eq!(store.gc(&all).unwrap().images, ["old", "middle"]);
}

#[test]
fn while_others_pull_no_image_goes_in_vain() {
    let (_dir, store) = three();
    let lease = store.lease().unwrap();
    let gc = Gc {
        max_bytes: Some(0),
        ..Gc::default()
    };
    let collected = store.gc(&gc).unwrap();
    assert_eq!(collected.images, ["old"], "the others' layers would stay as well");
    assert!(collected.deferred && collected.freed == 0);
    drop(lease);
    assert_eq!(store.gc(&gc).unwrap().images, ["middle", "new"]);
}

#[test]
fn usage_is_told_by_its_parts() {
    let (dir, store) = three();
    keep(&store, "common");
    publish(&store, "interrupted");
    let bundle = dir.path().join("bundle");
    fs::create_dir(&bundle).unwrap();
    let mount = store
        .begin_mount(&bundle, "overlay", Form::Tree, &[id("new")], "new")
        .unwrap();
    fs::write(mount.state.join("written"), vec![1; 100_000]).unwrap();
    let stage = store.stage().unwrap();
    fs::write(stage.path().join("half"), vec![1; 50_000]).unwrap();
    let usage = store.usage().unwrap();
    assert_eq!((usage.images, usage.layers, usage.bundles), (3, 6, 1));
    assert_eq!(usage.layers_bytes, store.disk_use().unwrap().total);
    assert!(usage.unnamed_bytes > 0 && usage.unnamed_bytes < usage.layers_bytes);
    assert!((100_000..200_000).contains(&usage.bundles_bytes));
    assert!((50_000..100_000).contains(&usage.staging_bytes));
    assert!(usage.catalogue_bytes > 4096);
}

#[test]
fn an_image_is_known_by_its_digests_in_every_algorithm() {
    let (_dir, store) = three();
    let image = store.image("new").unwrap().unwrap();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        for document in [&image.top, &image.manifest] {
            let found = store.image_by_digest(&Digest::of(algorithm, document)).unwrap();
            assert_eq!(
                found.map(|found| found.name).as_deref(),
                Some("new"),
                "{algorithm:?}"
            );
        }
    }
    let other = Digest::of(Algorithm::Sha512, &image.manifest);
    store.put_image(&common::image("new", &["new"])).unwrap();
    assert!(
        store.image_by_digest(&other).unwrap().is_some(),
        "the same documents"
    );
    store.remove_image("new").unwrap();
    assert_eq!(store.image_by_digest(&other).unwrap(), None);
}
