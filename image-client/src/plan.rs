// SPDX-License-Identifier: Apache-2.0
//! What an admitted image consists of, checked before any layer is asked for.

use std::collections::BTreeSet;

use bytes::Bytes;
use crypt::Protection;
use distribution::Source;
use image_spec::{
    Algorithm, Compression, Descriptor, Digest, Document, ImageConfig, Manifest, MediaType, Platform,
};
use signature::Admitted;
use unpack::Codec;

use crate::error::{ErrorKind, Fault, LayerAt};
use crate::report::LayerReport;

/// An image whose manifest was admitted, whose config belongs to it, and whose layers can all be unpacked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) manifest: Manifest,
    pub(crate) config_bytes: Bytes,
    pub(crate) config: ImageConfig,
    /// Bottom first, repeats kept: the order of the config.
    pub(crate) layers: Vec<Layer>,
}

/// One layer of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) at: LayerAt,
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    pub(crate) codec: Codec,
}

impl Plan {
    /// Plans an image that the policy admitted. `known` is the config when the store has it.
    pub(crate) async fn of(
        admitted: &Admitted,
        source: &dyn Source,
        known: Option<Bytes>,
        platform: &Platform,
    ) -> Result<Self, Fault> {
        let manifest = manifest(admitted.manifest())?;
        refuse_artifact(&manifest)?;
        let codecs = codecs(&manifest)?;
        let config_bytes = match known {
            Some(bytes) => bytes,
            None => config(source, &manifest).await?,
        };
        manifest.config.check(&config_bytes)?;
        let config = ImageConfig::parse(&config_bytes)?;
        fits(&manifest, &config, platform)?;
        let total = manifest.layers.len();
        let layers = std::iter::zip(&manifest.layers, &config.rootfs.diff_ids)
            .zip(codecs)
            .enumerate()
            .map(|(index, ((descriptor, diff_id), codec))| Layer {
                at: LayerAt::new(index, total, descriptor.digest),
                descriptor: descriptor.clone(),
                diff_id: *diff_id,
                codec,
            })
            .collect();
        Ok(Self {
            manifest,
            config_bytes,
            config,
            layers,
        })
    }

    /// The layers as a report lists them.
    pub(crate) fn report(&self, reused: impl Fn(usize) -> bool) -> Vec<LayerReport> {
        report(&self.manifest, &self.config, reused)
    }

    /// Bytes of the blobs of these layers, each blob once.
    pub(crate) fn bytes<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> u64 {
        bytes(layers.into_iter().map(|layer| &layer.descriptor))
    }
}

/// What an image says of itself, admitted or not; nothing can be fetched by it.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
    /// What would stop a plan of it.
    pub(crate) obstacle: Option<Fault>,
}

impl Look {
    pub(crate) async fn at(bytes: &[u8], source: &dyn Source, platform: &Platform) -> Result<Self, Fault> {
        let manifest = manifest(bytes)?;
        refuse_artifact(&manifest)?;
        let config = ImageConfig::parse(&config(source, &manifest).await?)?;
        let obstacle = codecs(&manifest)
            .err()
            .or_else(|| fits(&manifest, &config, platform).err());
        Ok(Self {
            manifest,
            config,
            obstacle,
        })
    }

    /// The layers; each repeat of a layer counts as reused.
    pub(crate) fn report(&self) -> Vec<LayerReport> {
        let ids = &self.config.rootfs.diff_ids;
        let repeats = |index: usize| ids.iter().position(|id| ids.get(index) == Some(id)) < Some(index);
        report(&self.manifest, &self.config, repeats)
    }
}

/// Bytes of all blobs, each once; the sum is as untrusted as its parts and must not overflow.
pub(crate) fn bytes<'a>(blobs: impl IntoIterator<Item = &'a Descriptor>) -> u64 {
    let mut seen = BTreeSet::new();
    let once = blobs.into_iter().filter(|blob| seen.insert(blob.digest));
    once.fold(0, |sum, blob| sum.saturating_add(blob.size))
}

