// SPDX-License-Identifier: Apache-2.0
//! Brings the layers of a plan into the store: a few at once, each once, in any order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use distribution::Source;
use image_spec::Digest;
use meta_store::{Claim, Form, LayerRecord, NewLayer, Store};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use unpack::Root;

use crate::bridge::{self, BlobReader};
use crate::client::Shared;
use crate::error::{ErrorKind, Fault};
use crate::plan::{Layer, Plan};
use crate::progress::{Event, LayerStage, Progress};
use crate::threads::{self, blocking};

/// The name of the layer's tree inside its stage.
const TREE: &str = "tree";
/// How many mirrors may send a wrong layer before the pull gives up on it.
const MAX_LIARS: usize = 8;
/// How often a layer that someone else fetches is looked for: soon enough not to be felt.
const CLAIM_AGAIN: Duration = Duration::from_millis(20);

/// The layers of an image, all in the store.
#[derive(Debug)]
pub(crate) struct Landed {
    /// Bottom first, repeats kept.
    pub(crate) records: Vec<LayerRecord>,
    /// For each layer whether it needed no fetch.
    pub(crate) reused: Vec<bool>,
    pub(crate) downloaded: u64,
    pub(crate) unpacked: u64,
}

/// What the tasks of one request share.
struct Work {
    shared: Arc<Shared>,
    store: Arc<Store>,
    source: Arc<dyn Source>,
    form: Form,
    progress: Arc<dyn Progress>,
    /// Held by every blocking thread of this request, so that its end can be awaited.
    alive: mpsc::Sender<()>,
}

/// What came of one distinct layer.
struct Outcome {
    index: usize,
    record: LayerRecord,
    fetched: Option<Fetch>,
}

struct Fetch {
    downloaded: u64,
    unpacked: u64,
}

/// Makes sure that every layer of the plan is in the store in this form. One that is there only in another is
/// fetched again.
///
/// The first failure ends the others; layers that are complete by then stay in the store.
pub(crate) async fn land(
    shared: &Arc<Shared>,
    store: &Arc<Store>,
    source: Arc<dyn Source>,
    plan: &Plan,
    form: Form,
    progress: &Arc<dyn Progress>,
) -> Result<Landed, Fault> {
    let (alive, mut all_ended) = mpsc::channel(1);
    let work = Arc::new(Work {
        shared: Arc::clone(shared),
        store: Arc::clone(store),
        source,
        form,
        progress: Arc::clone(progress),
        alive,
    });
    let mut first: BTreeMap<Digest, usize> = BTreeMap::new();
    let distinct = |layer: &&Layer| *first.entry(layer.diff_id).or_insert(layer.at.index) == layer.at.index;
    let distinct: VecDeque<Layer> = plan.layers.iter().filter(distinct).cloned().collect();
    let mut tasks = JoinSet::new();
    let outcomes = all(&work, distinct, &mut tasks).await;
    drop(work);
    if outcomes.is_err() {
        // Stop the network, then wait for the threads: when the failure is told, the staging is gone.
        tasks.shutdown().await;
        while all_ended.recv().await.is_some() {}
    }
    Ok(order(plan, &first, outcomes?, progress))
}

/// Begins the layers bottom first, each when there is a place, and waits for all.
async fn all(
    work: &Arc<Work>,
    mut waiting: VecDeque<Layer>,
    tasks: &mut JoinSet<Result<Outcome, Fault>>,
) -> Result<BTreeMap<usize, Outcome>, Fault> {
    let mut outcomes = BTreeMap::new();
    loop {
        tokio::select! {
            slot = slot(&work.shared), if !waiting.is_empty() => {
                if let Some(layer) = waiting.pop_front() {
                    tasks.spawn(one(Arc::clone(work), layer, slot));
                }
            }
            Some(result) = tasks.join_next() => {
                let outcome = result.map_err(|e| Fault::because(ErrorKind::Io, "internal failure", e))??;
                outcomes.insert(outcome.index, outcome);
            }
            else => return Ok(outcomes),
        }
    }
}

/// Waits for one of the client's few places.
async fn slot(shared: &Shared) -> Option<OwnedSemaphorePermit> {
    // The semaphore is never closed.
    Arc::clone(&shared.slots).acquire_owned().await.ok()
}

/// Puts the outcomes into the order of the config, which alone decides it.
fn order(
    plan: &Plan,
    first: &BTreeMap<Digest, usize>,
    outcomes: BTreeMap<usize, Outcome>,
    progress: &Arc<dyn Progress>,
) -> Landed {
    let mut landed = Landed {
        records: Vec::new(),
        reused: Vec::new(),
        downloaded: 0,
        unpacked: 0,
    };
    for layer in &plan.layers {
        let index = layer.at.index;
        let Some(outcome) = first.get(&layer.diff_id).and_then(|index| outcomes.get(index)) else {
            continue;
        };
        landed.records.push(outcome.record.clone());
        match &outcome.fetched {
            Some(fetch) if outcome.index == index => {
                landed.reused.push(false);
                landed.downloaded = landed.downloaded.saturating_add(fetch.downloaded);
                landed.unpacked = landed.unpacked.saturating_add(fetch.unpacked);
            }
            _ => landed.reused.push(true),
        }
        if outcome.index != index {
            progress.event(&Event::LayerDone { index, cached: true });
        }
    }
    landed
}

