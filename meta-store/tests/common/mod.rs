// SPDX-License-Identifier: Apache-2.0
//! What the tests of the store share: layers and images made from a few words.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::Path;

use image_spec::{Digest, RootFs};
use meta_store::{Device, Error, Form, ImageRecord, LayerRecord, MergedRecord, NewLayer, NewMerged, Store};

/// The diff id of a made-up layer.
pub(crate) fn id(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(crate) fn layer(text: &str) -> NewLayer {
    NewLayer {
        diff_id: id(text),
        form: Form::Tree,
        blob_digest: id(&format!("blob of {text}")),
        bytes: text.len() as u64,
        entries: 1,
        notes: text.as_bytes().to_vec(),
        tree: "tree".into(),
    }
}

/// Publishes a layer whose tree holds the file `word` with the text.
pub(crate) fn publish(store: &Store, text: &str) -> LayerRecord {
    let stage = store.stage().unwrap();
    fs::create_dir(stage.path().join("tree")).unwrap();
    fs::write(stage.path().join("tree/word"), text).unwrap();
    store.publish(stage, layer(text)).unwrap()
}

/// Publishes a layer as an archive that holds the text, with an index.
pub(crate) fn keep(store: &Store, text: &str) -> LayerRecord {
    let stage = store.stage().unwrap();
    let tree = stage.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("tar"), text).unwrap();
    fs::write(tree.join("index"), "where it is").unwrap();
    let form = Form::Erofs;
    store.publish(stage, NewLayer { form, ..layer(text) }).unwrap()
}

/// The chain id of layers.
pub(crate) fn chain_id(layers: &[&str]) -> Digest {
    RootFs::new(layers.iter().map(|text| id(text)).collect())
        .chain_id()
        .unwrap()
}

/// The archives of kept layers, each as one device.
pub(crate) fn devices(store: &Store, layers: &[&str]) -> Vec<Device> {
    let device = |text: &&str| Device {
        file: store
            .layer(&id(text), Form::Erofs)
            .unwrap()
            .unwrap()
            .tree
            .join("tar"),
        offset: 512 * text.len() as u64,
    };
    layers.iter().map(device).collect()
}

/// What merging these layers makes, with blocks of 512 bytes.
pub(crate) fn new_merged(store: &Store, layers: &[&str]) -> NewMerged {
    NewMerged {
        chain_id: chain_id(layers),
        block_size: 512,
        layers: layers.iter().map(|text| id(text)).collect(),
        file: "merged".into(),
        devices: devices(store, layers),
    }
}

pub(crate) fn publish_merged(
    store: &Store,
    merged: &NewMerged,
    content: &str,
) -> Result<MergedRecord, Error> {
    let stage = store.stage().unwrap();
    fs::write(stage.path().join("merged"), content).unwrap();
    store.publish_merged(stage, merged)
}

/// Merges kept layers.
pub(crate) fn merge(store: &Store, layers: &[&str]) -> MergedRecord {
    publish_merged(store, &new_merged(store, layers), &layers.join("+")).unwrap()
}

pub(crate) fn config(layers: &[&str]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|text| format!("\"{}\"", id(text))).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    )
    .into_bytes()
}

pub(crate) fn image(name: &str, layers: &[&str]) -> ImageRecord {
    let config = config(layers);
    let manifest = format!("the manifest of {name}").into_bytes();
    let top = format!("the index of {name}").into_bytes();
    ImageRecord {
        name: name.into(),
        top_digest: Digest::sha256(&top),
        manifest_digest: Digest::sha256(&manifest),
        config_digest: Digest::sha256(&config),
        top,
        manifest,
        config,
        platform: "linux/amd64".into(),
        size: 7,
        created: 1,
        last_used: 2,
        pinned: false,
    }
}

/// The names in a folder of the work directory.
pub(crate) fn list(work_dir: &Path, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(work_dir.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Changes the catalogue behind the store's back.
pub(crate) fn tamper(work_dir: &Path, sql: &str) {
    rusqlite::Connection::open(work_dir.join("catalogue.db"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

/// An error with its causes, as a user reads it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}
