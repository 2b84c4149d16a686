// SPDX-License-Identifier: Apache-2.0
//! One small image, and how an honest registry serves it.

use distribution::{Client, Error, ErrorKind, Registry, Source, Target, config, resolve};
use image_spec::{Compression, Descriptor, Dialect, Digest, LayerType, Manifest, MediaType, Platform};

use crate::server::{Asked, Reply};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Bytes that no test changes.
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) layer: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
}

pub(crate) fn image() -> Image {
    let config = br#"{"architecture":"amd64","os":"linux"}"#.to_vec();
    let layer: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
    let layers = vec![Descriptor::of(layer_type(), &layer)];
    let manifest = Manifest::new(
        Dialect::Oci,
        Descriptor::of(MediaType::Config(Dialect::Oci), &config),
        layers,
    );
    Image {
        config,
        layer,
        manifest: manifest.to_vec(),
    }
}

pub(crate) fn layer_type() -> MediaType {
    MediaType::Layer(LayerType {
        dialect: Dialect::Oci,
        compression: Compression::None,
        encrypted: false,
        foreign: false,
    })
}

impl Image {
    pub(crate) fn layer_descriptor(&self) -> Descriptor {
        Descriptor::of(layer_type(), &self.layer)
    }

    pub(crate) fn entry(&self) -> Descriptor {
        Descriptor::of(MediaType::Manifest(Dialect::Oci), &self.manifest)
    }

    /// What an honest registry answers for any repository.
    pub(crate) fn serve(&self, asked: &Asked) -> Reply {
        let (_, name) = asked.path.rsplit_once('/').unwrap();
        let digest = |bytes: &[u8]| Digest::sha256(bytes).to_string();
        if asked.path.contains("/manifests/") && (name == "tag" || name == digest(&self.manifest)) {
            return Reply::ok(self.manifest.clone())
                .with("content-type", MANIFEST)
                .with("docker-content-digest", digest(&self.manifest));
        }
        for blob in [&self.config, &self.layer] {
            if asked.path.contains("/blobs/") && name == digest(blob) {
                return Reply::ok(blob.clone());
            }
        }
        Reply::error(404, "nothing of the kind")
    }

    /// The paths of a pull of `repository:tag` without any detour.
    pub(crate) fn paths(&self, repository: &str) -> Vec<String> {
        vec![
            format!("/v2/{repository}/manifests/tag"),
            format!("/v2/{repository}/blobs/{}", Digest::sha256(&self.config)),
            format!("/v2/{repository}/blobs/{}", Digest::sha256(&self.layer)),
        ]
    }
}

pub(crate) fn tag() -> Target {
    Target::Tag("tag".to_owned())
}

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// The repository `ns/app` on a test server.
pub(crate) fn registry(client: &Client, host: &str) -> Registry {
    repository(client, host, "ns/app")
}

pub(crate) fn repository(client: &Client, host: &str, repository: &str) -> Registry {
    client
        .registry(&format!("{host}/{repository}:tag").parse().unwrap())
        .unwrap()
}

/// Manifest, config and layers of `tag`, one after the other; the bytes of the layers.
pub(crate) async fn pull(source: &dyn Source) -> Result<Vec<u8>, Error> {
    let found = resolve(source, &tag(), &amd64()).await?;
    config(source, &found.manifest).await?;
    let mut bytes = Vec::new();
    for layer in &found.manifest.layers {
        let mut blob = source.blob(layer).await?;
        while let Some(chunk) = blob.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// An error's whole chain as one text.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text = format!("{text} <- {cause}");
        next = cause.source();
    }
    text
}

#[track_caller]
pub(crate) fn assert_error<T: std::fmt::Debug>(outcome: Result<T, Error>, kind: ErrorKind, part: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{}", chain(&error));
    assert!(
        chain(&error).contains(part),
        "`{part}` is not in: {}",
        chain(&error)
    );
}
