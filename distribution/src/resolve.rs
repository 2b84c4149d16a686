// SPDX-License-Identifier: Apache-2.0
//! From a name to the manifest of one platform.

use std::time::Duration;

use bytes::Bytes;
use image_spec::{Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, Manifest, Platform};
use tokio::time::timeout;

use crate::{Error, ErrorKind, Fetched, Source, Target};

/// Indexes in a row: an index, and one that it holds.
const MAX_INDEXES: usize = 2;
/// Mirrors in a row that may send a wrong config.
const MAX_LIARS: usize = 8;
/// Time for a config: 8 MiB in 2 minutes is 70 KiB/s.
const CONFIG_TIME: Duration = Duration::from_secs(120);

/// What a target stands for on one platform.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The document that the target names: the manifest itself, or an index.
    pub top: Fetched,
    /// The manifest's own bytes; those of [`top`](Self::top) if that is a manifest.
    pub manifest_bytes: Fetched,
    /// The manifest, parsed from [`manifest_bytes`](Self::manifest_bytes).
    pub manifest: Manifest,
    /// The platform under which an index lists the manifest. What the image is really for, its
    /// config says.
    pub platform: Option<Platform>,
}

/// Fetches the document of `target` and, from an index, the manifest that suits `platform`.
///
/// # Errors
///
/// Those of [`Source::document`]; [`Document`](ErrorKind::Document) for what image-spec refuses,
/// no image for the platform among it; [`Digest`](ErrorKind::Digest) and [`Size`](ErrorKind::Size)
/// if a manifest is not what its index says.
pub async fn resolve(source: &dyn Source, target: &Target, platform: &Platform) -> Result<Resolved, Error> {
    let top = source.document(target).await?;
    resolve_from(source, top, platform).await
}

/// The same for a document that was fetched already.
///
/// # Errors
///
/// As [`resolve`].
pub async fn resolve_from(source: &dyn Source, top: Fetched, platform: &Platform) -> Result<Resolved, Error> {
    let mut current = top.clone();
    let mut found = None;
    for indexes in 0.. {
        let name = current.digest.short();
        let context = |error: Error| error.doing(|| format!("document `{name}`"));
        let document = Document::parse(&current.bytes, current.media_type.as_ref());
        let index = match document.map_err(|cause| context(Error::document(cause)))? {
            Document::Manifest(manifest) => {
                return Ok(Resolved {
                    top,
                    manifest_bytes: current,
                    manifest,
                    platform: found,
                });
            }
            Document::Index(index) => index,
        };
        if indexes == MAX_INDEXES {
            break;
        }
        let entry = index
            .select(platform)
            .map_err(|cause| context(Error::document(cause)))?;
        found = entry.platform.clone();
        current = child(source, entry).await?;
    }
    let message = format!("more than {MAX_INDEXES} indexes in a row: `{}`", top.digest);
    Err(Error::new(ErrorKind::TooLarge, message))
}

/// The document that an index lists, exactly as it lists it.
async fn child(source: &dyn Source, entry: &Descriptor) -> Result<Fetched, Error> {
    let refuse = |kind, message: String| {
        let error = Error::new(kind, message).doing(|| format!("document `{}`", entry.digest.short()));
        Err(error)
    };
    if entry.size > MAX_MANIFEST {
        return refuse(
            ErrorKind::TooLarge,
            format!("more than {MAX_MANIFEST} bytes: {}", entry.size),
        );
    }
    let fetched = match &entry.data {
        Some(data) => Fetched {
            bytes: data.clone().into(),
            digest: entry.digest,
            media_type: None,
        },
        None => source.document(&Target::Digest(entry.digest)).await?,
    };
    if fetched.bytes.len() as u64 != entry.size {
        let message = format!(
            "it has {} bytes, its index says {}",
            fetched.bytes.len(),
            entry.size
        );
        return refuse(ErrorKind::Size, message);
    }
    match fetched.media_type {
        Some(told) if told != entry.media_type => {
            let message = format!("it was sent as `{told}`, its index says `{}`", entry.media_type);
            refuse(ErrorKind::BadResponse, message)
        }
        _ => Ok(Fetched {
            media_type: Some(entry.media_type.clone()),
            ..fetched
        }),
    }
}

/// The config of a manifest: its embedded copy if there is one, else from the source. Verified,
/// not parsed.
///
/// # Errors
///
/// Those of [`Source::blob`] and [`Blob::read_all`](crate::Blob::read_all).
pub async fn config(source: &dyn Source, manifest: &Manifest) -> Result<Bytes, Error> {
    let descriptor = &manifest.config;
    let reading = async {
        if descriptor.size > MAX_CONFIG {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("more than {MAX_CONFIG} bytes: {}", descriptor.size),
            ));
        }
        match &descriptor.data {
            Some(data) => {
                crate::Blob::whole(descriptor, data.clone())
                    .read_all(MAX_CONFIG)
                    .await
            }
            None => {
                let mut tries = 1;
                loop {
                    match source.blob(descriptor).await?.read_all(MAX_CONFIG).await {
                        // Each time one mirror less is asked.
                        Err(error) if error.is_from_mirror() && tries < MAX_LIARS => tries += 1,
                        outcome => break outcome,
                    }
                }
            }
        }
    };
    let late = || {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("not complete within {CONFIG_TIME:?}"),
        ))
    };
    let outcome = timeout(CONFIG_TIME, reading).await.unwrap_or_else(|_| late());
    outcome.map_err(|error| error.doing(|| format!("config `{}`", descriptor.digest.short())))
}