async fn one(work: Arc<Work>, layer: Layer, slot: Option<OwnedSemaphorePermit>) -> Result<Outcome, Fault> {
    let at = layer.at;
    let mut result = get(&work, layer.clone(), slot).await;
    for _ in 0..MAX_LIARS {
        match &result {
            // That mirror is left alone now.
            Err(fault) if fault.is_from_mirror() => {
                tracing::info!(layer = %at, "fetching it again, from elsewhere")
            }
            _ => break,
        }
        result = get(&work, layer.clone(), self::slot(&work.shared).await).await;
    }
    let result = result.map_err(|fault| fault.in_layer(at));
    if let Ok(outcome) = &result {
        let cached = outcome.fetched.is_none();
        work.progress.event(&Event::LayerDone {
            index: at.index,
            cached,
        });
    }
    result
}

async fn get(work: &Arc<Work>, layer: Layer, slot: Option<OwnedSemaphorePermit>) -> Result<Outcome, Fault> {
    let index = layer.at.index;
    let (claim, slot) = match claim(work, index, layer.diff_id, slot).await? {
        Claimed::Stored(record) => {
            return Ok(Outcome {
                index,
                record: *record,
                fetched: None,
            });
        }
        Claimed::Ours(claim, slot) => (claim, slot),
    };
    work.progress.event(&Event::LayerStage {
        index,
        stage: LayerStage::Fetching,
    });
    let blob = work.source.blob(&layer.descriptor).await?;
    let downloaded = blob.size();

    let (writer, reader) = bridge::channel();
    let (store, form, alive) = (Arc::clone(&work.store), work.form, work.alive.clone());
    let landing = tokio::task::spawn_blocking(move || {
        let result = unpack(&store, &layer, form, reader);
        // Place and claim come free, and the end is told, only when this thread has cleaned up.
        drop((slot, claim, alive));
        result
    });
    let progress = Arc::clone(&work.progress);
    let pumped = bridge::pump(blob, writer, |bytes| {
        progress.event(&Event::LayerBytes { index, bytes })
    })
    .await;
    work.progress.event(&Event::LayerStage {
        index,
        stage: LayerStage::Finishing,
    });
    let landed = threads::join(landing).await;
    // A source that fails makes the unpacker fail too, and is the true cause.
    pumped?;
    let (record, unpacked) = landed?;
    Ok(Outcome {
        index,
        record,
        fetched: Some(Fetch { downloaded, unpacked }),
    })
}

enum Claimed {
    Stored(Box<LayerRecord>),
    Ours(Claim, Option<OwnedSemaphorePermit>),
}

/// Finds the layer in the store, or gets the right to fetch it; of all clients and processes only one has it.
///
/// A place is given back while someone else fetches the layer: who holds a place waits for nobody, so that places
/// always come free.
async fn claim(
    work: &Arc<Work>,
    index: usize,
    diff_id: Digest,
    mut place: Option<OwnedSemaphorePermit>,
) -> Result<Claimed, Fault> {
    loop {
        let (store, form) = (Arc::clone(&work.store), work.form);
        match blocking(move || find_or_claim(&store, &diff_id, form)).await? {
            Found::Record(record) => return Ok(Claimed::Stored(record)),
            Found::Claim(claim) => {
                let place = match place {
                    Some(place) => Some(place),
                    None => slot(&work.shared).await,
                };
                return Ok(Claimed::Ours(claim, place));
            }
            Found::Busy => {
                if place.take().is_some() {
                    let stage = LayerStage::Waiting;
                    work.progress.event(&Event::LayerStage { index, stage });
                }
                // Asked again rather than waited for: a thread that waits for a lock cannot be cancelled.
                tokio::time::sleep(CLAIM_AGAIN).await;
            }
        }
    }
}

enum Found {
    Record(Box<LayerRecord>),
    Claim(Claim),
    Busy,
}

fn find_or_claim(store: &Store, diff_id: &Digest, form: Form) -> Result<Found, Fault> {
    if let Some(record) = store.layer(diff_id, form)? {
        return Ok(Found::Record(Box::new(record)));
    }
    let Some(claim) = store.try_claim(diff_id)? else {
        return Ok(Found::Busy);
    };
    // Whoever had the claim before may have brought the layer.
    Ok(match store.layer(diff_id, form)? {
        Some(record) => Found::Record(Box::new(record)),
        None => Found::Claim(claim),
    })
}

/// Unpacks or keeps one blob in the store's staging and publishes it when everything holds; else nothing stays.
fn unpack(
    store: &Store,
    layer: &Layer,
    form: Form,
    mut reader: BlobReader,
) -> Result<(LayerRecord, u64), Fault> {
    let stage = store.stage()?;
    let root = Root::create(&stage.path().join(TREE))?;
    let reading = unpack::Layer::new(&root)
        .whiteouts(unpack::Whiteouts::Overlay)
        .codec(layer.codec)
        .algorithm(layer.algorithm())
        .verified(layer.descriptor.digest);
    let unpacked = match form {
        Form::Erofs => reading.keep(&mut reader)?,
        _ => reading.unpack(&mut reader)?,
    };
    drop(root);
    reader
        .finish()
        .map_err(|e| Fault::io("read the layer to its end", e))?;
    layer.check(&unpacked)?;
    tracing::info!(
        blob = %layer.descriptor.digest.short(),
        entries = unpacked.entries,
        bytes = unpacked.bytes,
        dropped_xattrs = unpacked.dropped_xattrs,
        ?form,
        "layer unpacked"
    );
    let bytes = unpacked.bytes;
    let record = store.publish(
        stage,
        NewLayer {
            diff_id: layer.diff_id,
            form,
            blob_digest: layer.descriptor.digest,
            bytes,
            entries: unpacked.entries,
            notes: unpacked.notes.encode(),
            tree: TREE.into(),
        },
    )?;
    Ok((record, bytes))
}
