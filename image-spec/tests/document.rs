// SPDX-License-Identifier: Apache-2.0
//! Documents that two readers could understand differently, documents that ask for too much, and
//! documents that say more than the specifications know.

use image_spec::{
    Descriptor, Dialect, Document, Error, ErrorKind, ImageConfig, MAX_ANNOTATIONS, MAX_LAYERS, MAX_MANIFEST,
    MAX_MANIFESTS, MAX_URLS, Manifest, MediaType,
};

const D: &str = "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";

fn entry(more: &str) -> String {
    format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":5,"digest":"{D}"{more}}}"#)
}

/// `$` stands for a good descriptor.
fn parse(text: &str) -> Result<Document, Error> {
    Document::parse(text.replace('$', &entry("")).as_bytes(), None)
}

fn parse_as(text: &str, content_type: &str) -> Result<Document, Error> {
    Document::parse(
        text.replace('$', &entry("")).as_bytes(),
        Some(&content_type.parse().unwrap()),
    )
}

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

#[test]
fn what_readers_disagree_on_is_refused() {
    let rows = [
        (
            r#"{"schemaVersion":2,"config":$,"layers":[],"layers":[$]}"#,
            "layers",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[],"layer\u0073":[$]}"#,
            "layers",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[],"x":{"y":[0,{"z":1,"z":1}]}}"#,
            "x.y[1].z",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[],"annotations":{"a":"1","a":"2"}}"#,
            "annotations.a",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"Layers":[]}"#,
            "Layers",
        ),
        (r#"{"schemaVersion":2,"config":$,"LAYERS":[$]}"#, "LAYERS"),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"layerſ":[]}"#,
            "layerſ",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"MediaType":"a/b"}"#,
            "MediaType",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"Manifests":[]}"#,
            "Manifests",
        ),
        (r#"{"schemaVersion":2,"manifests":[],"Config":$}"#, "Config"),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[{"Digest":"x"}]}"#,
            "layers[0].Digest",
        ),
        (
            r#"{"schemaVersion":2,"config":{"MEDIATYPE":"x"},"layers":[]}"#,
            "config.MEDIATYPE",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"manifests":[$]}"#,
            "manifests",
        ),
        (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, "manifests"),
        (r#"{"schemaVersion":2,"config":null,"manifests":[]}"#, "manifests"),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"manifests":null}"#,
            "manifests",
        ),
        (
            r#"{"schemaVersion":2,"config":$,"layers":[$],"fsLayers":[]}"#,
            "fsLayers",
        ),
    ];
    for (text, path) in rows {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (error.kind(), error.path()),
            (&ErrorKind::Ambiguous, path),
            "{text}: {error}"
        );
    }
    let nested = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        entry(r#","platform":{"OS":"linux","os":"linux","architecture":"amd64"}"#)
    );
    assert_eq!(parse(&nested).unwrap_err().path(), "manifests[0].platform.OS");
}

#[test]
fn a_config_is_held_to_the_same() {
    let rows = [
        r#"{"os":"linux","OS":"windows","architecture":"a","rootfs":{"type":"layers"}}"#,
        r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers","Diff_IDs":[]}}"#,
        r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"user":"0"}}"#,
        r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"User":"1","User":"0"}}"#,
        r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"WorKingDir":"/"}}"#,
        r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":[{"Empty_Layer":true}]}"#,
    ];
    for text in rows {
        let text = text.replace('K', "\u{212a}");
        assert_eq!(
            *ImageConfig::parse(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::Ambiguous,
            "{text}"
        );
    }
}

