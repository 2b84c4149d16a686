// SPDX-License-Identifier: Apache-2.0
//! From a name to documents, from the store where a digest allows it, and on to the policy.

use std::sync::Arc;

use bytes::Bytes;
use distribution::Source;
use image_spec::{Digest, Platform};
use meta_store::{ImageRecord, Store};
use signature::{Admitted, Candidate, Identity, Policy};

use crate::blocking::blocking;
use crate::client::{Request, Shared};
use crate::error::{ErrorKind, Fault};
use crate::name::ImageName;
use crate::plan::Plan;
use crate::progress::Event;
use crate::source::{self, Place};

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

/// Resolves the request's name. Asks the network for nothing when the name holds a digest which the store knows.
pub(crate) async fn find(
    shared: &Arc<Shared>,
    store: Option<&Arc<Store>>,
    request: &Request,
) -> Result<Found, Fault> {
    let place = source::open(shared, &request.image).await?;
    let platform = request.platform.as_ref().unwrap_or(&shared.platform);
    if let (Some(store), ImageName::Registry(reference)) = (store, &request.image)
        && let Some(digest) = reference.digest()
        && let Some(record) = known(store, *digest).await?
        && record
            .platform
            .parse::<Platform>()
            .is_ok_and(|own| platform.accepts(&own))
    {
        tracing::info!(%digest, "found in the store");
        return Ok(Found::stored(place, *digest, record));
    }
    let resolved = distribution::resolve(&*place.source, &place.target, platform).await?;
    let manifest = Document {
        bytes: resolved.manifest_bytes.bytes,
        digest: resolved.manifest_bytes.digest,
    };
    let record = match store {
        Some(store) => known(store, manifest.digest).await?,
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
        let top = if digest == record.manifest_digest {
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

/// The record of an image by digest. A damaged one counts as none: the pull replaces it.
async fn known(store: &Arc<Store>, digest: Digest) -> Result<Option<ImageRecord>, Fault> {
    let store = Arc::clone(store);
    blocking(move || match store.image_by_digest(&digest) {
        Err(error) if error.kind() == meta_store::ErrorKind::Corrupt => {
            tracing::warn!(%digest, %error, "a damaged record is ignored");
            Ok(None)
        }
        other => Ok(other?),
    })
    .await
}
