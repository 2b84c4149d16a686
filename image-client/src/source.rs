// SPDX-License-Identifier: Apache-2.0
//! From an image's name to the place that holds it.

use std::path::Path;
use std::sync::Arc;

use distribution::{Archive, Dir, DockerArchive, Layout, Source, Target};
use signature::Identity;

use crate::client::Shared;
use crate::error::{ErrorKind, Fault};
use crate::name::{Entry, ImageName};
use crate::threads::blocking;

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
    let place = match image {
        ImageName::Registry(reference) => Place {
            source: Arc::new(shared.network.registry(reference)?),
            target: Target::from(reference),
            identity: Identity::docker(reference),
            name: reference.to_string(),
        },
        local => {
            let local = local.clone();
            blocking(move || here(local)).await?
        }
    };
    Ok(Place {
        source: shared.network.with_foreign(place.source),
        ..place
    })
}

/// A place on this machine, by its path without links: a policy speaks of where an image really lies.
fn here(image: ImageName) -> Result<Place, Fault> {
    let path = real(image.path().unwrap_or(Path::new("")))?;
    let image = image.at(path);
    let name = image.to_string();
    let place = |source: Arc<dyn Source>, entry: &Entry, identity: Identity| Place {
        source,
        target: target(entry),
        identity,
        name,
    };
    Ok(match &image {
        ImageName::Registry(_) => return Err(Fault::new(ErrorKind::Option, "not a place on this machine")),
        ImageName::Layout { path, entry } => place(
            Arc::new(Layout::open(path)?),
            entry,
            Identity::oci_layout(path, reference(entry)),
        ),
        ImageName::Archive { path, entry } => place(
            Arc::new(Archive::open(path)?),
            entry,
            Identity::oci_archive(path, reference(entry)),
        ),
        ImageName::DockerArchive { path, .. } if path.to_string_lossy().contains(':') => {
            let what = format!("a `:` in the path of an archive of docker: `{}`", path.display());
            return Err(Fault::new(ErrorKind::Unsupported(what.clone()), what));
        }
        ImageName::DockerArchive { path, entry } => place(
            Arc::new(DockerArchive::open(path)?),
            entry,
            Identity::docker_archive(path),
        ),
        ImageName::Dir { path } => place(Arc::new(Dir::open(path)?), &Entry::Only, Identity::dir(path)),
    })
}

fn real(path: &Path) -> Result<std::path::PathBuf, Fault> {
    std::fs::canonicalize(path).map_err(|e| Fault::io(format!("open `{}`", path.display()), e))
}

fn target(entry: &Entry) -> Target {
    match entry {
        Entry::Only => Target::Only,
        Entry::Named(name) => Target::Tag(name.clone()),
        Entry::Digest(digest) => Target::Digest(*digest),
        Entry::Number(number) => Target::Number(*number),
    }
}

fn reference(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Named(name) => Some(name),
        Entry::Only | Entry::Digest(_) | Entry::Number(_) => None,
    }
}
