// SPDX-License-Identifier: Apache-2.0
//! Images in a tar file as docker and podman save them.

mod images;
mod names;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image_spec::{
    Algorithm, Compression, Descriptor, Dialect, Digest, Hasher, ImageConfig, LayerType, MAX_CONFIG,
    MAX_MANIFEST, Manifest, MediaType,
};

use self::images::{Images, Item};
use self::names::Names;
use super::extent::{Extent, open};
use super::members::blob;
use super::scan::{Span, layer_compression, scan};
use super::{Place, Stop, source};
use crate::{Error, ErrorKind, Fetched, Target};

const MANIFEST: &str = "manifest.json";
/// Bytes that are hashed at a time.
const PIECE: u64 = 1 << 20;

/// Images in an uncompressed tar file with docker's `manifest.json`, as `docker save`,
/// `podman save` and `skopeo copy … docker-archive:` write it.
///
/// Such an archive has no manifests as registries have them. One is made for the image that is
/// asked for, of its config and layers, whose digests are computed for it: their bytes are read
/// once more. Its digest is therefore that of no registry. Layers may be compressed with gzip or
/// zstd, one by one, and may be symbolic links to other members.
///
/// A [`Target::Tag`] is a whole name such as `busybox:1.36`, compared in its full form.
#[derive(Clone, Debug)]
pub struct DockerArchive {
    place: Arc<Saved>,
}

impl DockerArchive {
    /// Opens the file and notes where its members lie. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without file or `manifest.json`, [`Io`](ErrorKind::Io),
    /// [`BadResponse`](ErrorKind::BadResponse) for a broken or ambiguous tar file,
    /// [`TooLarge`](ErrorKind::TooLarge) for too many members,
    /// [`Unsupported`](ErrorKind::Unsupported) for a compressed file, or one of Docker before 1.10.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let saved = Saved::open(path.clone())
            .map_err(|error| error.doing(|| format!("archive `{}`", path.display())))?;
        Ok(Self {
            place: Arc::new(saved),
        })
    }
}

source!(DockerArchive);

#[derive(Debug)]
struct Saved {
    file: Arc<File>,
    path: PathBuf,
    names: Names,
    images: Images,
    /// Held while an image is made up, so that its bytes are hashed once.
    made: Mutex<Made>,
}

/// What was made up so far.
#[derive(Debug, Default)]
struct Made {
    images: HashMap<usize, Image>,
    /// By the place of its first byte.
    layers: HashMap<u64, Descriptor>,
    blobs: HashMap<Digest, Span>,
}

#[derive(Clone, Debug)]
struct Image {
    manifest: Vec<u8>,
    digest: Digest,
}

