// SPDX-License-Identifier: Apache-2.0
//! Image layouts on this machine (image-spec, image-layout.md): a folder, or a tar archive of one.
//! What is inside was written by somebody else.

mod archive;
mod extent;
mod folder;
mod index;
mod scan;

use std::fmt;
use std::sync::Arc;

use image_spec::{Descriptor, Digest};
use tokio::task::spawn_blocking;

use crate::{Blob, Error, ErrorKind, Fetched, Target};

pub use self::archive::Archive;
pub(crate) use self::extent::Extent;
pub use self::folder::Layout;

/// The two questions in which folder and archive differ. Both may block.
trait Place: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// The bytes of `index.json`, at most [`image_spec::MAX_MANIFEST`].
    fn index(&self) -> Result<Vec<u8>, Error>;

    /// The bytes of a blob, unverified.
    fn find(&self, digest: &Digest) -> Result<Extent, Error>;
}

async fn document<P: Place>(place: &Arc<P>, target: &Target) -> Result<Fetched, Error> {
    let (shared, wanted) = (Arc::clone(place), target.clone());
    let fetched = blocking(move || index::document(&*shared, &wanted)).await;
    fetched.map_err(|error| error.doing(|| format!("document {target} of {place}")))
}

async fn blob<P: Place>(place: &Arc<P>, descriptor: &Descriptor) -> Result<Blob, Error> {
    if let Some(data) = &descriptor.data {
        return Ok(Blob::whole(descriptor, data.clone()));
    }
    let (shared, digest) = (Arc::clone(place), descriptor.digest);
    let found = blocking(move || shared.find(&digest))
        .await
        .and_then(|extent| match extent.left() {
            size if size == descriptor.size => Ok(Blob::file(descriptor, extent)),
            size => {
                let message = format!("it has {size} bytes, the manifest says {}", descriptor.size);
                Err(Error::new(ErrorKind::Size, message))
            }
        });
    found.map_err(|error| error.doing(|| format!("blob `{}` of {place}", digest.short())))
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => Err(Error::new(ErrorKind::Io, "the file work was stopped").because(cause)),
    }
}
