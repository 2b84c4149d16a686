// SPDX-License-Identifier: Apache-2.0
//! Content descriptors (image-spec, descriptor.md).

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    Digest, Hasher, MAX_ANNOTATIONS, MAX_MANIFEST, MAX_SIZE, MAX_URL, MAX_URLS, MediaType, Platform, base64,
    error::{Error, ErrorKind},
    fields::{self, Fields},
    json,
    path::Path,
};

/// What a blob is, which bytes it has and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the bytes are.
    pub media_type: MediaType,
    /// The address of the bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Other places that may hold the bytes. Whoever wrote the document chose them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The bytes themselves, base64 in the document. Parsing checked them against size and digest.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_base64")]
    pub data: Option<Vec<u8>>,
    /// What kind of artifact the described manifest is, a media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What the described image runs on, in an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Fields beyond the specification.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

const KNOWN: [&str; 8] = [
    "mediaType",
    "digest",
    "size",
    "urls",
    "annotations",
    "data",
    "artifactType",
    "platform",
];

impl Descriptor {
    /// A descriptor with nothing but the three required fields.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            artifact_type: None,
            platform: None,
            other: Map::new(),
        }
    }

    /// The descriptor of `bytes`, by SHA-256.
    pub fn of(media_type: MediaType, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// Parses a stand-alone descriptor.
    ///
    /// # Errors
    /// Whatever a descriptor inside a manifest is refused for, see [`crate::Document::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(json::parse(bytes, MAX_MANIFEST)?, &Path::Root)
    }

    /// Whether `bytes` are what the descriptor announces.
    ///
    /// # Errors
    /// `Mismatch`, with the size or the digest that was found.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 != self.size {
            let what = format!("size is not the {} bytes announced", self.size);
            return Err(Error::new(ErrorKind::Mismatch, what).value(bytes.len()));
        }
        let mut hasher = Hasher::new(self.digest.algorithm());
        hasher.update(bytes);
        let found = hasher.finish();
        if found != self.digest {
            let what = format!("digest is not {} as announced", self.digest.short());
            return Err(Error::new(ErrorKind::Mismatch, what).value(found.short()));
        }
        Ok(())
    }

    /// Whether the entry of an index is build provenance beside an image, not an image.
    pub fn is_attestation(&self) -> bool {
        let reference = self.annotations.get("vnd.docker.reference.type");
        reference.is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    pub(crate) fn read(value: Value, path: &Path<'_>) -> Result<Self, Error> {
        let mut fields = Fields::open(value, path, &KNOWN)?;
        let media_type = fields::parse(fields.required("mediaType")?, &path.key("mediaType"))?;
        let digest = fields::parse(fields.required("digest")?, &path.key("digest"))?;
        let size = fields::number(fields.required("size")?, &path.key("size"), MAX_SIZE)?;
        let mut descriptor = Self::new(media_type, digest, size);
        descriptor.urls = fields.list("urls", MAX_URLS, url)?;
        descriptor.annotations = fields.map("annotations", MAX_ANNOTATIONS)?;
        descriptor.artifact_type = fields
            .parse::<MediaType>("artifactType")?
            .map(|kind| kind.to_string());
        descriptor.platform = fields.object("platform", Platform::read)?;
        if let Some(data) = fields.text("data", MAX_MANIFEST as usize)? {
            let data = base64::decode(&data)
                .ok_or_else(|| fields.error(ErrorKind::Syntax, "data", "not base64").value(data))?;
            descriptor
                .check(&data)
                .map_err(|error| error.at(&path.key("data")))?;
            descriptor.data = Some(data);
        }
        descriptor.other = fields.rest();
        Ok(descriptor)
    }
}

fn as_base64<S: Serializer>(data: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base64::encode(data.as_deref().unwrap_or_default()))
}

/// An absolute URI by its outline (RFC 3986): a scheme, and no character that needs quoting.
fn url(value: Value, path: &Path<'_>) -> Result<String, Error> {
    let text = fields::text(value, path, MAX_URL)?;
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let has_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !has_scheme
        || !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
    {
        return Err(Error::new(ErrorKind::Syntax, "not an absolute URL")
            .at(path)
            .value(text));
    }
    Ok(text)
}