#[test]
fn the_name_given_outside_must_be_the_name_inside() {
    let manifest =
        |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":$,"layers":[$]}}"#);
    let index = |kind: &str| format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[$]}}"#);
    let silent_manifest = r#"{"schemaVersion":2,"config":$,"layers":[$]}"#;
    let silent_index = r#"{"schemaVersion":2,"manifests":[$]}"#;
    for kind in [OCI_MANIFEST, DOCKER_MANIFEST] {
        assert!(matches!(
            parse_as(&manifest(kind), kind),
            Ok(Document::Manifest(_))
        ));
        assert!(matches!(
            parse_as(silent_manifest, kind),
            Ok(Document::Manifest(_))
        ));
    }
    for kind in [OCI_INDEX, DOCKER_LIST] {
        assert!(matches!(parse_as(&index(kind), kind), Ok(Document::Index(_))));
        assert!(matches!(parse_as(silent_index, kind), Ok(Document::Index(_))));
    }
    let rows = [
        (manifest(OCI_MANIFEST), DOCKER_MANIFEST),
        (manifest(OCI_MANIFEST), OCI_INDEX),
        (manifest(OCI_MANIFEST), "application/json"),
        (manifest(OCI_INDEX), OCI_INDEX),
        (
            manifest("application/vnd.oci.image.config.v1+json"),
            "application/vnd.oci.image.config.v1+json",
        ),
        (index(OCI_INDEX), DOCKER_LIST),
        (index(OCI_MANIFEST), OCI_MANIFEST),
        (silent_manifest.to_owned(), OCI_INDEX),
        (silent_index.to_owned(), OCI_MANIFEST),
        (silent_index.to_owned(), "text/html"),
    ];
    for (text, content_type) in rows {
        let error = parse_as(&text, content_type).expect_err(&text);
        assert_eq!(
            *error.kind(),
            ErrorKind::Mismatch,
            "{text} as {content_type}: {error}"
        );
    }
    for text in [
        manifest(OCI_INDEX),
        manifest("a/b"),
        index(DOCKER_MANIFEST),
        index("a/b"),
    ] {
        assert_eq!(*parse(&text).unwrap_err().kind(), ErrorKind::Mismatch, "{text}");
    }
    let empty = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}"}}"#);
    assert_eq!(
        parse(&empty).unwrap_err().to_string(),
        "missing field at `manifests`"
    );
}

#[test]
fn retired_formats_are_refused_by_name() {
    let docker = ErrorKind::Unsupported("Docker schema 1 manifest".into());
    let old = r#"{"schemaVersion":1,"name":"a","tag":"b","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}"#;
    assert_eq!(*parse(old).unwrap_err().kind(), docker);
    for name in ["v1+json", "v1+prettyjws"] {
        let kind = format!("application/vnd.docker.distribution.manifest.{name}");
        assert_eq!(*parse_as(old, &kind).unwrap_err().kind(), docker);
    }
    let artifact =
        r#"{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b","blobs":[]}"#;
    assert!(
        matches!(parse(artifact).unwrap_err().kind(), ErrorKind::Unsupported(name) if name.contains("artifact"))
    );
}