impl Saved {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let (file, size) = open(&path)?;
        let mut names = Names::default();
        scan(&file, size, |member| names.note(&member))?;
        if !names.has(MANIFEST) {
            return Err(match names.has("repositories") {
                true => Error::unsupported("archive of Docker before 1.10, without `manifest.json`"),
                false => Error::new(
                    ErrorKind::NotFound,
                    "not an image archive of docker: no member `manifest.json`",
                ),
            });
        }
        let span = names.file(MANIFEST)?;
        let images = Images::parse(&Extent::new(Arc::clone(&file), span.at, span.size).read(MAX_MANIFEST)?)?;
        Ok(Self {
            file,
            path,
            names,
            images,
            made: Mutex::default(),
        })
    }

    fn extent(&self, span: Span) -> Extent {
        Extent::new(Arc::clone(&self.file), span.at, span.size)
    }

    /// The image of this number, made up when first asked for.
    fn image(&self, made: &mut Made, number: usize, stop: &Stop) -> Result<Image, Error> {
        if let Some(image) = made.images.get(&number) {
            return Ok(image.clone());
        }
        let item = self
            .images
            .get(number)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such image"))?;
        let manifest = self.make(made, item, stop)?;
        let image = Image {
            digest: Digest::sha256(&manifest),
            manifest,
        };
        made.images.insert(number, image.clone());
        Ok(image)
    }

    fn make(&self, made: &mut Made, item: &Item, stop: &Stop) -> Result<Vec<u8>, Error> {
        let span = self.names.file(&item.config)?;
        let bytes = self.extent(span).read(MAX_CONFIG)?;
        let config = Descriptor::of(MediaType::Config(Dialect::Docker), &bytes);
        check_name(&item.config, &config.digest)?;
        let parsed = ImageConfig::parse(&bytes).map_err(Error::document)?;
        let (layers, diff_ids) = (item.layers.len(), parsed.rootfs.diff_ids.len());
        if layers != diff_ids {
            let message = format!("`manifest.json` lists {layers} layers, the config {diff_ids}");
            return Err(Error::new(ErrorKind::BadResponse, message));
        }
        made.blobs.insert(config.digest, span);
        let layers: Result<Vec<Descriptor>, Error> = item
            .layers
            .iter()
            .map(|name| self.layer(made, name, stop))
            .collect();
        Ok(Manifest::new(Dialect::Docker, config, layers?).to_vec())
    }

    fn layer(&self, made: &mut Made, name: &str, stop: &Stop) -> Result<Descriptor, Error> {
        let span = self.names.file(name)?;
        if let Some(known) = made.layers.get(&span.at) {
            return Ok(known.clone());
        }
        let compression = match layer_compression(&self.file, span)? {
            None => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            Some(other) => return Err(Error::unsupported(format!("layer compressed with {other}"))),
        };
        let media_type = MediaType::Layer(LayerType {
            dialect: Dialect::Docker,
            compression,
            encrypted: false,
            foreign: false,
        });
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut at = 0;
        while at < span.size {
            stop.check()?;
            let end = span.size.min(at + PIECE);
            hasher.update(&self.extent(span).part(&(at..end))?);
            at = end;
        }
        let digest = hasher.finish();
        check_name(name, &digest)?;
        let descriptor = Descriptor::new(media_type, digest, span.size);
        made.layers.insert(span.at, descriptor.clone());
        made.blobs.insert(digest, span);
        Ok(descriptor)
    }

    /// The first image, as far as they can be made up, for which `found` gives something.
    fn search<T>(&self, stop: &Stop, found: impl Fn(&Made, &Image) -> Option<T>) -> Result<Option<T>, Error> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..self.images.len() {
            stop.check()?;
            match self.image(&mut made, number, stop) {
                Ok(image) => {
                    if let Some(found) = found(&made, &image) {
                        return Ok(Some(found));
                    }
                }
                Err(error) => tracing::info!(number, %error, "an image of the archive is passed over"),
            }
        }
        Ok(None)
    }
}

impl Place for Saved {
    fn document(&self, target: &Target, stop: &Stop) -> Result<Fetched, Error> {
        let (manifest, digest) = match target {
            Target::Digest(digest) => {
                let fits = |_: &Made, image: &Image| {
                    (Digest::of(digest.algorithm(), &image.manifest) == *digest)
                        .then(|| image.manifest.clone())
                };
                let missing = || Error::new(ErrorKind::NotFound, "no image of the archive has this digest");
                (self.search(stop, fits)?.ok_or_else(missing)?, *digest)
            }
            target => {
                let number = self.images.choose(target)?;
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                let image = self.image(&mut made, number, stop)?;
                (image.manifest, image.digest)
            }
        };
        Ok(Fetched {
            bytes: manifest.into(),
            digest,
            media_type: Some(MediaType::Manifest(Dialect::Docker)),
        })
    }

    fn find(&self, digest: &Digest, stop: &Stop) -> Result<Extent, Error> {
        let known = |made: &Made| made.blobs.get(digest).copied();
        let at_once = known(&self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let span = match at_once {
            Some(span) => Some(span),
            None => self.search(stop, |made, _| known(made))?,
        };
        span.map(|span| self.extent(span))
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no such blob: `{digest}`")))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        Ok(self.images.names())
    }

    fn referrers(&self, _: &Digest, _: &Stop) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive `{}`", self.path.display())
    }
}

/// Refuses a file that lies under another digest than its own. Other names mean nothing.
fn check_name(name: &str, digest: &Digest) -> Result<(), Error> {
    match blob(name) {
        Some(named) if named.algorithm() == digest.algorithm() && named != *digest => Err(Error::new(
            ErrorKind::Digest,
            format!("its bytes have another digest than `{named}`: `{digest}`"),
        )),
        _ => Ok(()),
    }
}
