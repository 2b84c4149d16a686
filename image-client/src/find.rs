// SPDX-License-Identifier: Apache-2.0
//! From a name to documents, from the store where a digest allows it, and on to the policy.

use std::sync::Arc;

use bytes::Bytes;
use distribution::Source;
use image_spec::{Digest, MediaType, Platform};
use meta_store::{ImageRecord, Store};
use signature::{Admitted, Candidate, Identity, Policy};

use crate::client::{Request, Shared};
use crate::error::{ErrorKind, Fault};
use crate::name::ImageName;
use crate::plan::Plan;
use crate::progress::Event;
use crate::source::{self, Place};
use crate::threads::blocking;

/// What a name stands for, not yet judged.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) top: Document,
    pub(crate) manifest: Document,
    /// The config, when the store has it.
    pub(crate) known_config: Option<Bytes>,
}

/// Bytes with their digest.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

/// Resolves the request's name, or the first one of several that is there.
pub(crate) async fn find(
    shared: &Arc<Shared>,
    store: Option<&Arc<Store>>,
    request: &Request,
) -> Result<Found, Fault> {
    let mut found = one(shared, store, request, &request.image).await;
    for image in &request.others {
        match &found {
            Err(fault) if fault.is_absence() => tracing::info!(fault = fault.to_line(), "looking further"),
            _ => return found,
        }
        found = one(shared, store, request, image).await;
    }
    found.map_err(|fault| match request.others.len() {
        0 => fault,
        more => fault.under(format!("none of {} registries has it; the last one", more + 1)),
    })
}

/// Resolves one name. Asks the network for nothing when the name holds a digest which the store knows, and with one
/// HEAD request when a tag still stands for what the store has under this name.
async fn one(
    shared: &Arc<Shared>,
    store: Option<&Arc<Store>>,
    request: &Request,
    image: &ImageName,
) -> Result<Found, Fault> {
    let place = source::open(shared, image).await?;
    let platform = request.platform.as_ref().unwrap_or(&shared.platform);
    let mut top = None;
    if let (Some(store), ImageName::Registry(reference)) = (store, image) {
        let records = match reference.digest() {
            Some(digest) => known(store, *digest).await?,
            None => named(store, place.name.clone()).await?.into_iter().collect(),
        };
        let suitable = |record: &ImageRecord| suits(record, reference.digest(), platform);
        if let Some(record) = records.into_iter().rev().find(suitable) {
            let digest = reference.digest().copied().unwrap_or(record.top_digest);
            if reference.digest().is_none() {
                top = place.source.changed(&place.target, &digest).await?;
            }
            if top.is_none() {
                tracing::info!(%digest, "found in the store");
                return Ok(Found::stored(place, digest, record));
            }
        }
    }
    let resolved = match top {
        Some(top) => distribution::resolve_from(&*place.source, top, platform).await?,
        None => distribution::resolve(&*place.source, &place.target, platform).await?,
    };
    let manifest = Document {
        bytes: resolved.manifest_bytes.bytes,
        digest: resolved.manifest_bytes.digest,
    };
    let record = match store {
        Some(store) => known(store, manifest.digest).await?.pop(),
        None => None,
    };
    Ok(Found {
        source: place.source,
        identity: place.identity,
        name: place.name,
        top: Document {
            bytes: resolved.top.bytes,
            digest: resolved.top.digest,
        },
        known_config: record
            .filter(|r| r.manifest_digest == manifest.digest)
            .map(|r| r.config.into()),
        manifest,
    })
}

impl Found {
    fn stored(place: Place, digest: Digest, record: ImageRecord) -> Self {
        let manifest = Document {
            bytes: record.manifest.into(),
            digest: record.manifest_digest,
        };
        // The digest may be that of the manifest although it came by an index before.
        let top = if is(&manifest.bytes, &manifest.digest, &digest) {
            manifest.clone()
        } else {
            Document {
                bytes: record.top.into(),
                digest: record.top_digest,
            }
        };
        Self {
            source: place.source,
            identity: place.identity,
            name: place.name,
            top,
            manifest,
            known_config: Some(record.config.into()),
        }
    }
}

/// Whether a document, known by one digest, has this one, which may be of another algorithm.
fn is(bytes: &[u8], known: &Digest, digest: &Digest) -> bool {
    known == digest || Digest::of(digest.algorithm(), bytes) == *digest
}

/// Whether what was recorded is what the name would be resolved to for this platform.
fn suits(record: &ImageRecord, digest: Option<&Digest>, platform: &Platform) -> bool {
    let own = record.platform.parse::<Platform>();
    if !own.is_ok_and(|own| platform.accepts(&own)) {
        return false;
    }
    if digest.is_some_and(|digest| is(&record.manifest, &record.manifest_digest, digest)) {
        return true;
    }
    match image_spec::Document::parse(&record.top, None) {
        Ok(image_spec::Document::Manifest(_)) => true,
        // The index may have one that suits this platform better. Of an index in an index no more is known.
        Ok(image_spec::Document::Index(index)) => index.select(platform).is_ok_and(|entry| {
            entry.digest == record.manifest_digest || matches!(entry.media_type, MediaType::Index(_))
        }),
        Err(_) => false,
    }
}

/// The client's policy.
pub(crate) fn policy(shared: &Shared) -> Result<&Policy, Fault> {
    shared
        .policy
        .as_ref()
        .ok_or_else(|| Fault::new(ErrorKind::NoPolicy, "no policy says which images are accepted"))
}

/// Asks the policy. There is no way around it to a plan.
pub(crate) fn admit(policy: &Policy, found: &Found) -> Result<Admitted, Fault> {
    Ok(policy.admit(Candidate {
        identity: found.identity.clone(),
        top: found.top.bytes.clone(),
        manifest: found.manifest.bytes.clone(),
    })?)
}

/// Tells the listener what the image consists of.
pub(crate) fn announce(plan: &Plan, found: &Found, request: &Request) {
    request.progress.event(&Event::Resolved {
        manifest: found.manifest.digest,
    });
    for layer in &plan.layers {
        request.progress.event(&Event::LayerQueued {
            index: layer.at.index,
            total: layer.at.total,
            size: layer.descriptor.size,
            digest: layer.descriptor.digest,
        });
    }
}

/// The records of images by digest, the last used at the end: one index may stand for several platforms.
async fn known(store: &Arc<Store>, digest: Digest) -> Result<Vec<ImageRecord>, Fault> {
    recorded(store, move |store| store.images_by_digest(&digest)).await
}

/// The record of an image by its full name.
async fn named(store: &Arc<Store>, name: String) -> Result<Option<ImageRecord>, Fault> {
    recorded(store, move |store| store.image(&name)).await
}

/// A damaged record counts as none: the pull replaces it.
async fn recorded<T: Default + Send + 'static>(
    store: &Arc<Store>,
    ask: impl FnOnce(&Store) -> Result<T, meta_store::Error> + Send + 'static,
) -> Result<T, Fault> {
    let store = Arc::clone(store);
    blocking(move || match ask(&store) {
        Err(error) if error.kind() == meta_store::ErrorKind::Corrupt => {
            tracing::warn!(%error, "a damaged record is ignored");
            Ok(T::default())
        }
        other => Ok(other?),
    })
    .await
}
