// SPDX-License-Identifier: Apache-2.0
//! Images: layers, config and manifest.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::archive::Dialect;
use crate::entry::Layer;
use crate::lie::Lie;
use crate::packing::Compression;
use crate::sha256;
use crate::text::{self, Options};

/// Bytes with the names under which others refer to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The media type that a descriptor gives.
    pub media_type: String,
    /// The digest that a descriptor gives; a lie may make it another than that of the bytes.
    pub digest: String,
    /// What is served.
    pub bytes: Bytes,
}

impl Blob {
    /// A blob under its true digest.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Blob {
            media_type: media_type.into(),
            digest: sha256(&bytes),
            bytes,
        }
    }

    /// A document as pretty-free JSON.
    pub fn json(media_type: &str, value: &Value) -> Self {
        Blob::new(media_type, value.to_string().into_bytes())
    }

    /// The descriptor that names this blob.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// What a registry or a layout can hold under a tag.
pub trait Published {
    /// The document that the tag names.
    fn top(&self) -> &Blob;
    /// Every other document that is fetched by digest as a manifest.
    fn documents(&self) -> Vec<&Blob>;
    /// Configs and layers.
    fn blobs(&self) -> Vec<&Blob>;
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub manifest: Blob,
    /// The config.
    pub config: Blob,
    /// The layers as a registry holds them, bottom first.
    pub layers: Vec<Blob>,
    /// The layers' archives, bottom first.
    pub tars: Vec<Vec<u8>>,
    /// The platform as `os/architecture[/variant]`.
    pub platform: String,
}

impl Image {
    /// Reads layers in the form of [`Layer::parse`], separated by lines of three dashes. Such a
    /// line may say how the layer below it is written: `--- zstd gnu members=3`.
    #[track_caller]
    pub fn parse(text: &str) -> Builder {
        Builder {
            layers: text::image(text),
            ..Builder::default()
        }
    }

    /// An image of these layers.
    pub fn of(layers: impl IntoIterator<Item = Layer>) -> Builder {
        let layers = layers
            .into_iter()
            .map(|layer| (layer, Options::default()))
            .collect();
        Builder {
            layers,
            ..Builder::default()
        }
    }

    /// The manifest as JSON.
    pub fn manifest_json(&self) -> Value {
        serde_json::from_slice(&self.manifest.bytes).expect("a manifest that was made here")
    }
}

impl Published for Image {
    fn top(&self) -> &Blob {
        &self.manifest
    }

    fn documents(&self) -> Vec<&Blob> {
        Vec::new()
    }

    fn blobs(&self) -> Vec<&Blob> {
        std::iter::once(&self.config).chain(&self.layers).collect()
    }
}

type Edit = Box<dyn Fn(&mut Value)>;

/// Says what an image is made of; [`build`](Builder::build) makes it.
#[derive(Default)]
pub struct Builder {
    layers: Vec<(Layer, Options)>,
    compression: Compression,
    dialect: Dialect,
    members: usize,
    platform: Option<String>,
    docker: bool,
    lies: Vec<Lie>,
    config_edits: Vec<Edit>,
    manifest_edits: Vec<Edit>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The compression of layers that name none; gzip by default.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// The dialect of layers that name none; PAX by default.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// The number of gzip members or zstd frames of layers that name none; one by default.
    #[must_use]
    pub fn members(mut self, members: usize) -> Self {
        self.members = members;
        self
    }

    /// The platform, for instance `linux/arm64/v8`; that of this machine by default.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        self.platform = Some(platform.to_string());
        self
    }

    /// Docker's schema 2 media types in place of OCI's.
    #[must_use]
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// Adds a lie.
    #[must_use]
    pub fn lie(mut self, lie: Lie) -> Self {
        self.lies.push(lie);
        self
    }

    /// Changes the config before the manifest names it.
    #[must_use]
    pub fn edit_config(mut self, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.config_edits.push(Box::new(edit));
        self
    }

    /// Changes the manifest before anything names it.
    #[must_use]
    pub fn edit_manifest(mut self, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.manifest_edits.push(Box::new(edit));
        self
    }

    /// Makes the image.
    #[track_caller]
    pub fn build(self) -> Image {
        let tars: Vec<Vec<u8>> = self
            .layers
            .iter()
            .map(|(layer, o)| layer.tar(o.dialect.unwrap_or(self.dialect)))
            .collect();
        let mut layers: Vec<Blob> = std::iter::zip(&tars, &self.layers)
            .map(|(tar, (_, options))| {
                let compression = options.compression.unwrap_or(self.compression);
                let members = options.members.unwrap_or(self.members).max(1);
                Blob::new(self.layer_type(compression), compression.pack(tar, members))
            })
            .collect();

        let platform = self.platform.clone().unwrap_or_else(host);
        let mut config = config(&platform, &tars);
        self.config_edits.iter().for_each(|edit| edit(&mut config));
        self.lies.iter().for_each(|lie| lie.config(&mut config));
        let mut config = Blob::json(self.choose(OCI_CONFIG, DOCKER_CONFIG), &config);

        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": self.choose(OCI_MANIFEST, DOCKER_MANIFEST),
            "config": config.descriptor(),
            "layers": layers.iter().map(Blob::descriptor).collect::<Vec<_>>(),
        });
        self.manifest_edits.iter().for_each(|edit| edit(&mut manifest));
        self.lies.iter().for_each(|lie| lie.manifest(&mut manifest));
        self.lies
            .iter()
            .for_each(|lie| lie.blobs(&mut config, &mut layers));
        let manifest = Blob::json(self.choose(OCI_MANIFEST, DOCKER_MANIFEST), &manifest);
        Image {
            manifest,
            config,
            layers,
            tars,
            platform,
        }
    }

    fn choose<'a>(&self, oci: &'a str, docker: &'a str) -> &'a str {
        if self.docker { docker } else { oci }
    }

    fn layer_type(&self, compression: Compression) -> &'static str {
        match (self.docker, compression) {
            (false, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (false, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (true, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (true, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (true, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
        }
    }
}

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

fn config(platform: &str, tars: &[Vec<u8>]) -> Value {
    let mut config = crate::index::platform(platform);
    config["created"] = "2024-01-01T00:00:00Z".into();
    config["config"] = json!({"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]});
    config["rootfs"] =
        json!({"type": "layers", "diff_ids": tars.iter().map(|t| sha256(t)).collect::<Vec<_>>()});
    config["history"] = tars
        .iter()
        .map(|_| json!({"created": "2024-01-01T00:00:00Z", "created_by": "fixture"}))
        .collect();
    config
}

/// The platform of this machine in the words of image indexes.
fn host() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64/v8",
        other => other,
    };
    format!("linux/{architecture}")
}
