// SPDX-License-Identifier: Apache-2.0
//! From an image's name to the place that holds it.

use std::path::Path;
use std::sync::Arc;

use distribution::{Archive, Layout, Source, Target};
use signature::Identity;

use crate::blocking::blocking;
use crate::client::Shared;
use crate::error::Fault;
use crate::name::{Entry, ImageName};

/// Where an image is, and under which names policy and store know it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) target: Target,
    pub(crate) identity: Identity,
    /// The full name, with absolute path.
    pub(crate) name: String,
}

/// Opens the place an image's name leads to. For a registry nothing is asked yet.
pub(crate) async fn open(shared: &Arc<Shared>, image: &ImageName) -> Result<Place, Fault> {
    match image {
        ImageName::Registry(reference) => Ok(Place {
            source: Arc::new(shared.network.registry(reference)?),
            target: Target::from(reference),
            identity: Identity::docker(reference),
            name: reference.to_string(),
        }),
        ImageName::Layout { path, entry } => {
            let (path, entry) = (path.clone(), entry.clone());
            blocking(move || {
                let path = real(&path)?;
                Ok(Place {
                    source: Arc::new(Layout::open(&path)?),
                    target: target(&entry),
                    identity: Identity::oci_layout(&path, reference(&entry)),
                    name: ImageName::Layout { path, entry }.to_string(),
                })
            })
            .await
        }
        ImageName::Archive { path, entry } => {
            let (path, entry) = (path.clone(), entry.clone());
            blocking(move || {
                let path = real(&path)?;
                Ok(Place {
                    source: Arc::new(Archive::open(&path)?),
                    target: target(&entry),
                    identity: Identity::oci_archive(&path, reference(&entry)),
                    name: ImageName::Archive { path, entry }.to_string(),
                })
            })
            .await
        }
    }
}

/// The path without links: a policy speaks of where an image really lies.
fn real(path: &Path) -> Result<std::path::PathBuf, Fault> {
    std::fs::canonicalize(path).map_err(|e| Fault::io(format!("open `{}`", path.display()), e))
}

fn target(entry: &Entry) -> Target {
    match entry {
        Entry::Only => Target::Only,
        Entry::Named(name) => Target::Tag(name.clone()),
        Entry::Digest(digest) => Target::Digest(*digest),
    }
}

fn reference(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Named(name) => Some(name),
        Entry::Only | Entry::Digest(_) => None,
    }
}
