// SPDX-License-Identifier: Apache-2.0
//! Images that do not keep what they promise.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::image::Blob;

/// A digest that nothing has.
const NOTHING: &str = "sha256:00000000000000000000000000000000000000000000000000000000000000ff";

/// One way in which an image contradicts itself; layers are counted from 0 at the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// The manifest gives the layer a digest that is not that of its bytes, and serves them under it.
    LayerDigest(usize),
    /// The manifest adds this to the layer's size.
    LayerSize(usize, i64),
    /// One byte in the middle of the layer is another; the digest stays.
    LayerBytes(usize),
    /// The config gives the layer another diff_id.
    DiffId(usize),
    /// The manifest names one layer more than the config (the first one again).
    ExtraLayer,
    /// The config names one layer more than the manifest.
    ExtraDiffId,
    /// The manifest gives the config a digest that is not that of its bytes, and serves it under it.
    ConfigDigest,
    /// The manifest adds this to the config's size.
    ConfigSize(i64),
    /// The config says another platform than the image was made for.
    ConfigPlatform,
}

impl Lie {
    pub(crate) fn config(self, config: &mut Value) {
        match self {
            Lie::DiffId(layer) => config["rootfs"]["diff_ids"][layer] = NOTHING.into(),
            Lie::ExtraDiffId => push(&mut config["rootfs"]["diff_ids"], NOTHING.into()),
            Lie::ConfigPlatform => config["architecture"] = json!("s390x"),
            _ => {}
        }
    }

    pub(crate) fn manifest(self, manifest: &mut Value) {
        match self {
            Lie::LayerDigest(layer) => manifest["layers"][layer]["digest"] = NOTHING.into(),
            Lie::LayerSize(layer, more) => add(&mut manifest["layers"][layer]["size"], more),
            Lie::ExtraLayer => {
                let first = manifest["layers"][0].clone();
                push(&mut manifest["layers"], first);
            }
            Lie::ConfigDigest => manifest["config"]["digest"] = NOTHING.into(),
            Lie::ConfigSize(more) => add(&mut manifest["config"]["size"], more),
            _ => {}
        }
    }

    pub(crate) fn blobs(self, config: &mut Blob, layers: &mut [Blob]) {
        match self {
            Lie::LayerDigest(layer) => layers[layer].digest = NOTHING.to_string(),
            Lie::ConfigDigest => config.digest = NOTHING.to_string(),
            Lie::LayerBytes(layer) => {
                let mut bytes = layers[layer].bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                layers[layer].bytes = Bytes::from(bytes);
            }
            _ => {}
        }
    }
}

fn add(size: &mut Value, more: i64) {
    *size = json!(size.as_i64().unwrap_or_default() + more);
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("a list").push(item);
}