fn report(manifest: &Manifest, config: &ImageConfig, reused: impl Fn(usize) -> bool) -> Vec<LayerReport> {
    std::iter::zip(&manifest.layers, &config.rootfs.diff_ids)
        .enumerate()
        .map(|(index, (descriptor, diff_id))| LayerReport {
            digest: descriptor.digest,
            diff_id: *diff_id,
            media_type: descriptor.media_type.to_string(),
            size: descriptor.size,
            reused: reused(index),
        })
        .collect()
}

impl Layer {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.diff_id.algorithm()
    }

    /// Compares what was unpacked with what the config promises.
    pub(crate) fn check(&self, unpacked: &unpack::Unpacked) -> Result<(), Fault> {
        if unpacked.diff_id == self.diff_id {
            return Ok(());
        }
        let text = format!(
            "diff_id is not `{}` as the config says: `{}`",
            self.diff_id, unpacked.diff_id
        );
        Err(Fault::new(ErrorKind::Corrupt, text))
    }
}

/// Parses the very bytes that were admitted.
fn manifest(bytes: &[u8]) -> Result<Manifest, Fault> {
    match Document::parse(bytes, None)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(Fault::new(
            ErrorKind::Document,
            "expected a manifest, found an index",
        )),
    }
}

async fn config(source: &dyn Source, manifest: &Manifest) -> Result<Bytes, Fault> {
    let fetched = distribution::config(source, manifest).await;
    fetched.map_err(|e| Fault::from(e).under("cannot get the image's config"))
}

fn refuse_artifact(manifest: &Manifest) -> Result<(), Fault> {
    match (&manifest.config.media_type, &manifest.artifact_type) {
        (MediaType::Config(_), None) => Ok(()),
        (_, Some(artifact)) => Err(unsupported(
            artifact.clone(),
            "not a container image but an artifact of type",
        )),
        (other, None) => Err(unsupported(
            other.to_string(),
            "not a container image, its config has type",
        )),
    }
}

/// How each layer is inflated; refuses an image any of whose layers this version cannot unpack.
fn codecs(manifest: &Manifest) -> Result<Vec<Codec>, Fault> {
    let total = manifest.layers.len();
    let codec = |descriptor: &Descriptor| {
        refuse_encrypted(descriptor)?;
        let MediaType::Layer(kind) = &descriptor.media_type else {
            return Err(unsupported(
                descriptor.media_type.to_string(),
                "unsupported layer type",
            ));
        };
        Ok(match kind.compression {
            Compression::None => Codec::Plain,
            Compression::Gzip => Codec::Gzip,
            Compression::Zstd => Codec::Zstd,
        })
    };
    manifest
        .layers
        .iter()
        .enumerate()
        .map(|(index, d)| codec(d).map_err(|f| f.in_layer(LayerAt::new(index, total, d.digest))))
        .collect()
}

fn refuse_encrypted(descriptor: &Descriptor) -> Result<(), Fault> {
    let schemes = match crypt::protection(descriptor)? {
        Protection::Clear => return Ok(()),
        Protection::Encrypted(schemes) => schemes,
        _ => Vec::new(),
    };
    let schemes: Vec<String> = schemes.iter().map(|scheme| format!("`{scheme}`")).collect();
    let text = format!(
        "encrypted, which is not supported; the key is wrapped by: {}",
        schemes.join(", ")
    );
    Err(Fault::new(ErrorKind::Unsupported("encryption".to_owned()), text))
}

/// Whether the config belongs to the manifest and is for the platform.
fn fits(manifest: &Manifest, config: &ImageConfig, platform: &Platform) -> Result<(), Fault> {
    manifest.check_config(config)?;
    let own = config.platform();
    if platform.accepts(&own) {
        return Ok(());
    }
    Err(Fault::new(
        ErrorKind::Platform,
        format!("the image is not for {platform} but for: {own}"),
    ))
}

fn unsupported(name: String, text: &str) -> Fault {
    let text = format!("{text}: `{name}`");
    Fault::new(ErrorKind::Unsupported(name), text)
}
