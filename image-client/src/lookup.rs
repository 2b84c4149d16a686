// SPDX-License-Identifier: Apache-2.0
//! Single documents, blobs and lists as a source gives them, for a closer look.
//!
//! No policy is asked, and nothing is kept: what comes is what the source says, trusted by nobody. Documents and blobs
//! have the digests that they are asked for by.

use std::sync::Arc;

use bytes::Bytes;
use distribution::{Listing, Target};
use image_spec::{Descriptor, Digest, MediaType};

use crate::client::{Client, Request, Shared};
use crate::error::{Action, Error, Fault};
use crate::source;

/// A manifest or an index, byte for byte.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawManifest {
    /// The document.
    pub bytes: Bytes,
    /// Its digest.
    pub digest: Digest,
    /// What the source calls it: a registry's Content-Type, or an entry's media type.
    pub media_type: Option<String>,
}

/// A blob on its way in. What it gives is unproven until it ends.
#[derive(Debug)]
pub struct Blob {
    inner: distribution::Blob,
    image: String,
}

impl Blob {
    /// The size in bytes, which it has if it ends well.
    pub fn size(&self) -> u64 {
        self.inner.size()
    }

    /// The next bytes, or `None` once size and digest were verified.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for other bytes than those of the digest, and what networks
    /// and disks do.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.inner.chunk().await;
        chunk.map_err(|error| Error::new(Action::Blob, &self.image, error.into()))
    }
}

impl Client {
    /// The document that a name stands for: often an index. With [`Request::platform`] the manifest of that platform.
    ///
    /// # Errors
    /// The image cannot be found, or its documents are broken.
    pub async fn manifest(&self, request: impl Into<Request>) -> Result<RawManifest, Error> {
        let request = request.into();
        manifest(&self.shared, &request)
            .await
            .map_err(|fault| Error::new(Action::Manifest, &request.image, fault))
    }

    /// A blob of the repository, layout or archive that the name leads to. Which image is named does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) before the first byte.
    pub async fn blob(&self, request: impl Into<Request>, digest: &Digest) -> Result<Blob, Error> {
        let request = request.into();
        let fetching = async {
            let place = source::open(&self.shared, &request.image).await?;
            let size = place.source.size(digest).await?;
            let anything = MediaType::Other("application/octet-stream".into());
            Ok(place
                .source
                .blob(&Descriptor::new(anything, *digest, size))
                .await?)
        };
        let fetched: Result<_, Fault> = fetching.await;
        let image = request.image.to_string();
        match fetched {
            Ok(inner) => Ok(Blob { inner, image }),
            Err(fault) => Err(Error::new(Action::Blob, image, fault)),
        }
    }

    /// The tags of the repository, or the names in the layout or archive, that the name leads to. Which image of it is
    /// named does not matter.
    ///
    /// # Errors
    /// [`ErrorKind::BadResponse`](crate::ErrorKind::BadResponse) for a list that has no end or holds what is no tag.
    pub async fn tags(&self, request: impl Into<Request>, listing: &Listing) -> Result<Vec<String>, Error> {
        let request = request.into();
        let listing = async {
            let place = source::open(&self.shared, &request.image).await?;
            Ok(place.source.tags(listing).await?)
        };
        let listed: Result<_, Fault> = listing.await;
        listed.map_err(|fault| Error::new(Action::Tags, &request.image, fault))
    }

    /// What refers to the image: signatures, attestations, bills of material; only those of one artifact type, if it
    /// is given. With [`Request::platform`] what refers to the manifest of that platform.
    ///
    /// # Errors
    /// The image cannot be found, or the list is broken.
    pub async fn referrers(
        &self,
        request: impl Into<Request>,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let request = request.into();
        referrers(&self.shared, &request, artifact_type)
            .await
            .map_err(|fault| Error::new(Action::Referrers, &request.image, fault))
    }
}

async fn manifest(shared: &Arc<Shared>, request: &Request) -> Result<RawManifest, Fault> {
    let place = source::open(shared, &request.image).await?;
    let fetched = match &request.platform {
        None => place.source.document(&place.target).await?,
        Some(platform) => {
            let resolved = distribution::resolve(&*place.source, &place.target, platform).await?;
            resolved.manifest_bytes
        }
    };
    Ok(RawManifest {
        bytes: fetched.bytes,
        digest: fetched.digest,
        media_type: fetched.media_type.map(|name| name.to_string()),
    })
}

async fn referrers(
    shared: &Arc<Shared>,
    request: &Request,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Fault> {
    let place = source::open(shared, &request.image).await?;
    let subject = match (&place.target, &request.platform) {
        (Target::Digest(digest), None) => *digest,
        (target, None) => place.source.document(target).await?.digest,
        (target, Some(platform)) => {
            let resolved = distribution::resolve(&*place.source, target, platform).await?;
            resolved.manifest_bytes.digest
        }
    };
    Ok(place.source.referrers(&subject, artifact_type).await?)
}
