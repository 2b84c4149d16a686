// SPDX-License-Identifier: Apache-2.0
//! Images on this machine: layouts (image-spec, image-layout.md) as a folder or a tar archive, and
//! what docker and skopeo write. What is inside was written by somebody else.

mod archive;
mod dir;
mod docker;
mod extent;
mod folder;
mod index;
mod members;
mod scan;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use image_spec::{Descriptor, Digest};
use tokio::task::spawn_blocking;

use crate::source::check_range;
use crate::{Blob, Error, ErrorKind, Fetched, Listing, Target};

pub use self::archive::Archive;
pub use self::dir::Dir;
pub use self::docker::DockerArchive;
pub(crate) use self::extent::Extent;
pub use self::folder::Layout;

/// The questions in which the places differ. All may block; those that may take long look at `stop`.
trait Place: fmt::Debug + fmt::Display + Send + Sync + 'static {
    fn document(&self, target: &Target, stop: &Stop) -> Result<Fetched, Error>;

    /// The bytes of a blob, unverified.
    fn find(&self, digest: &Digest, stop: &Stop) -> Result<Extent, Error>;

    /// The names of its images, in any order.
    fn names(&self) -> Result<Vec<String>, Error>;

    /// What refers to a document.
    fn referrers(&self, subject: &Digest, stop: &Stop) -> Result<Vec<Descriptor>, Error>;
}

/// Whether the work is wanted no more.
#[derive(Clone, Debug, Default)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Io, "the file work was stopped")),
            false => Ok(()),
        }
    }
}

/// Says so when the future that waits for the work is dropped.
struct Waiting(Stop);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// [`Source`](crate::Source) for a type whose `place` is one.
macro_rules! source {
    ($name:ty) => {
        impl $crate::Source for $name {
            fn document<'a>(
                &'a self,
                target: &'a $crate::Target,
            ) -> $crate::BoxFuture<'a, Result<$crate::Fetched, $crate::Error>> {
                Box::pin($crate::local::document(&self.place, target))
            }

            fn blob<'a>(
                &'a self,
                descriptor: &'a image_spec::Descriptor,
            ) -> $crate::BoxFuture<'a, Result<$crate::Blob, $crate::Error>> {
                Box::pin($crate::local::blob(&self.place, descriptor))
            }

            fn size<'a>(
                &'a self,
                digest: &'a image_spec::Digest,
            ) -> $crate::BoxFuture<'a, Result<u64, $crate::Error>> {
                Box::pin($crate::local::size(&self.place, digest))
            }

            fn range<'a>(
                &'a self,
                descriptor: &'a image_spec::Descriptor,
                range: std::ops::Range<u64>,
            ) -> $crate::BoxFuture<'a, Result<bytes::Bytes, $crate::Error>> {
                Box::pin($crate::local::range(&self.place, descriptor, range))
            }

            fn tags<'a>(
                &'a self,
                listing: &'a $crate::Listing,
            ) -> $crate::BoxFuture<'a, Result<Vec<String>, $crate::Error>> {
                Box::pin($crate::local::tags(&self.place, listing))
            }

            fn referrers<'a>(
                &'a self,
                subject: &'a image_spec::Digest,
                artifact_type: Option<&'a str>,
            ) -> $crate::BoxFuture<'a, Result<Vec<image_spec::Descriptor>, $crate::Error>> {
                Box::pin($crate::local::referrers(
                    &self.place,
                    subject,
                    artifact_type,
                ))
            }
        }
    };
}
use source;

async fn document<P: Place>(place: &Arc<P>, target: &Target) -> Result<Fetched, Error> {
    let wanted = target.clone();
    let fetched = work(place, move |place, stop| place.document(&wanted, stop)).await;
    fetched.map_err(|error| error.doing(|| format!("document {target} of {place}")))
}

async fn blob<P: Place>(place: &Arc<P>, descriptor: &Descriptor) -> Result<Blob, Error> {
    if let Some(data) = &descriptor.data {
        return Ok(Blob::whole(descriptor, data.clone()));
    }
    let extent = find(place, descriptor).await?;
    Ok(Blob::file(descriptor, extent))
}

async fn range<P: Place>(place: &Arc<P>, descriptor: &Descriptor, range: Range<u64>) -> Result<Bytes, Error> {
    check_range(descriptor, &range)?;
    if let Some(data) = &descriptor.data {
        return Blob::whole(descriptor, data.clone()).part(range).await;
    }
    let extent = find(place, descriptor).await?;
    let part = blocking(move || extent.part(&range)).await;
    part.map_err(|error| error.doing(|| format!("blob `{}` of {place}", descriptor.digest.short())))
}

async fn size<P: Place>(place: &Arc<P>, digest: &Digest) -> Result<u64, Error> {
    let wanted = *digest;
    let found = work(place, move |place, stop| place.find(&wanted, stop)).await;
    found
        .map(|extent| extent.left())
        .map_err(|error| error.doing(|| format!("blob `{}` of {place}", digest.short())))
}

async fn tags<P: Place>(place: &Arc<P>, listing: &Listing) -> Result<Vec<String>, Error> {
    let names = work(place, |place, _| place.names()).await;
    let names = names.map_err(|error| error.doing(|| format!("names in {place}")))?;
    Ok(listing.of(names))
}

async fn referrers<P: Place>(
    place: &Arc<P>,
    subject: &Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Error> {
    let wanted = *subject;
    let found = work(place, move |place, stop| place.referrers(&wanted, stop)).await;
    let mut found = found.map_err(|error| error.doing(|| format!("referrers in {place}")))?;
    found.retain(|entry| artifact_type.is_none_or(|wanted| entry.artifact_type.as_deref() == Some(wanted)));
    Ok(found)
}

/// The bytes of a blob, as many as the descriptor says.
async fn find<P: Place>(place: &Arc<P>, descriptor: &Descriptor) -> Result<Extent, Error> {
    let digest = descriptor.digest;
    let found = work(place, move |place, stop| place.find(&digest, stop)).await;
    let found = found.and_then(|extent| match extent.left() {
        size if size == descriptor.size => Ok(extent),
        size => {
            let message = format!("it has {size} bytes, the manifest says {}", descriptor.size);
            Err(Error::new(ErrorKind::Size, message))
        }
    });
    found.map_err(|error| error.doing(|| format!("blob `{}` of {place}", digest.short())))
}

/// Asks a place where it may block. When the caller goes away, long work ends soon.
async fn work<P: Place, T: Send + 'static>(
    place: &Arc<P>,
    ask: impl FnOnce(&P, &Stop) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (place, stop) = (Arc::clone(place), Stop::default());
    let _waiting = Waiting(stop.clone());
    blocking(move || ask(&place, &stop)).await
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
