// SPDX-License-Identifier: Apache-2.0
//! Image manifests (image-spec, manifest.md; Docker image manifest version 2, schema 2).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    Descriptor, Dialect, ImageConfig, MAX_ANNOTATIONS, MAX_LAYERS, MediaType,
    document::SCHEMA_VERSION,
    error::{Error, ErrorKind},
    fields::Fields,
    json,
    path::Path,
};

/// One image: its config and its layers, bottom first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What the document calls itself; OCI lets it stay silent.
    pub media_type: Option<MediaType>,
    /// What kind of artifact this is, when it is no image.
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this one speaks about.
    pub subject: Option<Descriptor>,
    /// Free text by key.
    pub annotations: BTreeMap<String, String>,
    /// Fields beyond the specification.
    pub other: Map<String, Value>,
}

impl Manifest {
    /// A manifest with nothing but config and layers.
    pub fn new(dialect: Dialect, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            media_type: Some(MediaType::Manifest(dialect)),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// The dialect the document says it is in, or else the one its config is in.
    pub fn dialect(&self) -> Dialect {
        let own = self.media_type.as_ref().and_then(MediaType::dialect);
        own.or_else(|| self.config.media_type.dialect())
            .unwrap_or(Dialect::Oci)
    }

    /// The JSON text. Fields keep their values but not their order or white space, so this is not
    /// the text a parsed manifest was read from.
    pub fn to_vec(&self) -> Vec<u8> {
        json::write(self)
    }

    /// Whether `config` can belong to this manifest: one diff id for each layer.
    ///
    /// # Errors
    /// `Mismatch`, with both counts.
    pub fn check_config(&self, config: &ImageConfig) -> Result<(), Error> {
        let (layers, diff_ids) = (self.layers.len(), config.rootfs.diff_ids.len());
        if layers == diff_ids {
            return Ok(());
        }
        let what = format!("number of diff ids is not the number of layers, {layers},");
        Err(Error::new(ErrorKind::Mismatch, what)
            .at(&Path::Root.key("rootfs").key("diff_ids"))
            .value(diff_ids))
    }

    pub(crate) fn read(mut fields: Fields<'_>, media_type: Option<MediaType>) -> Result<Self, Error> {
        let config = Descriptor::read(fields.required("config")?, &Path::Root.key("config"))?;
        fields.demand("layers")?;
        Ok(Self {
            media_type,
            artifact_type: fields
                .parse::<MediaType>("artifactType")?
                .map(|kind| kind.to_string()),
            config,
            layers: fields.list("layers", MAX_LAYERS, Descriptor::read)?,
            subject: fields.object("subject", Descriptor::read)?,
            annotations: fields.map("annotations", MAX_ANNOTATIONS)?,
            other: fields.rest(),
        })
    }
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            schema_version: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            media_type: &'a Option<MediaType>,
            #[serde(skip_serializing_if = "Option::is_none")]
            artifact_type: &'a Option<String>,
            config: &'a Descriptor,
            layers: &'a [Descriptor],
            #[serde(skip_serializing_if = "Option::is_none")]
            subject: &'a Option<Descriptor>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
            #[serde(flatten)]
            other: &'a Map<String, Value>,
        }
        Wire {
            schema_version: SCHEMA_VERSION,
            media_type: &self.media_type,
            artifact_type: &self.artifact_type,
            config: &self.config,
            layers: &self.layers,
            subject: &self.subject,
            annotations: &self.annotations,
            other: &self.other,
        }
        .serialize(serializer)
    }
}
