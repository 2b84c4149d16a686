// SPDX-License-Identifier: Apache-2.0
//! What a registry answers when asked for a manifest: one of two documents, and surely which.

use crate::{
    Index, MAX_MANIFEST, Manifest, MediaType,
    error::{Error, ErrorKind},
    fields::{self, Fields},
    json,
    path::Path,
};

/// The only schema version of both dialects.
pub(crate) const SCHEMA_VERSION: u64 = 2;

/// The fields of all documents, so that none hides in another kind or in another case.
const KNOWN: [&str; 9] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "config",
    "layers",
    "subject",
    "annotations",
    "fsLayers",
];

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // held one at a time, never in lists
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A list of images.
    Index(Index),
}

impl Document {
    /// Parses a document; `content_type` is what its bearer calls it, if anything.
    ///
    /// The caller hashes the bytes first. Whatever two readers could understand differently is
    /// refused, so that what was verified is what is used.
    ///
    /// # Errors
    /// * `Limit`: more than [`MAX_MANIFEST`] bytes, or a list longer than its limit.
    /// * `Ambiguous`: a duplicate key, a known key in another case, a document that has the lists
    ///   of both kinds.
    /// * `Mismatch`: `mediaType` unlike `content_type` or unlike the content; embedded data unlike
    ///   its size or digest.
    /// * `Unsupported`: Docker schema 1, OCI's withdrawn artifact manifest, another schema version
    ///   or digest algorithm.
    /// * `Syntax`, `Missing`, `Type`, `Value`: anything else the specifications forbid.
    pub fn parse(bytes: &[u8], content_type: Option<&MediaType>) -> Result<Self, Error> {
        let mut header = Fields::open(json::parse(bytes, MAX_MANIFEST)?, &Path::Root, &KNOWN)?;
        let media_type: Option<MediaType> = header.parse("mediaType")?;
        let name = media_type.as_ref().or(content_type);
        refuse_by_name(name)?;
        let is_index = header.has("manifests");
        let is_manifest = header.has("layers") || header.has("config");
        if is_index && is_manifest {
            return Err(header.error(
                ErrorKind::Ambiguous,
                "manifests",
                "list of an index in a manifest",
            ));
        }
        if header.has("fsLayers") && (is_index || is_manifest) {
            return Err(header.error(ErrorKind::Ambiguous, "fsLayers", "list of schema 1 in schema 2"));
        }
        check_version(&mut header)?;
        if let (Some(own), Some(told)) = (&media_type, content_type)
            && own != told
        {
            let what = format!("media type is not the `{told}` it was sent as");
            return Err(header.error(ErrorKind::Mismatch, "mediaType", what).value(own));
        }
        match (name, is_index, is_manifest) {
            (None | Some(MediaType::Index(_)), true, _) => Index::read(header, media_type).map(Self::Index),
            (None | Some(MediaType::Manifest(_)), _, true) => {
                Manifest::read(header, media_type).map(Self::Manifest)
            }
            (None, ..) => Err(Error::new(ErrorKind::Missing, "neither an index nor a manifest")),
            (Some(MediaType::Index(_)), false, false) => {
                Err(header.error(ErrorKind::Missing, "manifests", "missing field"))
            }
            (Some(MediaType::Manifest(_)), false, false) => {
                Err(header.error(ErrorKind::Missing, "config", "missing field"))
            }
            (Some(name), ..) => {
                let what = if is_index {
                    "index is called"
                } else {
                    "document is called"
                };
                Err(header.error(ErrorKind::Mismatch, "mediaType", what).value(name))
            }
        }
    }
}

fn check_version(header: &mut Fields<'_>) -> Result<(), Error> {
    let place = Path::Root.key("schemaVersion");
    match fields::number(header.required("schemaVersion")?, &place, u64::MAX)? {
        SCHEMA_VERSION => Ok(()),
        1 => Err(Error::unsupported("Docker schema 1 manifest")),
        other => Err(Error::unsupported(format!("schema version {other}")).at(&place)),
    }
}

fn refuse_by_name(media_type: Option<&MediaType>) -> Result<(), Error> {
    let Some(MediaType::Other(name)) = media_type else {
        return Ok(());
    };
    match &**name {
        "application/vnd.docker.distribution.manifest.v1+json"
        | "application/vnd.docker.distribution.manifest.v1+prettyjws" => {
            Err(Error::unsupported("Docker schema 1 manifest"))
        }
        "application/vnd.oci.artifact.manifest.v1+json" => Err(Error::unsupported(
            "OCI artifact manifest, withdrawn from the specification",
        )),
        _ => Ok(()),
    }
}
