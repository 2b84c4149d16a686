// SPDX-License-Identifier: Apache-2.0
//! Indexes over several images.

use serde_json::{Value, json};

use crate::image::{Blob, Image, OCI_CONFIG, OCI_MANIFEST, Published};

/// An index and what it names.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index itself.
    pub index: Blob,
    entries: Vec<Value>,
    documents: Vec<Blob>,
    blobs: Vec<Blob>,
    docker: bool,
}

impl Default for Index {
    fn default() -> Self {
        Index::new()
    }
}

impl Index {
    /// An OCI index without entries.
    pub fn new() -> Self {
        let blank = Blob::new("", "");
        Index {
            index: blank,
            entries: vec![],
            documents: vec![],
            blobs: vec![],
            docker: false,
        }
        .sealed()
    }

    /// Docker's manifest list in place of an OCI index.
    #[must_use]
    pub fn docker(mut self) -> Self {
        self.docker = true;
        self.sealed()
    }

    /// Adds an image under its platform.
    #[must_use]
    pub fn image(mut self, image: &Image) -> Self {
        let mut entry = image.manifest.descriptor();
        entry["platform"] = platform(&image.platform);
        self.documents.push(image.manifest.clone());
        self.blobs.extend(image.blobs().into_iter().cloned());
        self.entry(entry)
    }

    /// Adds an index inside this one.
    #[must_use]
    pub fn nested(mut self, inner: &Index) -> Self {
        self.documents.push(inner.index.clone());
        self.documents.extend(inner.documents.iter().cloned());
        self.blobs.extend(inner.blobs.iter().cloned());
        self.entry(inner.index.descriptor())
    }

    /// Adds what builders attach to an image: a manifest for the platform `unknown/unknown`.
    #[must_use]
    pub fn attestation(mut self, subject: &Image) -> Self {
        let statement = Blob::new("application/vnd.in-toto+json", "{}");
        let config = Blob::json(
            OCI_CONFIG,
            &json!({"architecture": "unknown", "os": "unknown",
            "config": {}, "rootfs": {"type": "layers", "diff_ids": [statement.digest]}}),
        );
        let manifest = Blob::json(
            OCI_MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": config.descriptor(), "layers": [statement.descriptor()]}),
        );
        let mut entry = manifest.descriptor();
        entry["platform"] = platform("unknown/unknown");
        entry["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject.manifest.digest});
        self.documents.push(manifest);
        self.blobs.extend([config, statement]);
        self.entry(entry)
    }

    /// Adds an entry as it is.
    #[must_use]
    pub fn entry(mut self, descriptor: Value) -> Self {
        self.entries.push(descriptor);
        self.sealed()
    }

    /// Changes the finished document; call it last.
    #[must_use]
    pub fn edit(mut self, edit: impl Fn(&mut Value)) -> Self {
        let mut value: Value = serde_json::from_slice(&self.index.bytes).expect("an index made here");
        edit(&mut value);
        self.index = Blob::json(&self.index.media_type, &value);
        self
    }

    fn sealed(mut self) -> Self {
        let media_type = if self.docker {
            "application/vnd.docker.distribution.manifest.list.v2+json"
        } else {
            "application/vnd.oci.image.index.v1+json"
        };
        let value = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": self.entries});
        self.index = Blob::json(media_type, &value);
        self
    }
}

impl Published for Index {
    fn top(&self) -> &Blob {
        &self.index
    }

    fn documents(&self) -> Vec<&Blob> {
        self.documents.iter().collect()
    }

    fn blobs(&self) -> Vec<&Blob> {
        self.blobs.iter().collect()
    }
}

/// `os/architecture[/variant]` as the fields of a platform or a config.
pub(crate) fn platform(text: &str) -> Value {
    let mut parts = text.split('/');
    let mut next = || parts.next().map(str::to_string);
    let mut value = json!({"os": next(), "architecture": next()});
    if let Some(variant) = next() {
        value["variant"] = variant.into();
    }
    value
}
