// SPDX-License-Identifier: Apache-2.0
//! The pull: name, admission, plan, layers, mount, in this order and no other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use meta_store::{Form, ImageRecord, Store};
use snapshot::Snapshotter;

use crate::client::{Client, Request, Shared};
use crate::error::{Action, Error, ErrorKind, Fault};
use crate::find::{self, Found};
use crate::layers::{self, Landed};
use crate::mount::{self, Recipe};
use crate::plan::Plan;
use crate::progress::{Event, Stage};
use crate::report::{Admission, Clock, Fetched, Pulled, Timings, Unpacked};
use crate::stack::Wanted;
use crate::threads::blocking;
use crate::{faults, flat, folder, space};

impl Client {
    /// Pulls an image, mounts it at `bundle`/rootfs and writes `bundle`/config.json.
    ///
    /// The bundle's folder is made when absent; its `rootfs` may exist if empty. The policy is asked each time, also
    /// when everything is in the store. A reference with a digest whose image is in the store needs no network.
    ///
    /// # Errors
    /// The bundle is then as it was before. Layers that were complete stay in the store for the next try.
    pub async fn pull(&self, request: impl Into<Request>, bundle: impl AsRef<Path>) -> Result<Pulled, Error> {
        let request = request.into();
        // On the heap, so that callers' own futures stay small and shallow.
        Box::pin(pull(&self.shared, &request, bundle.as_ref()))
            .await
            .map_err(|fault| Error::new(Action::Pull, &request.image, fault))
    }

    /// Unpacks an image into a folder which is absent or empty: one plain root filesystem, no store, no mount.
    ///
    /// Owners, device files and some attributes need the rights of root.
    ///
    /// # Errors
    /// The folder is then absent or empty as before.
    pub async fn unpack(
        &self,
        request: impl Into<Request>,
        dir: impl AsRef<Path>,
    ) -> Result<Unpacked, Error> {
        let request = request.into();
        Box::pin(unpack(&self.shared, &request, dir.as_ref()))
            .await
            .map_err(|fault| Error::new(Action::Unpack, &request.image, fault))
    }
}

/// An admitted image, ready to be fetched, and the time so far.
struct Ready {
    found: Found,
    admission: Admission,
    plan: Plan,
    clock: Clock,
    timings: Timings,
}

/// Resolves, asks the policy, and plans.
async fn ready(
    shared: &Arc<Shared>,
    store: Option<&Arc<Store>>,
    request: &Request,
    mut clock: Clock,
) -> Result<Ready, Fault> {
    // Without one there is nothing to ask for.
    let policy = find::policy(shared)?;
    let mut timings = Timings::default();
    let tell = |stage| request.progress.event(&Event::Stage(stage));
    tell(Stage::Resolving);
    let found = find::find(shared, store, request).await?;
    tracing::info!(image = found.name, manifest = %found.manifest.digest, "resolved");
    timings.resolve = clock.lap();
    tell(Stage::Admitting);
    let admitted = find::admit(policy, &found)?;
    tracing::info!(
        scope = admitted.verdict().scope,
        policy = admitted.verdict().source,
        "admitted"
    );
    timings.admit = clock.lap();
    tell(Stage::Planning);
    let platform = request.platform.as_ref().unwrap_or(&shared.platform);
    let plan = Plan::of(&admitted, &*found.source, found.known_config.clone(), platform).await?;
    find::announce(&plan, &found, request);
    timings.plan = clock.lap();
    tell(Stage::Layers);
    Ok(Ready {
        admission: admitted.verdict().into(),
        found,
        plan,
        clock,
        timings,
    })
}

async fn pull(shared: &Arc<Shared>, request: &Request, bundle: &Path) -> Result<Pulled, Fault> {
    let clock = Clock::start();
    let store = shared.store().await?;
    let (bundle, snapshotter) = prepare(shared, &store, bundle).await?;
    let wanted = Wanted::by(&*snapshotter)?;
    // From here to the mount's record no process may remove a layer that was found or brought.
    let leased = Arc::clone(&store);
    let lease = blocking(move || Ok(leased.lease()?)).await?;
    let mut ready = ready(shared, Some(&store), request, clock).await?;

    mount::check_config(&ready.plan.config)?;
    let needed = needed(&store, &ready.plan, wanted.form()).await?;
    space::refuse_full(shared.work_dir(), needed)?;
    let source = Arc::clone(&ready.found.source);
    let landed = layers::land(
        shared,
        &store,
        source,
        &ready.plan,
        wanted.form(),
        &request.progress,
    )
    .await
    .map_err(|fault| space::explain(fault, shared.work_dir(), needed))?;
    ready.timings.layers = ready.clock.lap();

    request.progress.event(&Event::Stage(Stage::Mounting));
    let mut image = ready.report(&landed);
    let record = ready.record();
    let (name, path) = (snapshotter.name(), bundle.clone());
    let mounted = blocking(move || {
        let layers = wanted.stack(&store, &ready.plan.layers, &landed.records)?;
        store.put_image(&record)?;
        let recipe = Recipe {
            bundle: &path,
            image: &record.name,
            config: &ready.plan.config,
            form: wanted.form(),
            layers: &layers,
        };
        mount::Bundle::make(store, snapshotter, &recipe)
    });
    mounted.await?.keep();
    tracing::info!(bundle = %bundle.display(), snapshotter = name, "mounted");
    drop(lease);
    image.timings.mount = ready.clock.lap();
    image.timings.total = ready.clock.total();
    request.progress.event(&Event::Stage(Stage::Done));
    Ok(Pulled {
        image,
        rootfs: bundle.join("rootfs"),
        snapshotter: name,
        bundle,
    })
}

