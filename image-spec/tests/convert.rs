// SPDX-License-Identifier: Apache-2.0
//! Manifests in the other dialect.

use image_spec::{
    Compression, Descriptor, Dialect, Digest, ErrorKind, ImageConfig, LayerType, Manifest, MediaType,
    Platform, convert,
};

fn layer(dialect: Dialect, compression: Compression, foreign: bool) -> Descriptor {
    let kind = MediaType::Layer(LayerType {
        dialect,
        compression,
        encrypted: false,
        foreign,
    });
    let mut layer = Descriptor::new(
        kind,
        Digest::sha256(format!("{compression:?}{foreign}").as_bytes()),
        7,
    );
    if foreign {
        layer.urls.push("https://example.com/layer".to_owned());
    }
    layer
}

fn image(dialect: Dialect) -> (Manifest, Vec<u8>) {
    let mut layers = Vec::new();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        layers.extend([false, true].map(|foreign| layer(dialect, compression, foreign)));
    }
    let diff_ids = vec![Digest::sha256(b"tar"); layers.len()];
    let mut config = ImageConfig::new(&Platform::new("linux", "amd64"), diff_ids);
    config.other.insert("docker_version".to_owned(), "20".into());
    let config = config.to_vec();
    (
        Manifest::new(
            dialect,
            Descriptor::of(MediaType::Config(dialect), &config),
            layers,
        ),
        config,
    )
}

#[test]
fn there_and_back_is_the_same_document() {
    for (here, there) in [(Dialect::Oci, Dialect::Docker), (Dialect::Docker, Dialect::Oci)] {
        let (manifest, config) = image(here);
        let away = convert::manifest(&manifest, &config, there).unwrap();
        assert_eq!(away.media_type, Some(MediaType::Manifest(there)));
        assert_eq!(away.dialect(), there);
        assert_eq!(away.config.media_type, MediaType::Config(there));
        assert_eq!(
            (away.config.digest, away.config.size),
            (manifest.config.digest, manifest.config.size)
        );
        for (new, old) in away.layers.iter().zip(&manifest.layers) {
            assert_eq!(new.media_type.dialect(), Some(there));
            assert_eq!(
                (new.digest, new.size, &new.urls),
                (old.digest, old.size, &old.urls)
            );
        }
        let back = convert::manifest(&away, &config, here).unwrap();
        assert_eq!(back.to_vec(), manifest.to_vec());
        assert_eq!(convert::manifest(&manifest, &config, here).unwrap(), manifest);
    }
}

#[test]
fn a_mixed_manifest_becomes_uniform() {
    let (mut manifest, config) = image(Dialect::Oci);
    manifest.layers[1] = layer(Dialect::Docker, Compression::None, true);
    let uniform = convert::manifest(&manifest, &config, Dialect::Oci).unwrap();
    assert_eq!(uniform, image(Dialect::Oci).0);
}

#[test]
fn docker_has_no_place_for_notes() {
    let (mut manifest, config) = image(Dialect::Oci);
    let plain = convert::manifest(&manifest, &config, Dialect::Docker).unwrap();
    manifest.annotations.insert("a".to_owned(), "b".to_owned());
    manifest.layers[0]
        .annotations
        .insert("a".to_owned(), "b".to_owned());
    manifest.config.data = Some(config.clone());
    assert_eq!(
        convert::manifest(&manifest, &config, Dialect::Docker).unwrap(),
        plain
    );
    assert_eq!(
        convert::manifest(&manifest, &config, Dialect::Oci).unwrap(),
        manifest
    );
}

#[test]
fn what_would_lose_its_meaning_is_refused() {
    let (manifest, config) = image(Dialect::Oci);
    let encrypted = |manifest: &mut Manifest| {
        if let MediaType::Layer(kind) = &mut manifest.layers[2].media_type {
            kind.encrypted = true;
        }
    };
    let subject = |manifest: &mut Manifest| manifest.subject = Some(Descriptor::of(MediaType::Empty, b"{}"));
    let artifact = |manifest: &mut Manifest| manifest.artifact_type = Some("a/b".to_owned());
    let not_image = |manifest: &mut Manifest| manifest.config.media_type = MediaType::Empty;
    let not_layer = |manifest: &mut Manifest| manifest.layers[3].media_type = "text/plain".parse().unwrap();
    let fewer = |manifest: &mut Manifest| drop(manifest.layers.pop());
    let other_config = |manifest: &mut Manifest| manifest.config.digest = Digest::sha256(b"other");
    type Row<'a> = (&'a dyn Fn(&mut Manifest), &'a str, &'a str);
    let rows: [Row<'_>; 7] = [
        (
            &encrypted,
            "layers[2].mediaType",
            "not supported at `layers[2].mediaType`: encrypted layer in Docker's dialect",
        ),
        (
            &subject,
            "subject",
            "not supported at `subject`: `subject` in Docker's dialect",
        ),
        (
            &artifact,
            "artifactType",
            "not supported at `artifactType`: `artifactType` in Docker's dialect",
        ),
        (
            &not_image,
            "config.mediaType",
            "not supported at `config.mediaType`: conversion of an artifact, config `application/vnd.oci.empty.v1+json`",
        ),
        (
            &not_layer,
            "layers[3].mediaType",
            "not a layer at `layers[3].mediaType`: `text/plain`",
        ),
        (
            &fewer,
            "rootfs.diff_ids",
            "number of diff ids is not the number of layers, 5, at `rootfs.diff_ids`: `6`",
        ),
        (
            &other_config,
            "config",
            "digest is not sha256:d9298a10d1b0 as announced at `config`",
        ),
    ];
    for (change, path, message) in rows {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        let error = convert::manifest(&manifest, &config, Dialect::Docker).unwrap_err();
        assert_eq!(error.path(), path);
        assert!(error.to_string().starts_with(message), "{error}");
    }
    let mut kept = manifest;
    encrypted(&mut kept);
    subject(&mut kept);
    assert_eq!(convert::manifest(&kept, &config, Dialect::Oci).unwrap(), kept);
    assert_eq!(
        *convert::manifest(&kept, b"{}", Dialect::Oci).unwrap_err().kind(),
        ErrorKind::Mismatch
    );
}
