// SPDX-License-Identifier: Apache-2.0
//! From one dialect to the other without touching a layer.
//!
//! The two dialects share the format of the config, and each tells its readers to ignore fields
//! of the other: so the config keeps its bytes, and with them its digest, the image's id. What
//! changes is the manifest: the media types, and for Docker the fields it has no place for. Notes
//! (annotations, embedded data) are left out then; what the meaning hangs on is refused.

use crate::{
    Descriptor, Dialect, ImageConfig, LayerType, Manifest, MediaType,
    error::{Error, ErrorKind},
    path::Path,
};

/// The manifest in dialect `to`, for the same config bytes and the same layer bytes.
///
/// `config` are the bytes of the image config; they are checked against the manifest and belong
/// to the result unchanged.
///
/// # Errors
/// `Mismatch` if `config` is not the manifest's config, or its diff ids are not as many as the
/// layers; whatever [`ImageConfig::parse`] refuses; `Unsupported` for what is no image, and in
/// Docker's dialect for a subject, an artifact type and encrypted layers.
pub fn manifest(manifest: &Manifest, config: &[u8], to: Dialect) -> Result<Manifest, Error> {
    let root = &Path::Root;
    manifest
        .config
        .check(config)
        .map_err(|error| error.at(&root.key("config")))?;
    if !matches!(manifest.config.media_type, MediaType::Config(_)) {
        let name = format!(
            "conversion of an artifact, config `{}`",
            manifest.config.media_type
        );
        return Err(Error::unsupported(name).at(&root.key("config").key("mediaType")));
    }
    manifest.check_config(&ImageConfig::parse(config)?)?;

    let mut out = manifest.clone();
    out.media_type = Some(MediaType::Manifest(to));
    out.config.media_type = MediaType::Config(to);
    for (number, layer) in out.layers.iter_mut().enumerate() {
        layer.media_type = layer_type(layer, to).map_err(|error| {
            let (layers, name) = (root.key("layers"), "mediaType");
            error.at(&layers.item(number).key(name))
        })?;
    }
    if to == Dialect::Docker {
        for (present, key) in [
            (out.subject.is_some(), "subject"),
            (out.artifact_type.is_some(), "artifactType"),
        ] {
            if present {
                return Err(Error::unsupported(format!("`{key}` in Docker's dialect")).at(&root.key(key)));
            }
        }
        out.annotations.clear();
        out.layers
            .iter_mut()
            .chain([&mut out.config])
            .for_each(drop_notes);
    }
    Ok(out)
}

fn layer_type(layer: &Descriptor, to: Dialect) -> Result<MediaType, Error> {
    let MediaType::Layer(layer) = layer.media_type else {
        return Err(Error::new(ErrorKind::Value, "not a layer").value(&layer.media_type));
    };
    if layer.encrypted && to == Dialect::Docker {
        return Err(Error::unsupported("encrypted layer in Docker's dialect"));
    }
    Ok(MediaType::Layer(LayerType { dialect: to, ..layer }))
}

fn drop_notes(descriptor: &mut Descriptor) {
    descriptor.annotations.clear();
    descriptor.data = None;
    descriptor.artifact_type = None;
    descriptor.platform = None;
}
