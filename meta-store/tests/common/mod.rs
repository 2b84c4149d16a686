// SPDX-License-Identifier: Apache-2.0
//! What the tests of the store share: layers and images made from a few words.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::Path;

use image_spec::Digest;
use meta_store::{ImageRecord, LayerRecord, NewLayer, Store};

/// The diff id of a made-up layer.
pub(crate) fn id(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

pub(crate) fn layer(text: &str) -> NewLayer {
    NewLayer {
        diff_id: id(text),
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
