// SPDX-License-Identifier: Apache-2.0
//! Image indexes (image-spec, image-index.md) and Docker's manifest lists.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    Descriptor, Dialect, MAX_ANNOTATIONS, MAX_MANIFESTS, MediaType, Platform,
    document::SCHEMA_VERSION,
    error::{Error, ErrorKind},
    fields::Fields,
    json,
};

/// A list of manifests, usually one for each platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// What the document calls itself; OCI lets it stay silent.
    pub media_type: Option<MediaType>,
    /// What kind of artifact this is, when it is no image.
    pub artifact_type: Option<String>,
    /// The entries, in order of preference.
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index speaks about.
    pub subject: Option<Descriptor>,
    /// Free text by key.
    pub annotations: BTreeMap<String, String>,
    /// Fields beyond the specification.
    pub other: Map<String, Value>,
}

impl Index {
    /// An index with nothing but its entries.
    pub fn new(dialect: Dialect, manifests: Vec<Descriptor>) -> Self {
        Self {
            media_type: Some(MediaType::Index(dialect)),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            other: Map::new(),
        }
    }

    /// The JSON text, see [`crate::Manifest::to_vec`].
    pub fn to_vec(&self) -> Vec<u8> {
        json::write(self)
    }

    /// The entry that suits `platform` best; among equals the first.
    ///
    /// Build attestations are never chosen. An entry that names no platform is chosen only if it
    /// is the only one of its kind and no other entry suits; its config then has to be checked.
    ///
    /// # Errors
    /// `NotFound`, with the platforms there are.
    pub fn select(&self, platform: &Platform) -> Result<&Descriptor, Error> {
        let images = || {
            self.manifests
                .iter()
                .filter(|entry| entry.media_type.is_document() && !entry.is_attestation())
        };
        let mut best: Option<(u32, &Descriptor)> = None;
        for entry in images() {
            let Some(rank) = entry.platform.as_ref().and_then(|offered| platform.rank(offered)) else {
                continue;
            };
            if best.is_none_or(|(found, _)| rank > found) {
                best = Some((rank, entry));
            }
        }
        if let Some((_, entry)) = best {
            return Ok(entry);
        }
        let mut silent = images().filter(|entry| entry.platform.is_none());
        if let (Some(only), None) = (silent.next(), silent.next()) {
            return Ok(only);
        }
        let name = |entry: &Descriptor| {
            entry
                .platform
                .as_ref()
                .map_or("unnamed".to_owned(), Platform::to_string)
        };
        let offered: Vec<String> = images().map(name).collect();
        if offered.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, "index holds no image"));
        }
        let what = format!("no image for {platform}, only for");
        Err(Error::new(ErrorKind::NotFound, what).value(offered.join(", ")))
    }

    pub(crate) fn read(mut fields: Fields<'_>, media_type: Option<MediaType>) -> Result<Self, Error> {
        fields.demand("manifests")?;
        Ok(Self {
            media_type,
            artifact_type: fields
                .parse::<MediaType>("artifactType")?
                .map(|kind| kind.to_string()),
            manifests: fields.list("manifests", MAX_MANIFESTS, Descriptor::read)?,
            subject: fields.object("subject", Descriptor::read)?,
            annotations: fields.map("annotations", MAX_ANNOTATIONS)?,
            other: fields.rest(),
        })
    }
}

impl Serialize for Index {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire<'a> {
            schema_version: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            media_type: &'a Option<MediaType>,
            #[serde(skip_serializing_if = "Option::is_none")]
            artifact_type: &'a Option<String>,
            manifests: &'a [Descriptor],
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
            manifests: &self.manifests,
            subject: &self.subject,
            annotations: &self.annotations,
            other: &self.other,
        }
        .serialize(serializer)
    }
}
