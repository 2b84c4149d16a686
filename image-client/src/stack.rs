// SPDX-License-Identifier: Apache-2.0
//! From the layers in the store to what a snapshotter mounts.

use std::collections::BTreeSet;
use std::slice;

use image_spec::RootFs;
use meta_store::{Form, LayerRecord, MergedRecord, NewMerged, Stage, Store};
use snapshot::Snapshotter;
use unpack::Notes;
use unpack::erofs::{self, Blocks, Source};

use crate::error::{ErrorKind, Fault};
use crate::plan::Layer;

/// The name of the merged image inside its stage.
const MERGED: &str = "merged";

/// What a snapshotter wants of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Each unpacked.
    Trees,
    /// Each kept as an archive, and one image over all of them.
    Merged(Blocks),
}

impl Wanted {
    pub(crate) fn by(snapshotter: &dyn Snapshotter) -> Result<Self, Fault> {
        match snapshotter.form() {
            snapshot::Form::Trees => Ok(Self::Trees),
            snapshot::Form::Images { small_blocks: true } => Ok(Self::Merged(Blocks::Small)),
            snapshot::Form::Images { small_blocks: false } => Ok(Self::Merged(Blocks::Page)),
            _ => {
                let text = format!("the snapshotter takes no layers: `{}`", snapshotter.name());
                Err(Fault::new(ErrorKind::Unsupported("snapshotter".to_owned()), text))
            }
        }
    }

    /// How the store keeps the layers.
    pub(crate) fn form(self) -> Form {
        match self {
            Self::Trees => Form::Tree,
            Self::Merged(_) => Form::Erofs,
        }
    }

    /// The layers for the snapshotter. `records` are those of the plan's layers, in this form and order.
    pub(crate) fn stack(
        self,
        store: &Store,
        layers: &[Layer],
        records: &[LayerRecord],
    ) -> Result<Vec<snapshot::Layer>, Fault> {
        match self {
            Self::Trees => trees(records),
            Self::Merged(_) if records.is_empty() => Ok(Vec::new()),
            Self::Merged(blocks) => {
                let image = Some(image(merged(store, blocks, layers, records)?));
                Ok(vec![snapshot::Layer {
                    image,
                    ..snapshot::Layer::default()
                }])
            }
        }
    }
}

/// The trees, bottom first, each once: the kernel stacks no tree twice.
///
/// Whatever a layer shows, hides or describes, its topmost place does the same to all below, so the lower ones
/// change nothing. Only a hard link in between can need a file of the lower place; then all are kept.
fn trees(records: &[LayerRecord]) -> Result<Vec<snapshot::Layer>, Fault> {
    let layers = records.iter().map(tree).collect::<Result<Vec<_>, _>>()?;
    if layers.iter().any(|layer| !layer.links.is_empty()) {
        return Ok(layers);
    }
    let mut above = BTreeSet::new();
    let top_down = layers.into_iter().zip(records).rev();
    let mut once: Vec<_> = top_down
        .filter(|(_, record)| above.insert(record.diff_id))
        .map(|(layer, _)| layer)
        .collect();
    once.reverse();
    Ok(once)
}

fn tree(record: &LayerRecord) -> Result<snapshot::Layer, Fault> {
    let notes = notes(record)?;
    Ok(snapshot::Layer {
        tree: record.tree.clone(),
        image: None,
        implied: notes.implied,
        whiteouts: notes.whiteouts,
        links: notes.links,
        opaque_root: notes.opaque_root,
    })
}

fn notes(record: &LayerRecord) -> Result<Notes, Fault> {
    Notes::decode(&record.notes).ok_or_else(|| {
        let text = format!("the store's notes on a layer are damaged: `{}`", record.diff_id);
        Fault::new(ErrorKind::Store, text)
    })
}

/// The image over the layers: found by their chain id, or made.
fn merged(
    store: &Store,
    blocks: Blocks,
    layers: &[Layer],
    records: &[LayerRecord],
) -> Result<MergedRecord, Fault> {
    let diff_ids: Vec<_> = records.iter().map(|record| record.diff_id).collect();
    let Some(chain_id) = RootFs::new(diff_ids.clone()).chain_id() else {
        return Err(Fault::new(ErrorKind::Document, "the image has no layers"));
    };
    let block_size = match blocks {
        Blocks::Small => 512,
        Blocks::Page => 4096,
    };
    if let Some(found) = store.merged(&chain_id, block_size)? {
        return Ok(found);
    }
    let notes = records.iter().map(notes).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<Source<'_>> = records
        .iter()
        .zip(&notes)
        .map(|(record, notes)| Source {
            dir: &record.tree,
            notes,
        })
        .collect();
    let stage = store.stage()?;
    let merged = erofs::merge(&sources, blocks, &stage.path().join(MERGED)).map_err(|error| {
        let layer = culprit(&stage, blocks, &sources, &error).and_then(|index| layers.get(index));
        let fault = Fault::from(error);
        match layer {
            Some(layer) => fault.in_layer(layer.at),
            None => fault.under("cannot merge the layers"),
        }
    })?;
    tracing::info!(
        layers = records.len(),
        inodes = merged.inodes,
        bytes = merged.bytes,
        "layers merged"
    );
    let device = |device: erofs::Device| meta_store::Device {
        file: device.file,
        offset: device.offset,
    };
    let merged = NewMerged {
        chain_id,
        block_size,
        layers: diff_ids,
        file: MERGED.to_owned(),
        devices: merged.devices.into_iter().map(device).collect(),
    };
    Ok(store.publish_merged(stage, &merged)?)
}

/// Which layer a merge failed at, as far as it can be told.
fn culprit(stage: &Stage, blocks: Blocks, sources: &[Source<'_>], error: &unpack::Error) -> Option<usize> {
    if let Some(name) = error.entry() {
        let has_link = |source: &Source<'_>| source.notes.links.iter().any(|(link, _)| link == name);
        return sources.iter().rposition(has_link);
    }
    let is_damaged = |error: &unpack::Error| matches!(error.kind(), unpack::ErrorKind::Damaged(_));
    let fails_alone = |(number, source): (usize, &Source<'_>)| {
        let out = stage.path().join(format!("alone-{number}"));
        erofs::merge(slice::from_ref(source), blocks, &out).is_err_and(|error| is_damaged(&error))
    };
    if !is_damaged(error) {
        return None;
    }
    sources.iter().enumerate().position(fails_alone)
}

fn image(merged: MergedRecord) -> snapshot::Image {
    let device = |device: meta_store::Device| snapshot::Device {
        file: device.file,
        offset: device.offset,
    };
    snapshot::Image {
        index: merged.image,
        devices: merged.devices.into_iter().map(device).collect(),
    }
}
