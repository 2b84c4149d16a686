// SPDX-License-Identifier: Apache-2.0
//! Media types of OCI image-spec 1.1 (media-types.md) and of Docker's image manifest version 2,
//! schema 2.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    MAX_MEDIA_TYPE_PART,
    error::{Error, ErrorKind},
};

/// How a layer's tar is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Which of the two families of names a document uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// OCI image-spec.
    Oci,
    /// Docker image manifest version 2, schema 2.
    Docker,
}

/// What a layer's media type says. Each value has exactly one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerType {
    /// The family of the name.
    pub dialect: Dialect,
    /// The compression.
    pub compression: Compression,
    /// Encrypted as ocicrypt does, after compression.
    pub encrypted: bool,
    /// Non-distributable (OCI) or foreign (Docker): the bytes may live elsewhere.
    pub foreign: bool,
}

/// A media type, known or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MediaType {
    /// An image manifest.
    Manifest(Dialect),
    /// An image index, or Docker's manifest list.
    Index(Dialect),
    /// An image config.
    Config(Dialect),
    /// A layer.
    Layer(LayerType),
    /// OCI's empty blob, the two bytes `{}`.
    Empty,
    /// OCI's stand-alone content descriptor.
    Descriptor,
    /// OCI's layout marker, the file `oci-layout`.
    LayoutHeader,
    /// Any other well-formed media type.
    Other(Box<str>),
}

const NAMES: [(MediaType, &str); 9] = [
    (
        MediaType::Manifest(Dialect::Oci),
        "application/vnd.oci.image.manifest.v1+json",
    ),
    (
        MediaType::Manifest(Dialect::Docker),
        "application/vnd.docker.distribution.manifest.v2+json",
    ),
    (
        MediaType::Index(Dialect::Oci),
        "application/vnd.oci.image.index.v1+json",
    ),
    (
        MediaType::Index(Dialect::Docker),
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ),
    (
        MediaType::Config(Dialect::Oci),
        "application/vnd.oci.image.config.v1+json",
    ),
    (
        MediaType::Config(Dialect::Docker),
        "application/vnd.docker.container.image.v1+json",
    ),
    (MediaType::Empty, "application/vnd.oci.empty.v1+json"),
    (MediaType::Descriptor, "application/vnd.oci.descriptor.v1+json"),
    (
        MediaType::LayoutHeader,
        "application/vnd.oci.layout.header.v1+json",
    ),
];

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
const ENCRYPTED: &str = "+encrypted";

impl MediaType {
    /// The family of the name, when it is of one.
    pub fn dialect(&self) -> Option<Dialect> {
        match self {
            Self::Manifest(dialect) | Self::Index(dialect) | Self::Config(dialect) => Some(*dialect),
            Self::Layer(layer) => Some(layer.dialect),
            Self::Empty | Self::Descriptor | Self::LayoutHeader => Some(Dialect::Oci),
            Self::Other(_) => None,
        }
    }

    /// Whether a document of this type is a manifest or an index.
    pub fn is_document(&self) -> bool {
        matches!(self, Self::Manifest(_) | Self::Index(_))
    }

    /// Reads the value of an HTTP `Content-Type` header: parameters are dropped and, as HTTP asks,
    /// case means nothing.
    ///
    /// # Errors
    /// `Syntax` if what remains is not a media type.
    pub fn from_content_type(header: &str) -> Result<Self, Error> {
        let essence = header.split_once(';').map_or(header, |(essence, _)| essence);
        essence.trim_matches([' ', '\t']).to_ascii_lowercase().parse()
    }
}

impl LayerType {
    fn parse(text: &str) -> Option<Self> {
        let (clear, encrypted) = match text.strip_suffix(ENCRYPTED) {
            Some(clear) => (clear, true),
            None => (text, false),
        };
        // No base name is a prefix of another one.
        let bases = [
            (OCI_LAYER, Dialect::Oci, false),
            (OCI_FOREIGN, Dialect::Oci, true),
            (DOCKER_LAYER, Dialect::Docker, false),
            (DOCKER_FOREIGN, Dialect::Docker, true),
        ];
        let (suffix, dialect, foreign) = bases
            .into_iter()
            .find_map(|(base, dialect, foreign)| Some((clear.strip_prefix(base)?, dialect, foreign)))?;
        let compression = match (dialect, suffix) {
            (_, "") => Compression::None,
            (Dialect::Oci, "+gzip") | (Dialect::Docker, ".gzip") => Compression::Gzip,
            (Dialect::Oci, "+zstd") | (Dialect::Docker, ".zstd") => Compression::Zstd,
            _ => return None,
        };
        Some(Self {
            dialect,
            compression,
            encrypted,
            foreign,
        })
    }
}

impl fmt::Display for LayerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.dialect, self.foreign) {
            (Dialect::Oci, false) => OCI_LAYER,
            (Dialect::Oci, true) => OCI_FOREIGN,
            (Dialect::Docker, false) => DOCKER_LAYER,
            (Dialect::Docker, true) => DOCKER_FOREIGN,
        })?;
        f.write_str(match (self.dialect, self.compression) {
            (_, Compression::None) => "",
            (Dialect::Oci, Compression::Gzip) => "+gzip",
            (Dialect::Oci, Compression::Zstd) => "+zstd",
            (Dialect::Docker, Compression::Gzip) => ".gzip",
            (Dialect::Docker, Compression::Zstd) => ".zstd",
        })?;
        f.write_str(if self.encrypted { ENCRYPTED } else { "" })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => layer.fmt(f),
            Self::Other(text) => f.write_str(text),
            known => f.write_str(
                NAMES
                    .iter()
                    .find(|(name, _)| name == known)
                    .map_or("", |(_, text)| text),
            ),
        }
    }
}

impl FromStr for MediaType {
    type Err = Error;

    /// # Errors
    /// `Syntax` if the text does not follow RFC 6838 section 4.2; `Ambiguous` if it is a type this
    /// crate knows but for its case, which readers treat differently.
    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some(known) = known(text) {
            return Ok(known);
        }
        let well_formed = text
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype));
        if !well_formed {
            return Err(Error::new(ErrorKind::Syntax, "malformed media type").value(text));
        }
        if known(&text.to_ascii_lowercase()).is_some() {
            return Err(Error::new(ErrorKind::Ambiguous, "media type in another case").value(text));
        }
        Ok(Self::Other(text.into()))
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

fn known(text: &str) -> Option<MediaType> {
    let document = NAMES
        .iter()
        .find(|(_, name)| *name == text)
        .map(|(known, _)| known.clone());
    document.or_else(|| LayerType::parse(text).map(MediaType::Layer))
}

/// A restricted name of RFC 6838.
fn is_name(text: &str) -> bool {
    text.len() <= MAX_MEDIA_TYPE_PART
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
}
