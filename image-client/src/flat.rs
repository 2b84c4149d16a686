// SPDX-License-Identifier: Apache-2.0
//! An image as one plain folder: layers applied one over the other, no store, no mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distribution::Source;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use unpack::{Root, Whiteouts};

use crate::bridge::{self, BlobReader};
use crate::error::{ErrorKind, Fault};
use crate::plan::{Layer, Plan};
use crate::progress::{Event, LayerStage, Progress};
use crate::threads;
use crate::{folder, remove};

/// Layers that are fetched while another is unpacked. Each holds at most a bridge's window in memory.
const AHEAD: usize = 1;

/// A folder being filled. Unless it is kept, what was put there is removed.
#[derive(Debug)]
pub(crate) struct Filling {
    root: Root,
    /// Where the user wants it.
    dir: PathBuf,
    /// Where it grows: beside `dir` under another name, or `dir` itself when that exists, as it may be a mount.
    at: PathBuf,
    kept: bool,
}

impl Filling {
    /// Prepares a folder that is absent or empty.
    pub(crate) fn begin(dir: &Path) -> Result<Self, Fault> {
        let dir = folder::absolute(dir)?;
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() && folder::is_empty(&dir)? => {
                return Ok(Self {
                    root: Root::open(&dir)?,
                    at: dir.clone(),
                    dir,
                    kept: false,
                });
            }
            Ok(meta) => {
                let what = if meta.is_dir() {
                    "folder is not empty"
                } else {
                    "not a folder"
                };
                return Err(Fault::new(
                    ErrorKind::Used,
                    format!("{what}: `{}`", dir.display()),
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Fault::io(format!("look at folder `{}`", dir.display()), e)),
        }
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let at = dir.with_file_name(format!(".{name}.partial-{:08x}", unlikely()));
        let root = Root::create(&at)
            .map_err(|e| Fault::from(e).under(format!("cannot make folder `{}`", at.display())))?;
        Ok(Self {
            root,
            dir,
            at,
            kept: false,
        })
    }

    /// Where the folder is until it is kept.
    pub(crate) fn place(&self) -> &Path {
        &self.at
    }

    /// Gives the full folder its name.
    fn keep(mut self) -> Result<PathBuf, Fault> {
        if self.at != self.dir {
            // Replaces an empty folder that came meanwhile, and fails on anything else.
            fs::rename(&self.at, &self.dir)
                .map_err(|e| Fault::io(format!("give the folder its name `{}`", self.dir.display()), e))?;
        }
        self.kept = true;
        Ok(self.dir.clone())
    }

    fn remove(&self) -> io::Result<()> {
        remove::empty(&self.at)?;
        if self.at == self.dir {
            Ok(())
        } else {
            fs::remove_dir(&self.at)
        }
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(folder = %self.at.display(), %error, "cannot remove an unfinished folder");
        }
    }
}

/// A number that nobody else uses now, but for bad luck, which then ends in an error.
fn unlikely() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() as u32
}

/// Fetches the layers in order and applies each over those before it. Returns the bytes unpacked.
pub(crate) async fn fill(
    plan: &Plan,
    source: &Arc<dyn Source>,
    filling: Filling,
    progress: &Arc<dyn Progress>,
) -> Result<(PathBuf, u64), Fault> {
    let (readers, queue) = mpsc::channel(AHEAD);
    let layers = plan.layers.clone();
    let heard = Arc::clone(progress);
    let applying = tokio::task::spawn_blocking(move || apply(filling, &layers, queue, &*heard));
    let mut pumps = JoinSet::new();
    let fetched = fetch(plan, source, progress, &readers, &mut pumps).await;
    drop(readers);
    if fetched.is_err() {
        pumps.shutdown().await;
    }
    // Always awaited: when a failure is told, the folder is gone.
    let applied = threads::join(applying).await;
    fetched?;
    applied
}

/// Opens the blobs in order, each when the unpacker is near it, and sees them all to their ends.
async fn fetch(
    plan: &Plan,
    source: &Arc<dyn Source>,
    progress: &Arc<dyn Progress>,
    readers: &mpsc::Sender<BlobReader>,
    pumps: &mut JoinSet<Result<(), Fault>>,
) -> Result<(), Fault> {
    for layer in &plan.layers {
        let (index, at) = (layer.at.index, layer.at);
        let place = loop {
            tokio::select! {
                place = readers.reserve() => break place,
                Some(pumped) = pumps.join_next() => ended(pumped)?,
            }
        };
        // The unpacker gave up; it says why.
        let Ok(place) = place else { break };
        let blob = source
            .blob(&layer.descriptor)
            .await
            .map_err(|e| Fault::from(e).in_layer(at))?;
        let (writer, reader) = bridge::channel();
        place.send(reader);
        let progress = Arc::clone(progress);
        pumps.spawn(async move {
            let pumped = bridge::pump(blob, writer, |bytes| {
                progress.event(&Event::LayerBytes { index, bytes })
            })
            .await;
            pumped.map_err(|e| Fault::from(e).in_layer(at))
        });
    }
    while let Some(pumped) = pumps.join_next().await {
        ended(pumped)?;
    }
    Ok(())
}

fn ended(pumped: Result<Result<(), Fault>, tokio::task::JoinError>) -> Result<(), Fault> {
    pumped.unwrap_or_else(|e| Err(Fault::because(ErrorKind::Io, "internal failure", e)))
}

fn apply(
    filling: Filling,
    layers: &[Layer],
    mut queue: mpsc::Receiver<BlobReader>,
    progress: &dyn Progress,
) -> Result<(PathBuf, u64), Fault> {
    let mut bytes: u64 = 0;
    for layer in layers {
        let index = layer.at.index;
        let Some(mut reader) = queue.blocking_recv() else {
            return Err(Fault::new(ErrorKind::Io, "the fetch stopped").in_layer(layer.at));
        };
        progress.event(&Event::LayerStage {
            index,
            stage: LayerStage::Fetching,
        });
        let unpacked = one(&filling.root, layer, &mut reader).map_err(|fault| fault.in_layer(layer.at))?;
        bytes = bytes.saturating_add(unpacked);
        progress.event(&Event::LayerDone { index, cached: false });
    }
    Ok((filling.keep()?, bytes))
}

fn one(root: &Root, layer: &Layer, reader: &mut BlobReader) -> Result<u64, Fault> {
    let unpacked = unpack::Layer::new(root)
        .whiteouts(Whiteouts::Remove)
        .codec(layer.codec)
        .algorithm(layer.algorithm())
        .verified(layer.descriptor.digest)
        .unpack(&mut *reader)?;
    reader
        .finish()
        .map_err(|e| Fault::io("read the layer to its end", e))?;
    layer.check(&unpacked)?;
    Ok(unpacked.bytes)
}
