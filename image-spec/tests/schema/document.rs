// SPDX-License-Identifier: Apache-2.0
//! Manifests and indexes.

use image_spec::{Document, Error, ErrorKind};

use crate::{accepted, fill, refused};

fn document(text: &str) -> Result<(), Error> {
    Document::parse(fill(text).as_bytes(), None).map(drop)
}

#[test]
fn manifests_outside_the_schema_are_refused() {
    use ErrorKind::{Missing, Syntax, Type, Value};
    refused(
        document,
        &[
            (
                r##"{"schemaVersion":2,"config":{"mediaType":7,"size":1,"digest":"#"},"layers":[]}"##,
                Type,
                "config.mediaType",
            ),
            (
                r##"{"schemaVersion":2,"config":{"mediaType":"a/b","size":"1","digest":"#"},"layers":[]}"##,
                Type,
                "config.size",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[$,{"mediaType":"a/b","size":1}]}"#,
                Missing,
                "layers[1].digest",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[$,$,{"mediaType":"a/b","size":1,"digest":"sha256:x"}]}"#,
                Syntax,
                "layers[2].digest",
            ),
            (r#"{"schemaVersion":2,"layers":[$]}"#, Missing, "config"),
            (
                r#"{"schemaVersion":2,"config":null,"layers":[$]}"#,
                Missing,
                "config",
            ),
            (r#"{"schemaVersion":2,"config":$}"#, Missing, "layers"),
            (
                r#"{"schemaVersion":2,"config":$,"layers":null}"#,
                Missing,
                "layers",
            ),
            (r#"{"schemaVersion":2,"manifests":null}"#, Missing, "manifests"),
            (r#"{"schemaVersion":2,"config":$,"layers":$}"#, Type, "layers"),
            (
                r#"{"schemaVersion":2,"config":$,"layers":["a"]}"#,
                Type,
                "layers[0]",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[null]}"#,
                Type,
                "layers[0]",
            ),
            (r#"{"schemaVersion":2,"config":[$],"layers":[$]}"#, Type, "config"),
            (r#"{"config":$,"layers":[$]}"#, Missing, "schemaVersion"),
            (
                r#"{"schemaVersion":"2","config":$,"layers":[$]}"#,
                Type,
                "schemaVersion",
            ),
            (
                r#"{"schemaVersion":2.0,"config":$,"layers":[$]}"#,
                Value,
                "schemaVersion",
            ),
            (
                r#"{"schemaVersion":-2,"config":$,"layers":[$]}"#,
                Value,
                "schemaVersion",
            ),
            (
                r#"{"schemaVersion":3,"config":$,"layers":[$]}"#,
                ErrorKind::Unsupported("schema version 3".into()),
                "schemaVersion",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":7,"config":$,"layers":[$]}"#,
                Type,
                "mediaType",
            ),
            (
                r#"{"schemaVersion":2,"mediaType":"x","config":$,"layers":[$]}"#,
                Syntax,
                "mediaType",
            ),
            (
                r#"{"schemaVersion":2,"artifactType":"foo/.bar","config":$,"layers":[$]}"#,
                Syntax,
                "artifactType",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[$],"subject":".nope"}"#,
                Type,
                "subject",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[$],"subject":{"mediaType":"a/b","size":1}}"#,
                Missing,
                "subject.digest",
            ),
            (
                r#"{"schemaVersion":2,"config":$,"layers":[$],"annotations":{"key":123}}"#,
                Type,
                "annotations.key",
            ),
            (r#"{"schemaVersion":2}"#, Missing, ""),
            ("{}", Missing, "schemaVersion"),
            ("[]", Type, ""),
            ("7", Type, ""),
        ],
    );
}

#[test]
fn manifests_inside_the_schema_are_accepted() {
    accepted(
        document,
        &[
            r#"{"schemaVersion":2,"config":$,"layers":[$]}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[$,$,$]}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":$,"layers":[$]}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[$],"annotations":{"key1":"value1","key2":"value2"}}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[$],"annotations":null}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[$],"subject":$,"artifactType":"application/x"}"#,
            r#"{"schemaVersion":2,"config":$,"layers":[$],"org.example.custom":[1,{"a":null}]}"#,
            r##"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
                "config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1,"digest":"#"},
                "layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,"digest":"#",
                "urls":["https://example.com/layer"]}]}"##,
            r#"{"schemaVersion":2,"artifactType":"application/vnd.example+type","config":{"mediaType":
                "application/vnd.oci.empty.v1+json","size":2,"data":"e30=",
                "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[$]}"#,
        ],
    );
}

#[test]
fn indexes_outside_the_schema_are_refused() {
    use ErrorKind::{Missing, Syntax, Type};
    refused(
        document,
        &[
            (
                r##"{"schemaVersion":2,"manifests":[{"mediaType":"a","size":1,"digest":"#"}]}"##,
                Syntax,
                "manifests[0].mediaType",
            ),
            (
                r##"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":"1","digest":"#"}]}"##,
                Type,
                "manifests[0].size",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[$,{"mediaType":"a/b","size":1}]}"#,
                Missing,
                "manifests[1].digest",
            ),
            (
                r##"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":1,"digest":"#","platform":{"architecture":"ppc64le"}}]}"##,
                Missing,
                "manifests[0].platform.os",
            ),
            (r#"{"schemaVersion":2,"manifests":{}}"#, Type, "manifests"),
            (
                r#"{"schemaVersion":2,"manifests":[$],"annotations":[]}"#,
                Type,
                "annotations",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[$],"artifactType":"x"}"#,
                Syntax,
                "artifactType",
            ),
            (
                r#"{"schemaVersion":2,"manifests":[$],"subject":7}"#,
                Type,
                "subject",
            ),
            (r#"{"manifests":[$]}"#, Missing, "schemaVersion"),
            ("invalid JSON", Syntax, ""),
        ],
    );
}

#[test]
fn indexes_inside_the_schema_are_accepted() {
    accepted(
        document,
        &[
            r#"{"schemaVersion":2,"manifests":[]}"#,
            r#"{"schemaVersion":2,"manifests":[$]}"#,
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[$],
                "subject":$,"artifactType":"application/x","annotations":{"com.example.key1":"value1"}}"#,
            r##"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,
                "digest":"#","platform":{"architecture":"ppc64le","os":"linux"}},{"mediaType":"application/xml",
                "size":1,"digest":"#","annotations":{"org.freedesktop.specifications.metainfo.version":"1.0"}}]}"##,
            r##"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[
                {"mediaType":"application/vnd.docker.distribution.manifest.v2+json","size":1,"digest":"#",
                "platform":{"architecture":"amd64","os":"linux","features":["sse4"]}}]}"##,
        ],
    );
}