#[test]
fn embedded_data_is_what_the_descriptor_says() {
    // The two bytes `{}`.
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let config = |digest: &str, size: u64, data: &str| {
        let config = format!(r#"{{"mediaType":"a/b","size":{size},"digest":"{digest}","data":"{data}"}}"#);
        parse(&format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#))
    };
    let Ok(Document::Manifest(manifest)) = config(digest, 2, "e30=") else {
        panic!("good data refused")
    };
    assert_eq!(manifest.config.data.as_deref(), Some(&b"{}"[..]));
    assert!(
        String::from_utf8(manifest.to_vec())
            .unwrap()
            .contains(r#""data":"e30=""#)
    );

    let rows = [
        (digest, 3, "e30=", ErrorKind::Mismatch),
        (digest, 1, "e30=", ErrorKind::Mismatch),
        (D, 2, "e30=", ErrorKind::Mismatch),
        (digest, 2, "e31=", ErrorKind::Syntax),
        (digest, 2, "e30", ErrorKind::Syntax),
        (digest, 2, "e3 0=", ErrorKind::Syntax),
        (digest, 2, "", ErrorKind::Mismatch),
    ];
    for (digest, size, data, kind) in rows {
        let error = config(digest, size, data).unwrap_err();
        assert_eq!(
            (error.kind(), error.path()),
            (&kind, "config.data"),
            "{size} {data}: {error}"
        );
    }
    let descriptor = Descriptor::of(MediaType::Empty, b"{}");
    assert!(descriptor.check(b"{}").is_ok());
    assert_eq!(
        descriptor.check(b"{ }").unwrap_err().to_string(),
        "size is not the 2 bytes announced: `3`"
    );
    assert_eq!(*descriptor.check(b"[]").unwrap_err().kind(), ErrorKind::Mismatch);
}

#[test]
fn every_list_has_an_end() {
    let many = |count: usize| vec![entry(""); count].join(",");
    let manifest = |count| {
        parse(&format!(
            r#"{{"schemaVersion":2,"config":$,"layers":[{}]}}"#,
            many(count)
        ))
    };
    assert!(manifest(MAX_LAYERS).is_ok());
    assert_eq!(manifest(MAX_LAYERS + 1).unwrap_err().path(), "layers");

    let index = |count| parse(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, many(count)));
    assert!(index(MAX_MANIFESTS).is_ok());
    assert_eq!(*index(MAX_MANIFESTS + 1).unwrap_err().kind(), ErrorKind::Limit);

    let one = |more: String| Descriptor::parse(entry(&more).as_bytes());
    let notes = |count: usize| {
        let pairs: Vec<String> = (0..count).map(|n| format!(r#""{n}":"""#)).collect();
        one(format!(r#","annotations":{{{}}}"#, pairs.join(",")))
    };
    assert!(notes(MAX_ANNOTATIONS).is_ok());
    assert_eq!(notes(MAX_ANNOTATIONS + 1).unwrap_err().path(), "annotations");

    let urls = |count: usize| one(format!(r#","urls":[{}]"#, vec![r#""a:b""#; count].join(",")));
    assert!(urls(MAX_URLS).is_ok());
    assert_eq!(urls(MAX_URLS + 1).unwrap_err().path(), "urls");

    let padded = |length: usize| {
        let text = r#"{"schemaVersion":2,"manifests":[]}"#;
        parse(&format!("{text}{}", " ".repeat(length - text.len())))
    };
    assert!(padded(MAX_MANIFEST as usize).is_ok());
    assert_eq!(
        *padded(MAX_MANIFEST as usize + 1).unwrap_err().kind(),
        ErrorKind::Limit
    );
}

#[test]
fn a_config_has_as_many_diff_ids_as_layers_are_allowed() {
    let config = |count: usize| {
        let ids = vec![format!("\"{D}\""); count].join(",");
        let text =
            format!(r#"{{"os":"linux","architecture":"a","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#);
        ImageConfig::parse(text.as_bytes())
    };
    let full = config(MAX_LAYERS).unwrap();
    assert_eq!(config(MAX_LAYERS + 1).unwrap_err().path(), "rootfs.diff_ids");

    let layer: Descriptor = Descriptor::of(MediaType::Empty, b"{}");
    let manifest = Manifest::new(Dialect::Oci, layer.clone(), vec![layer; 2]);
    assert!(manifest.check_config(&config(2).unwrap()).is_ok());
    for count in [0, 1, 3] {
        assert_eq!(
            *manifest.check_config(&config(count).unwrap()).unwrap_err().kind(),
            ErrorKind::Mismatch
        );
    }
    assert_eq!(
        manifest.check_config(&full).unwrap_err().to_string(),
        "number of diff ids is not the number of layers, 2, at `rootfs.diff_ids`: `500`"
    );
}

#[test]
fn unknown_fields_come_back_at_every_level() {
    let layer = entry(r#","x-layer":{"deep":[1,2.5,null,"é"]},"annotations":{"k":"v"}"#);
    let platform =
        r#","platform":{"architecture":"amd64","os":"linux","os.version":"1","features":["sse4"]}"#;
    let texts = [
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{layer},"layers":[{layer}],"subject":{layer},"artifactType":"a/b","annotations":{{"a":"b"}},"x-top":true}}"#
        ),
        format!(r#"{{"schemaVersion":2,"config":{layer},"layers":[]}}"#),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}],"x-top":-1}}"#,
            entry(platform)
        ),
    ];
    for text in texts {
        let (written, again) = match parse(&text).unwrap() {
            Document::Manifest(manifest) => (manifest.to_vec(), Document::Manifest(manifest)),
            Document::Index(index) => (index.to_vec(), Document::Index(index)),
        };
        let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        assert_eq!(value(&written), value(text.as_bytes()));
        assert_eq!(Document::parse(&written, None).unwrap(), again);
    }
}

#[test]
fn a_manifest_without_a_name_is_in_the_dialect_of_its_config() {
    let with = |config: &str| {
        let config = entry("").replace("application/vnd.oci.image.layer.v1.tar", config);
        match parse(&format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#)) {
            Ok(Document::Manifest(manifest)) => manifest.dialect(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        with("application/vnd.docker.container.image.v1+json"),
        Dialect::Docker
    );
    assert_eq!(with("application/vnd.oci.image.config.v1+json"), Dialect::Oci);
    assert_eq!(with("application/x-other"), Dialect::Oci);
}

#[test]
fn an_error_repeats_hostile_text_short_and_escaped() {
    let text = format!(
        r#"{{"schemaVersion":2,"config":$,"layers":[$],"subject":{{"mediaType":"\u001b[31m{}"}}}}"#,
        "x".repeat(9999)
    );
    let error = parse(&text).unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.starts_with(r"malformed media type at `subject.mediaType`: `\u{1b}[31mxxx"),
        "{shown}"
    );
    assert!(shown.len() < 300 && !shown.contains('\u{1b}'), "{shown}");

    let key = format!(r#"{{"{}":1,"{0}":2}}"#, "\\n".repeat(9999));
    assert!(parse(&key).unwrap_err().to_string().len() < 600);
}
