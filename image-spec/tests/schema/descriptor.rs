// SPDX-License-Identifier: Apache-2.0
//! Descriptors.

use image_spec::{Descriptor, Error, ErrorKind};

use crate::{D, accepted, fill, refused};

const HEX: &str = "5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn descriptor(text: &str) -> Result<(), Error> {
    Descriptor::parse(fill(text).as_bytes()).map(drop)
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
