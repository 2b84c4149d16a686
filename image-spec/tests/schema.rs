// SPDX-License-Identifier: Apache-2.0
//! Documents of the shapes that the image-spec's own schema tests use: what must be refused, with
//! the place of the fault, and what must be accepted.

use image_spec::{Descriptor, Document, Error, ErrorKind, ImageConfig, Layout};

const D: &str = "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";
const HEX: &str = "5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// `$` stands for a good descriptor, `#` for a good digest.
fn fill(text: &str) -> String {
    let good = format!(r#"{{"mediaType":"{LAYER}","size":7682,"digest":"{D}"}}"#);
    text.replace('$', &good).replace('#', D)
}

fn document(text: &str) -> Result<(), Error> {
    Document::parse(fill(text).as_bytes(), None).map(drop)
}

fn descriptor(text: &str) -> Result<(), Error> {
    Descriptor::parse(fill(text).as_bytes()).map(drop)
}

fn config(text: &str) -> Result<(), Error> {
    ImageConfig::parse(fill(text).as_bytes()).map(drop)
}

fn layout(text: &str) -> Result<(), Error> {
    Layout::parse(text.as_bytes()).map(drop)
}

fn refused(check: fn(&str) -> Result<(), Error>, rows: &[(&str, ErrorKind, &str)]) {
    for (text, kind, path) in rows {
        let error = check(text).expect_err(text);
        assert_eq!((error.kind(), error.path()), (kind, *path), "{text}: {error}");
    }
}

fn accepted(check: fn(&str) -> Result<(), Error>, rows: &[&str]) {
    for text in rows {
        check(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn descriptors_outside_the_schema_are_refused() {
    use ErrorKind::{Missing, Syntax, Type, Value};
    let long = "t".repeat(128);
    let with_type = |kind: &str| format!(r##"{{"mediaType":"{kind}","size":1,"digest":"#"}}"##);
    let with_digest = |digest: &str| format!(r#"{{"mediaType":"{MANIFEST}","size":1,"digest":"{digest}"}}"#);
    let with_size = |size: &str| format!(r##"{{"mediaType":"{MANIFEST}","size":{size},"digest":"#"}}"##);
    let with = |more: &str| format!(r##"{{"mediaType":"{MANIFEST}","size":1,"digest":"#",{more}}}"##);
    let rows: Vec<(String, ErrorKind, &str)> = vec![
        (r##"{"size":1,"digest":"#"}"##.into(), Missing, "mediaType"),
        (
            r##"{"mediaType":null,"size":1,"digest":"#"}"##.into(),
            Missing,
            "mediaType",
        ),
        (with_type("application"), Syntax, "mediaType"),
        (with_type(".foo/bar"), Syntax, "mediaType"),
        (with_type("foo/.bar"), Syntax, "mediaType"),
        (with_type(&format!("{long}/bar")), Syntax, "mediaType"),
        (with_type(&format!("foo/{long}")), Syntax, "mediaType"),
        (
            format!(r##"{{"mediaType":"{MANIFEST}","digest":"#"}}"##),
            Missing,
            "size",
        ),
        (with_size(r#""7682""#), Type, "size"),
        (with_size("-7682"), Value, "size"),
        (with_size("-0"), Value, "size"),
        (with_size("1.0"), Value, "size"),
        (with_size("1e3"), Value, "size"),
        (with_size("9223372036854775808"), Value, "size"),
        (with_size("18446744073709551616"), Value, "size"),
        (with_size("true"), Type, "size"),
        (with_size("[1]"), Type, "size"),
        (
            format!(r#"{{"mediaType":"{MANIFEST}","size":1}}"#),
            Missing,
            "digest",
        ),
        (with_digest(&format!(":{HEX}")), Syntax, "digest"),
        (with_digest("sha256"), Syntax, "digest"),
        (with_digest(&format!("SHA256:{HEX}")), Syntax, "digest"),
        (
            with_digest(&D.to_uppercase().replace("SHA", "sha")),
            Syntax,
            "digest",
        ),
        (with_digest(&format!("sha256+foo+-b:{HEX}")), Syntax, "digest"),
        (with_digest("sha256:../../etc/passwd"), Syntax, "digest"),
        (with(r#""urls":["value"]"#), Syntax, "urls[0]"),
        (with(r#""urls":["https://a/b","https://a b"]"#), Syntax, "urls[1]"),
        (with(r#""urls":[7]"#), Type, "urls[0]"),
        (with(r#""urls":"https://a/b""#), Type, "urls"),
        (with(r#""artifactType":"foo/.bar""#), Syntax, "artifactType"),
        (with(r#""annotations":{"a":1}"#), Type, "annotations.a"),
        (with(r#""annotations":{"a":null}"#), Type, "annotations.a"),
        (with(r#""annotations":["a"]"#), Type, "annotations"),
        (with(r#""platform":"linux/amd64""#), Type, "platform"),
        (
            with(r#""platform":{"os":"linux"}"#),
            Missing,
            "platform.architecture",
        ),
        (
            with(r#""platform":{"architecture":"amd64"}"#),
            Missing,
            "platform.os",
        ),
        (
            with(r#""platform":{"os":"linux","architecture":"a","os.features":["x",1]}"#),
            Type,
            "platform.os.features[1]",
        ),
        (with(r#""data":"aGk""#), Syntax, "data"),
        (with(r#""data":7"#), Type, "data"),
        ("[]".into(), Type, ""),
        ("null".into(), Type, ""),
    ];
    for (text, kind, path) in &rows {
        refused(descriptor, &[(text, kind.clone(), path)]);
    }
}

#[test]
fn descriptors_inside_the_schema_are_accepted() {
    let long = format!("{0}/{0}", "1".repeat(127));
    accepted(
        descriptor,
        &[
            "$",
            r#"{"mediaType":"application/octet-stream","size":0,
                "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}"#,
            &format!(r##"{{"mediaType":"{long}","size":1,"digest":"#"}}"##),
            r##"{"mediaType":"a/b","size":9223372036854775807,"digest":"#"}"##,
            r##"{"mediaType":"a/b","size":1,"digest":"#","urls":["https://example.com/foo","ftp://x/y?z=1"]}"##,
            r##"{"mediaType":"a/b","size":1,"digest":"#","urls":[]}"##,
            r##"{"mediaType":"a/b","size":1,"digest":"#","artifactType":"application/x"}"##,
            r##"{"mediaType":"a/b","size":1,"digest":"#","annotations":{"":"","a":"b"}}"##,
            r#"{"mediaType":"text/plain","size":34,"data":"aHR0cHM6Ly9naXRodWIuY29tL29wZW5jb250YWluZXJzCg==",
                "digest":"sha256:2690af59371e9eca9453dc29882643f46e5ca47ec2862bd517b5e17351325153"}"#,
            r##"{"mediaType":"a/b","size":1,"digest":"#","unknown":{"deep":[1,2.5,null,true]}}"##,
            r##"{"mediaType":"a/b","size":1,"digest":"#","platform":{"os":"windows","architecture":"amd64",
                "os.version":"10.0.14393.1066","os.features":["win32k"],"variant":"v2","features":["sse4"]}}"##,
        ],
    );
    // The schema lets any algorithm pass; here what cannot be checked is refused, by name.
    for algorithm in [
        "sha256+b64",
        "sha256+foo-bar",
        "sha256.foo-bar",
        "multihash+base58",
        "sha256+b64u",
    ] {
        let text = format!(r#"{{"mediaType":"a/b","size":1470,"digest":"{algorithm}:{HEX}"}}"#);
        let unsupported = ErrorKind::Unsupported(format!("digest algorithm `{algorithm}`"));
        refused(descriptor, &[(&text, unsupported, "digest")]);
    }
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

#[test]
fn configs_outside_the_schema_are_refused() {
    use ErrorKind::{Missing, Syntax, Type, Value};
    refused(
        config,
        &[
            (
                r##"{"architecture":"amd64","os":123,"rootfs":{"type":"layers","diff_ids":["#"]}}"##,
                Type,
                "os",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"User":1234}}"#,
                Type,
                "config.User",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":"text"}"#,
                Type,
                "history",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":["text"]}"#,
                Type,
                "history[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Env":[7353]}}"#,
                Type,
                "config.Env[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Volumes":["/a"]}}"#,
                Type,
                "config.Volumes",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Volumes":{"/a":1}}}"#,
                Type,
                "config.Volumes./a",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Cmd":"sh"}}"#,
                Type,
                "config.Cmd",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Entrypoint":"sh"}}"#,
                Type,
                "config.Entrypoint",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Labels":{"a":1}}}"#,
                Type,
                "config.Labels.a",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"ArgsEscaped":"yes"}}"#,
                Type,
                "config.ArgsEscaped",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":[]}"#,
                Type,
                "config",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"config":{"Env":["A=b\u0000c"]}}"#,
                Value,
                "config.Env[0]",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"created":"yesterday"}"#,
                Syntax,
                "created",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":[{},{"created":1}]}"#,
                Type,
                "history[1].created",
            ),
            (
                r#"{"os":"linux","architecture":"a","rootfs":{"type":"layers"},"history":[{"empty_layer":"no"}]}"#,
                Type,
                "history[0].empty_layer",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"diff_ids":["#"]}}"##,
                Missing,
                "rootfs.type",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers+base","diff_ids":["#"]}}"##,
                Value,
                "rootfs.type",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers","diff_ids":["#","sha256:1"]}}"##,
                Syntax,
                "rootfs.diff_ids[1]",
            ),
            (
                r##"{"os":"linux","architecture":"a","rootfs":{"type":"layers","diff_ids":"#"}}"##,
                Type,
                "rootfs.diff_ids",
            ),
            (r#"{"os":"linux","architecture":"a"}"#, Missing, "rootfs"),
            (
                r#"{"os":"linux","rootfs":{"type":"layers"}}"#,
                Missing,
                "architecture",
            ),
            (
                r#"{"architecture":"amd64","rootfs":{"type":"layers"}}"#,
                Missing,
                "os",
            ),
            (
                r#"{"os":"","architecture":"amd64","rootfs":{"type":"layers"}}"#,
                Value,
                "os",
            ),
            (
                r#"{"os":"linux","architecture":"","rootfs":{"type":"layers"}}"#,
                Value,
                "architecture",
            ),
            ("invalid JSON", Syntax, ""),
            ("[]", Type, ""),
        ],
    );
}

#[test]
fn configs_inside_the_schema_are_accepted() {
    accepted(
        config,
        &[
            r##"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["#"]}}"##,
            r##"{"created":"2015-10-31T22:22:56.015925234Z","author":"Someone <someone@example.com>","architecture":
                "amd64","os":"linux","config":{"User":"1:1","ExposedPorts":{"8080/tcp":{}},"Env":["PATH=/bin","A=b"],
                "Entrypoint":["/bin/sh"],"Cmd":["-c","true"],"Volumes":{"/var/data":{},"/var/log":{}},"WorkingDir":
                "/home/a","Labels":{"a":"b"},"StopSignal":"SIGINT"},"rootfs":{"diff_ids":["#","#"],"type":"layers"},
                "history":[{"created":"2015-10-31T22:22:54Z","created_by":"ADD"},{"created_by":"CMD","empty_layer":true}]}"##,
        ],
    );
}

#[test]
fn layouts_say_one_version() {
    accepted(
        layout,
        &[
            r#"{"imageLayoutVersion":"1.0.0"}"#,
            r#"{"imageLayoutVersion":"1.0.0","x":1}"#,
        ],
    );
    refused(
        layout,
        &[
            ("{}", ErrorKind::Missing, "imageLayoutVersion"),
            (
                r#"{"imageLayoutVersion":1}"#,
                ErrorKind::Type,
                "imageLayoutVersion",
            ),
            (
                r#"{"imagelayoutversion":"1.0.0"}"#,
                ErrorKind::Ambiguous,
                "imagelayoutversion",
            ),
            (
                r#"{"imageLayoutVersion":"2.0.0"}"#,
                ErrorKind::Unsupported("image layout version `2.0.0`".into()),
                "imageLayoutVersion",
            ),
        ],
    );
    assert_eq!(Layout::default().to_vec(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        Layout::parse(&Layout::default().to_vec()).unwrap().version(),
        "1.0.0"
    );
}
