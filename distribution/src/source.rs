// SPDX-License-Identifier: Apache-2.0
//! What every place that holds images can do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use image_spec::{Descriptor, Digest, MediaType, Reference};

use crate::{Blob, Error};

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A place that holds one repository of images: a registry, a layout, an archive.
///
/// The futures must run inside a tokio runtime with time (and for registries I/O) enabled.
pub trait Source: Send + Sync + fmt::Debug {
    /// The document as received: at most [`image_spec::MAX_MANIFEST`] bytes, hashed, and equal
    /// to the digest when asked by digest. It is not parsed yet.
    fn document<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// A blob's bytes as a stream which ends in an error unless size and digest hold.
    fn blob<'a>(&'a self, descriptor: &'a Descriptor) -> BoxFuture<'a, Result<Blob, Error>>;
}

/// Which document of a source is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The single image of a layout or archive; a registry has no such thing.
    Only,
    /// By tag; in a layout by any of an entry's names.
    Tag(String),
    /// By digest.
    Digest(Digest),
}

impl From<&Reference> for Target {
    /// The digest if the reference has one, else the tag.
    fn from(reference: &Reference) -> Self {
        match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Self::Digest(*digest),
            (None, Some(tag)) => Self::Tag(tag.to_owned()),
            (None, None) => Self::Only,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only image"),
            Self::Tag(tag) => write!(f, "`{}`", crate::error::clean(tag)),
            Self::Digest(digest) => write!(f, "`{digest}`"),
        }
    }
}

/// A document as its source gave it.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The very bytes; policy and signatures judge these.
    pub bytes: Bytes,
    /// The digest of [`bytes`](Self::bytes), in the algorithm in which the source names it.
    pub digest: Digest,
    /// The registry's Content-Type or the index entry's media type, where there is one.
    pub media_type: Option<MediaType>,
}
