// SPDX-License-Identifier: Apache-2.0
//! Which entry of `index.json` a target means.

use std::collections::BTreeSet;

use bytes::Bytes;
use image_spec::{Descriptor, Dialect, Digest, Document, Index, MAX_MANIFEST, MediaType};

use super::extent::Extent;
use super::{Place, Stop};
use crate::error::clean;
use crate::{Error, ErrorKind, Fetched, Target};

/// Bytes of `oci-layout`; the real one has 30.
pub(super) const MAX_MARKER: u64 = 4 << 10;
/// Names that an error lists.
const MAX_NAMES: usize = 10;

/// An entry's name: image-spec's, which is often just a tag, and containerd's full one. An entry
/// answers to either.
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// The two questions in which a layout's folder and its archive differ. Both may block.
pub(super) trait Indexed: std::fmt::Debug + std::fmt::Display + Send + Sync + 'static {
    /// The bytes of `index.json`, at most [`MAX_MANIFEST`].
    fn index(&self) -> Result<Vec<u8>, Error>;

    /// The bytes of a blob, unverified.
    fn find(&self, digest: &Digest) -> Result<Extent, Error>;
}

impl<P: Indexed> Place for P {
    fn document(&self, target: &Target, _: &Stop) -> Result<Fetched, Error> {
        document(self, target)
    }

    fn find(&self, digest: &Digest, _: &Stop) -> Result<Extent, Error> {
        Indexed::find(self, digest)
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let index = parse(&self.index()?)?;
        Ok(index.manifests.iter().flat_map(names).cloned().collect())
    }

    fn referrers(&self, subject: &Digest, stop: &Stop) -> Result<Vec<Descriptor>, Error> {
        let index = parse(&self.index()?)?;
        let mut found: Vec<Descriptor> = Vec::new();
        for entry in index.manifests {
            stop.check()?;
            if found.iter().any(|known| known.digest == entry.digest) {
                continue;
            }
            let bytes = match read(self, &entry.digest, Some(&entry)) {
                Ok(fetched) => fetched.bytes,
                // A layout need not hold all that it lists.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // What cannot be read refers to nothing; an index may hold what is no image at all.
            let Ok(document) = Document::parse(&bytes, Some(&entry.media_type)) else {
                continue;
            };
            let (refers_to, artifact_type) = match document {
                Document::Manifest(manifest) => {
                    let of_config = manifest.config.media_type.to_string();
                    (manifest.subject, manifest.artifact_type.or(Some(of_config)))
                }
                Document::Index(index) => (index.subject, index.artifact_type),
            };
            if refers_to.is_some_and(|refers_to| refers_to.digest == *subject) {
                found.push(Descriptor {
                    artifact_type: entry.artifact_type.clone().or(artifact_type),
                    ..entry
                });
            }
        }
        Ok(found)
    }
}

pub(super) fn check_marker(bytes: &[u8]) -> Result<(), Error> {
    image_spec::Layout::parse(bytes)
        .map(drop)
        .map_err(Error::document)
}

fn parse(bytes: &[u8]) -> Result<Index, Error> {
    match Document::parse(bytes, None).map_err(Error::document)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(Error::new(
            ErrorKind::BadResponse,
            "`index.json` is a manifest, not an index",
        )),
    }
}

/// Fetches the document that `target` means.
fn document<P: Indexed>(place: &P, target: &Target) -> Result<Fetched, Error> {
    let bytes = place.index()?;
    let index = parse(&bytes)?;
    let entry = match target {
        Target::Digest(digest) if Digest::of(digest.algorithm(), &bytes) == *digest => {
            return Ok(itself(bytes, *digest, index));
        }
        Target::Digest(digest) => match index.manifests.iter().find(|entry| entry.digest == *digest) {
            Some(entry) => entry,
            None => return read(place, digest, None),
        },
        Target::Tag(name) => one(&index, |entry| names(entry).any(|found| found == name))?,
        Target::Only if platforms_of_one_image(&index) => {
            let digest = Digest::sha256(&bytes);
            return Ok(itself(bytes, digest, index));
        }
        Target::Only => one(&index, |_| true)?,
        Target::Number(number) => index.manifests.get(*number).ok_or_else(|| {
            let message = format!("it lists only {} images", index.manifests.len());
            Error::new(ErrorKind::NotFound, message)
        })?,
    };
    read(place, &entry.digest, Some(entry))
}

/// `index.json` as the image's own index.
fn itself(bytes: Vec<u8>, digest: Digest, index: Index) -> Fetched {
    let media_type = index.media_type.unwrap_or(MediaType::Index(Dialect::Oci));
    Fetched {
        bytes: bytes.into(),
        digest,
        media_type: Some(media_type),
    }
}

/// Several entries without a name, each for a platform: the layout holds one image, and
/// `index.json` is its index.
fn platforms_of_one_image(index: &Index) -> bool {
    let unnamed = |entry: &Descriptor| names(entry).next().is_none() && entry.platform.is_some();
    index.manifests.len() > 1 && index.manifests.iter().all(unnamed)
}

/// The one document among the entries that fit, however often it is listed.
fn one(index: &Index, fits: impl Fn(&Descriptor) -> bool) -> Result<&Descriptor, Error> {
    let found: Vec<&Descriptor> = index.manifests.iter().filter(|entry| fits(entry)).collect();
    let digests: BTreeSet<&Digest> = found.iter().map(|entry| &entry.digest).collect();
    match (found.first(), digests.len()) {
        (Some(entry), 1) => Ok(entry),
        (None, _) if index.manifests.is_empty() => Err(Error::new(ErrorKind::NotFound, "it holds no image")),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("it has only: {}", list(&index.manifests)),
        )),
        _ => Err(Error::new(
            ErrorKind::Ambiguous,
            format!("{} images fit: {}", digests.len(), list(found)),
        )
        .hinting("name one of them, by digest if need be")),
    }
}

fn names(entry: &Descriptor) -> impl Iterator<Item = &String> {
    NAMES.iter().filter_map(|name| entry.annotations.get(*name))
}

fn list<'a>(entries: impl IntoIterator<Item = &'a Descriptor>) -> String {
    let mut entries = entries.into_iter();
    let show = |entry: &Descriptor| match names(entry).next() {
        Some(name) => format!("`{}` ({})", clean(name), entry.digest.short()),
        None => format!("`{}`", entry.digest),
    };
    let mut shown: Vec<String> = entries.by_ref().take(MAX_NAMES).map(show).collect();
    if entries.next().is_some() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

/// A document from its blob, equal to its digest and, if an entry lists it, of its size.
fn read<P: Indexed>(place: &P, digest: &Digest, entry: Option<&Descriptor>) -> Result<Fetched, Error> {
    let bytes = match entry.and_then(|entry| entry.data.clone()) {
        Some(data) => data,
        None => place.find(digest)?.read(MAX_MANIFEST)?,
    };
    if let Some(entry) = entry.filter(|entry| entry.size != bytes.len() as u64) {
        let message = format!("it has {} bytes, `index.json` says {}", bytes.len(), entry.size);
        return Err(Error::new(ErrorKind::Size, message));
    }
    let found = Digest::of(digest.algorithm(), &bytes);
    if found != *digest {
        let message = format!("its bytes have another digest than `{digest}`: `{found}`");
        return Err(Error::new(ErrorKind::Digest, message));
    }
    let media_type = entry.map(|entry| entry.media_type.clone());
    Ok(Fetched {
        bytes: Bytes::from(bytes),
        digest: *digest,
        media_type,
    })
}
