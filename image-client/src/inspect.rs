// SPDX-License-Identifier: Apache-2.0
//! A look at an image: what a pull would take, and what would stop it.

use std::sync::Arc;

use image_spec::{Document, Platform};

use crate::client::{Client, Request, Shared};
use crate::error::{Action, Error, Fault};
use crate::find::{self, Found};
use crate::plan::{self, Look};
use crate::report::{Inspected, PolicySays};

impl Client {
    /// Looks at an image without keeping anything. No policy is needed, and one that refuses the image is only
    /// quoted; so what is reported is what the source says, trusted by nobody.
    ///
    /// # Errors
    /// The image cannot be found, or its documents are broken.
    pub async fn inspect(&self, request: impl Into<Request>) -> Result<Inspected, Error> {
        let request = request.into();
        inspect(&self.shared, &request)
            .await
            .map_err(|fault| Error::new(Action::Inspect, &request.image, fault))
    }
}

async fn inspect(shared: &Arc<Shared>, request: &Request) -> Result<Inspected, Fault> {
    let found = find::find(shared, None, request).await?;
    let policy = match &shared.policy {
        None => PolicySays::NoPolicy,
        Some(policy) => match find::admit(policy, &found) {
            Ok(admitted) => PolicySays::Admitted(admitted.verdict().into()),
            Err(fault) => PolicySays::Refused {
                reason: fault.to_line(),
            },
        },
    };
    let platform = request.platform.as_ref().unwrap_or(&shared.platform);
    let look = Look::at(&found.manifest.bytes, &*found.source, platform).await?;
    let layers = look.report();
    let own = look.config.platform();
    Ok(Inspected {
        name: found.name.clone(),
        top_digest: found.top.digest,
        platforms: platforms(&found)?.unwrap_or_else(|| vec![own.clone()]),
        manifest_digest: found.manifest.digest,
        config_digest: look.manifest.config.digest,
        platform: own,
        policy,
        layers,
        size: plan::bytes(look.manifest.layers.iter().chain([&look.manifest.config])),
        obstacle: look.obstacle.map(|fault| fault.to_line()),
        config: look.config,
    })
}

/// The platforms of the index, if the name stands for one.
fn platforms(found: &Found) -> Result<Option<Vec<Platform>>, Fault> {
    Ok(match Document::parse(&found.top.bytes, None)? {
        Document::Manifest(_) => None,
        Document::Index(index) => {
            let images = index
                .manifests
                .into_iter()
                .filter(|entry| !entry.is_attestation());
            Some(images.filter_map(|entry| entry.platform).collect())
        }
    })
}