async fn unpack(shared: &Arc<Shared>, request: &Request, dir: &Path) -> Result<Unpacked, Fault> {
    let clock = Clock::start();
    let dir = dir.to_path_buf();
    let filling = blocking(move || flat::Filling::begin(&dir)).await?;
    let mut ready = ready(shared, None, request, clock).await?;

    let (place, needed) = (filling.place().to_path_buf(), Plan::bytes(&ready.plan.layers));
    space::refuse_full(&place, needed)?;
    let (dir, unpacked) = flat::fill(&ready.plan, &ready.found.source, filling, &request.progress)
        .await
        .map_err(|fault| space::explain(fault, &place, needed))?;
    ready.timings.layers = ready.clock.lap();
    ready.timings.total = ready.clock.total();
    let layers = &ready.plan.layers;
    let downloaded = layers
        .iter()
        .fold(0, |sum: u64, layer| sum.saturating_add(layer.descriptor.size));
    let landed = Landed {
        records: Vec::new(),
        reused: vec![false; layers.len()],
        downloaded,
        unpacked,
    };
    request.progress.event(&Event::Stage(Stage::Done));
    Ok(Unpacked {
        image: ready.report(&landed),
        dir,
    })
}

/// What must hold before anything is asked of the network: an unused bundle and a snapshotter that works.
async fn prepare(
    shared: &Arc<Shared>,
    store: &Arc<Store>,
    bundle: &Path,
) -> Result<(PathBuf, Arc<dyn Snapshotter>), Fault> {
    let (shared, store, bundle) = (Arc::clone(shared), Arc::clone(store), bundle.to_path_buf());
    blocking(move || {
        let bundle = folder::absolute(&bundle)?;
        snapshot::bundle::check_unused(&bundle)?;
        if store.mount_of(&bundle)?.is_some() {
            let text = format!("the store has a mount for the bundle: `{}`", bundle.display());
            return Err(Fault::new(ErrorKind::Used, text));
        }
        let snapshotter = snapshot::choose(&shared.snapshotter, shared.work_dir())
            .map_err(|error| faults::snapshotter(&shared.snapshotter, error))?;
        Ok((bundle, Arc::from(snapshotter)))
    })
    .await
}

/// Bytes of the blobs whose layers the store lacks in this form.
async fn needed(store: &Arc<Store>, plan: &Plan, form: Form) -> Result<u64, Fault> {
    let (store, layers) = (Arc::clone(store), plan.layers.clone());
    blocking(move || {
        let mut missing = Vec::new();
        for layer in &layers {
            if store.layer(&layer.diff_id, form)?.is_none() {
                missing.push(layer);
            }
        }
        Ok(Plan::bytes(missing))
    })
    .await
}

impl Ready {
    fn report(&self, landed: &Landed) -> Fetched {
        let reused = |index: usize| landed.reused.get(index).copied().unwrap_or(false);
        Fetched {
            name: self.found.name.clone(),
            top_digest: self.found.top.digest,
            manifest_digest: self.found.manifest.digest,
            config_digest: self.plan.manifest.config.digest,
            platform: self.plan.config.platform(),
            policy: self.admission.clone(),
            layers: self.plan.report(reused),
            bytes_downloaded: landed.downloaded,
            bytes_unpacked: landed.unpacked,
            layers_reused: landed.reused.iter().filter(|reused| **reused).count(),
            timings: self.timings,
        }
    }

    fn record(&self) -> ImageRecord {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        ImageRecord {
            name: self.found.name.clone(),
            top_digest: self.found.top.digest,
            manifest_digest: self.found.manifest.digest,
            config_digest: self.plan.manifest.config.digest,
            top: self.found.top.bytes.to_vec(),
            manifest: self.found.manifest.bytes.to_vec(),
            config: self.plan.config_bytes.to_vec(),
            platform: self.plan.config.platform().to_string(),
            size: Plan::bytes(&self.plan.layers).saturating_add(self.plan.manifest.config.size),
            created: now,
            last_used: now,
            pinned: false,
        }
    }
}
