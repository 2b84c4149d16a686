// SPDX-License-Identifier: Apache-2.0
//! What every place that holds images can do.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use image_spec::{Descriptor, Digest, MediaType, Reference};

use crate::{Blob, Error, ErrorKind};

/// Bytes of one range of a blob: a large read ahead of a file system that is filled on demand.
pub const MAX_RANGE: u64 = 16 << 20;

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

    /// The document of `target`, unless that is still the one with the digest `known`.
    ///
    /// A registry that states digests is asked by one HEAD request for a document that has not
    /// changed. It is believed in that: it could as well have sent the document.
    fn changed<'a>(
        &'a self,
        target: &'a Target,
        known: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Fetched>, Error>> {
        Box::pin(async move {
            let fetched = self.document(target).await?;
            Ok((!fetched.is(known)).then_some(fetched))
        })
    }

    /// The bytes that a blob has by the word of the source, unverified.
    fn size<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<u64, Error>>;

    /// The names of the images: a registry's tags of the repository, the names in a layout or
    /// archive. All of them, sorted, or those that `listing` wants, in the order of the source.
    fn tags<'a>(&'a self, listing: &'a Listing) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// Descriptors of the manifests whose subject is `subject`: signatures, attestations, bills of
    /// material; those of one artifact type, if it is given. At most [`image_spec::MAX_MANIFESTS`].
    /// No more than the source's word: what they describe says itself to what it belongs.
    fn referrers<'a>(
        &'a self,
        subject: &'a Digest,
        artifact_type: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Descriptor>, Error>>;

    /// The bytes of a blob that `range` holds, at most [`MAX_RANGE`] of them and **unverified**:
    /// no part of a blob can be checked against its digest. Whoever asks must have other means.
    ///
    /// A registry that does not understand ranges sends all bytes before them, too.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a range that leaves the blob,
    /// [`TooLarge`](ErrorKind::TooLarge), and those of [`blob`](Self::blob).
    fn range<'a>(
        &'a self,
        descriptor: &'a Descriptor,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            check_range(descriptor, &range)?;
            self.blob(descriptor).await?.part(range).await
        })
    }
}

/// Refuses a range that cannot or should not be held in memory.
pub(crate) fn check_range(descriptor: &Descriptor, range: &Range<u64>) -> Result<(), Error> {
    let size = descriptor.size;
    let (kind, message) = match range.end.checked_sub(range.start) {
        Some(bytes) if range.end <= size && bytes <= MAX_RANGE => return Ok(()),
        Some(bytes) if range.end <= size => (
            ErrorKind::TooLarge,
            format!("a range of more than {MAX_RANGE} bytes: {bytes}"),
        ),
        _ => (
            ErrorKind::Invalid,
            format!("a range outside of {size} bytes: {range:?}"),
        ),
    };
    Err(Error::new(kind, message).doing(|| format!("blob `{}`", descriptor.digest.short())))
}

/// Which document of a source is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The single image of a layout or archive; a registry has no such thing.
    Only,
    /// By tag; in a layout by any of an entry's names.
    Tag(String),
    /// By its place in the list of a layout or archive, counted from 0.
    Number(usize),
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
            Self::Number(number) => write!(f, "@{number}"),
            Self::Digest(digest) => write!(f, "`{digest}`"),
        }
    }
}

/// Which names are wanted of a list that may be long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only those behind this one, in the source's order.
    pub after: Option<String>,
    /// Only so many.
    pub limit: Option<usize>,
}

impl Listing {
    /// The wanted ones of all names there are, sorted, each once.
    pub(crate) fn of(&self, mut names: Vec<String>) -> Vec<String> {
        names.sort();
        names.dedup();
        if let Some(after) = &self.after {
            names.retain(|name| name > after);
        }
        names.truncate(self.limit.unwrap_or(usize::MAX));
        names
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

impl Fetched {
    /// Whether this is the document with the digest `known`, in whatever algorithm.
    pub(crate) fn is(&self, known: &Digest) -> bool {
        self.digest == *known || Digest::of(known.algorithm(), &self.bytes) == *known
    }
}
