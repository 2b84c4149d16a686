// SPDX-License-Identifier: Apache-2.0
//! Media types and their texts.

use image_spec::{Compression, Dialect, ErrorKind, LayerType, MediaType};

fn layer(dialect: Dialect, compression: Compression, encrypted: bool, foreign: bool) -> MediaType {
    MediaType::Layer(LayerType {
        dialect,
        compression,
        encrypted,
        foreign,
    })
}

#[test]
fn every_registered_text_is_known_and_written_back() {
    use Compression::{Gzip, None, Zstd};
    use Dialect::{Docker, Oci};
    let rows = [
        (
            "application/vnd.oci.image.manifest.v1+json",
            MediaType::Manifest(Oci),
        ),
        ("application/vnd.oci.image.index.v1+json", MediaType::Index(Oci)),
        ("application/vnd.oci.image.config.v1+json", MediaType::Config(Oci)),
        ("application/vnd.oci.empty.v1+json", MediaType::Empty),
        ("application/vnd.oci.descriptor.v1+json", MediaType::Descriptor),
        (
            "application/vnd.oci.layout.header.v1+json",
            MediaType::LayoutHeader,
        ),
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            MediaType::Manifest(Docker),
        ),
        (
            "application/vnd.docker.distribution.manifest.list.v2+json",
            MediaType::Index(Docker),
        ),
        (
            "application/vnd.docker.container.image.v1+json",
            MediaType::Config(Docker),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar",
            layer(Oci, None, false, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip",
            layer(Oci, Gzip, false, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd",
            layer(Oci, Zstd, false, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+encrypted",
            layer(Oci, None, true, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            layer(Oci, Gzip, true, false),
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+zstd+encrypted",
            layer(Oci, Zstd, true, false),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar",
            layer(Oci, None, false, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            layer(Oci, Gzip, false, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            layer(Oci, Zstd, false, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+encrypted",
            layer(Oci, None, true, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip+encrypted",
            layer(Oci, Gzip, true, true),
        ),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd+encrypted",
            layer(Oci, Zstd, true, true),
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar",
            layer(Docker, None, false, false),
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            layer(Docker, Gzip, false, false),
        ),
        (
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
            layer(Docker, Zstd, false, false),
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar",
            layer(Docker, None, false, true),
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            layer(Docker, Gzip, false, true),
        ),
    ];
    for (text, known) in rows {
        assert_eq!(text.parse::<MediaType>().unwrap(), known, "{text}");
        assert_eq!(known.to_string(), text);
        assert_eq!(serde_json::to_string(&known).unwrap(), format!("\"{text}\""));
    }
}

#[test]
fn every_layer_type_has_a_text_of_its_own() {
    let mut texts = std::collections::BTreeSet::new();
    for dialect in [Dialect::Oci, Dialect::Docker] {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            for (encrypted, foreign) in [(false, false), (false, true), (true, false), (true, true)] {
                let layer = layer(dialect, compression, encrypted, foreign);
                let text = layer.to_string();
                assert_eq!(text.parse::<MediaType>().unwrap(), layer, "{text}");
                texts.insert(text);
            }
        }
    }
    assert_eq!(texts.len(), 24);
}

#[test]
fn near_layers_are_other_types() {
    for text in [
        "application/vnd.oci.image.layer.v1.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+zstd",
        "application/vnd.oci.image.layer.v1.tar+encrypted+gzip",
        "application/vnd.oci.image.layer.v1.tar+encrypted+encrypted",
        "application/vnd.oci.image.layer.v1.tarball",
        "application/vnd.docker.image.rootfs.diff.tar+gzip",
        "application/vnd.oci.image.manifest.v2+json",
        "application/vnd.in-toto+json",
        "application/octet-stream",
        "text/plain",
    ] {
        assert_eq!(text.parse::<MediaType>().unwrap(), MediaType::Other(text.into()));
        assert_eq!(text.parse::<MediaType>().unwrap().to_string(), text);
    }
}

#[test]
fn malformed_text_is_refused() {
    let long = format!("{}/x", "t".repeat(128));
    let rows = [
        "",
        "/",
        "application",
        "application/",
        "/json",
        "a/b/c",
        ".foo/bar",
        "foo/.bar",
        "foo/b ar",
        "foo/bar ",
        " foo/bar",
        "foo/bar;charset=utf-8",
        "foo/bär",
        "foo/bar\n",
        "foo/bar\0",
        "foo/b*",
        &long,
    ];
    for text in rows {
        assert_eq!(
            *text.parse::<MediaType>().unwrap_err().kind(),
            ErrorKind::Syntax,
            "{text}"
        );
    }
    assert!(
        format!("{}/{}", "t".repeat(127), "s".repeat(127))
            .parse::<MediaType>()
            .is_ok()
    );
}

#[test]
fn a_known_type_in_another_case_is_ambiguous() {
    for text in [
        "application/vnd.oci.image.Manifest.v1+json",
        "Application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+ENCRYPTED",
    ] {
        assert_eq!(
            *text.parse::<MediaType>().unwrap_err().kind(),
            ErrorKind::Ambiguous,
            "{text}"
        );
    }
    assert!("application/X-Mine".parse::<MediaType>().is_ok());
}

#[test]
fn a_header_may_have_parameters_and_capitals() {
    let index = MediaType::Index(Dialect::Oci);
    for text in [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.index.v1+json; charset=utf-8",
        "application/vnd.oci.image.index.v1+json\t;charset=utf-8;q=1",
        "Application/VND.oci.image.index.v1+JSON",
    ] {
        assert_eq!(MediaType::from_content_type(text).unwrap(), index, "{text}");
    }
    for text in ["", ";", "json; a=b", "application/json, text/plain"] {
        assert_eq!(
            *MediaType::from_content_type(text).unwrap_err().kind(),
            ErrorKind::Syntax,
            "{text}"
        );
    }
}

#[test]
fn each_type_knows_its_family() {
    assert_eq!(
        MediaType::Manifest(Dialect::Docker).dialect(),
        Some(Dialect::Docker)
    );
    assert_eq!(
        layer(Dialect::Docker, Compression::None, false, false).dialect(),
        Some(Dialect::Docker)
    );
    assert_eq!(MediaType::Empty.dialect(), Some(Dialect::Oci));
    assert_eq!(MediaType::Other("a/b".into()).dialect(), None);
    assert!(MediaType::Index(Dialect::Oci).is_document());
    assert!(!MediaType::Config(Dialect::Oci).is_document());
}
