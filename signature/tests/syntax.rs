// SPDX-License-Identifier: Apache-2.0
//! Which texts are policies, and where a policy is looked for.

use std::error::Error as _;
use std::fs;
use std::path::Path;

use signature::{Error, ErrorKind, Policy};
use tempfile::tempdir;

const ACCEPT: &str = r#"[{"type":"insecureAcceptAnything"}]"#;

fn chain(error: &Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

fn parse(text: &str) -> Result<Policy, Error> {
    Policy::parse(text.as_bytes())
}

/// A policy with one requirement.
fn with(requirement: &str) -> String {
    format!(r#"{{"default":[{requirement}]}}"#)
}

/// A policy with one scope.
fn scoped(transport: &str, scope: &str) -> String {
    format!(r#"{{"default":{ACCEPT},"transports":{{"{transport}":{{"{scope}":{ACCEPT}}}}}}}"#)
}

#[test]
fn text_that_is_no_policy_is_refused_with_its_place() {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let deep = format!(r#"{{"default":{deep}}}"#);
    let many = vec![r#"{"type":"reject"}"#; 65].join(",");
    let table = [
        ("", "malformed policy"),
        ("[]", "not an object"),
        ("{}", "missing in policy: `default`"),
        (r#"{"default":null}"#, "`default`"),
        (r#"{"default":[]}"#, "or empty in policy: `default`"),
        (r#"{"default":{}}"#, "`default`"),
        (r#"{"default":["reject"]}"#, "`default[0]`"),
        (r#"{"default":[{}]}"#, "missing in policy: `default[0].type`"),
        (
            r#"{"default":[{"type":"reject"},{"type":"allow"}]}"#,
            "requirement `allow` in policy: `default[1].type`",
        ),
        (r#"{"default":[{"type":7}]}"#, "`default[0].type`"),
        (r#"{"default":[{"type":"Reject"}]}"#, "unknown requirement"),
        (
            r#"{"default":[{"type":"reject","keyType":"GPGKeys"}]}"#,
            "unknown key in policy: `default[0].keyType`",
        ),
        (
            r#"{"default":[{"type":"reject","type":"reject"}]}"#,
            "duplicate key `type`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}"#,
            "duplicate key `default`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"def\u0061ult":[{"type":"reject"}]}"#,
            "duplicate key `default`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"Default":[{"type":"reject"}]}"#,
            "unknown key in policy: `Default`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"comment":""}"#,
            "unknown key in policy: `comment`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":null}"#,
            "`transports`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":[]}}"#,
            "`transports.docker`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"":[]}}}"#,
            "`transports.docker.`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a.b":{}}}}"#,
            "`transports.docker.a.b`",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a.b":[{"type":"reject"}],"A.b":[{"type":"reject"}]}}}"#,
            "the same scope twice",
        ),
        (
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{},"docker":{}}}"#,
            "duplicate key `docker`",
        ),
        (r#"{"default":[{"type":"reject"}]} x"#, "malformed policy"),
        ("\u{feff}{}", "malformed policy"),
        (&deep, "malformed policy"),
        (&format!(r#"{{"default":[{many}]}}"#), "more than 64"),
    ];
    for (text, want) in table {
        let error = parse(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Malformed, "{text}");
        assert!(error.to_string().contains(want), "{text}\n{error}");
    }
}

#[test]
fn policy_has_a_bound() {
    let policy = with(r#"{"type":"reject"}"#);
    let pad = |bytes: usize| format!("{policy}{}", " ".repeat(bytes - policy.len()));
    parse(&pad(1 << 20)).unwrap();
    assert_eq!(
        parse(&pad((1 << 20) + 1)).unwrap_err().kind(),
        ErrorKind::TooLarge
    );
}

#[test]
fn requirements_have_the_fields_of_their_type() {
    // The type is left out where the table is by type.
    let table: &[(&str, &[&str], &[&str])] = &[
        ("insecureAcceptAnything", &[""], &[r#","keyPath":"/k""#]),
        ("reject", &[""], &[r#","reason":"x""#]),
        (
            "signedBy",
            &[
                r#","keyType":"GPGKeys","keyPath":"/k""#,
                r#","keyType":"GPGKeys","keyPath":"kbs:///default/key/1""#,
                r#","keyType":"signedByGPGKeys","keyPaths":["/k","/l"]"#,
                r#","keyType":"X509Certificates","keyData":"YWJj""#,
                r#","keyType":"signedByX509CAs","keyData":"YW\nI=","signedIdentity":{"type":"matchExact"}"#,
            ],
            &[
                r#","keyPath":"/k""#,
                r#","keyType":"PGP","keyPath":"/k""#,
                r#","keyType":"GPGKeys""#,
                r#","keyType":"GPGKeys","keyPath":"""#,
                r#","keyType":"GPGKeys","keyPath":["/k"]"#,
                r#","keyType":"GPGKeys","keyPaths":[]"#,
                r#","keyType":"GPGKeys","keyPaths":["/k",""]"#,
                r#","keyType":"GPGKeys","keyPaths":"/k""#,
                r#","keyType":"GPGKeys","keyPath":"/k","keyData":"YWJj""#,
                r#","keyType":"GPGKeys","keyData":"YWJ""#,
                r#","keyType":"GPGKeys","keyData":"Y===""#,
                r#","keyType":"GPGKeys","keyData":"YW-_""#,
                r#","keyType":"GPGKeys","keyPath":"/k","signedIdentity":"matchExact""#,
                r#","keyType":"GPGKeys","keyPath":"/k","keyDatas":["YWJj"]"#,
            ],
        ),
        (
            "sigstoreSigned",
            &[
                r#","keyPath":"/k""#,
                r#","keyPaths":["/k"]"#,
                r#","keyData":"-----BEGIN PUBLIC KEY-----\nx""#,
                r#","keyDatas":["YWJj"],"rekorPublicKeyPath":"/r""#,
                r#","keyPath":"/k","rekorPublicKeyDatas":["YWJj"],"signedIdentity":{"type":"matchRepository"}"#,
                r#","fulcio":{"caPath":"/c","oidcIssuer":"https://i","subjectEmail":"a@b"},"rekorPublicKeyData":"YWJj""#,
                r#","pki":{"caRootsPath":"/c","subjectHostname":"h"}"#,
                r#","pki":{"caRootsData":"YWJj","caIntermediatesData":"YWJj","subjectEmail":"a@b","subjectHostname":"h"}"#,
            ],
            &[
                "",
                r#","keyPath":"/k","keyPaths":["/k"]"#,
                r#","keyDatas":["YWJj","?"]"#,
                r#","keyPath":"/k","rekorPublicKeyPath":"/r","rekorPublicKeyData":"YWJj""#,
                r#","keyPath":"/k","keyType":"GPGKeys""#,
                r#","fulcio":{"caPath":"/c","oidcIssuer":"https://i","subjectEmail":"a@b"}"#,
                r#","fulcio":{"caPath":"/c","oidcIssuer":"https://i"},"rekorPublicKeyPath":"/r""#,
                r#","fulcio":{"caPath":"/c","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                r#","fulcio":{"oidcIssuer":"https://i","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                r#","fulcio":{"caPath":"/c","caData":"YWJj","oidcIssuer":"i","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                r#","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"a@b","san":"x"},"rekorPublicKeyPath":"/r""#,
                r#","fulcio":[],"rekorPublicKeyPath":"/r""#,
                r#","pki":{"caRootsPath":"/c"}"#,
                r#","pki":{"subjectEmail":"a@b"}"#,
                r#","pki":{"caRootsPath":"/c","caIntermediatesPath":"/i","caIntermediatesData":"YWJj","subjectEmail":"a@b"}"#,
                r#","pki":{"caRootsPath":"/c","subjectEmail":"a@b"},"rekorPublicKeyPath":"/r""#,
                r#","pki":{"caRootsPath":"/c","subjectEmail":"a@b"},"keyPath":"/k""#,
            ],
        ),
        (
            "signedBaseLayer",
            &[r#","baseLayerIdentity":{"type":"matchExact"}"#],
            &[
                "",
                r#","baseLayerIdentity":{}"#,
                r#","baseLayerIdentity":{"type":"matchExact"},"keyPath":"/k""#,
            ],
        ),
    ];
    for (kind, good, bad) in table {
        let text = |fields: &str| with(&format!(r#"{{"type":"{kind}"{fields}}}"#));
        for fields in *good {
            parse(&text(fields)).unwrap_or_else(|error| panic!("{kind} {fields}: {error}"));
        }
        for fields in *bad {
            let error = parse(&text(fields)).expect_err(&text(fields));
            assert_eq!(error.kind(), ErrorKind::Malformed, "{kind} {fields}");
        }
    }
}

#[test]
fn identity_rules_have_the_fields_of_their_type() {
    let good = [
        r#""type":"matchExact""#,
        r#""type":"matchRepoDigestOrExact""#,
        r#""type":"matchRepository""#,
        r#""type":"exactReference","dockerReference":"quay.io/a/b:1""#,
        r#""type":"exactReference","dockerReference":"localhost:5000/b:1""#,
        r#""type":"exactRepository","dockerRepository":"quay.io/a/b""#,
        r#""type":"remapIdentity","prefix":"mirror.example:5000","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"docker.io","signedPrefix":"localhost:5000/docker/io""#,
        r#""type":"remapIdentity","prefix":"localhost/a/b","signedPrefix":"docker.io/library""#,
    ];
    let bad = [
        r#""type":"matchAnything""#,
        r#""type":"matchExact","dockerReference":"quay.io/a/b:1""#,
        r#""type":"exactReference""#,
        r#""type":"exactReference","dockerReference":"localhost:5000/b""#,
        r#""type":"exactReference","dockerReference":"quay.io/a/B:1""#,
        r#""type":"exactRepository","dockerReference":"quay.io/a/b""#,
        r#""type":"exactRepository","dockerRepository":"""#,
        r#""type":"remapIdentity","prefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"quay.io/","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"shortname","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"quay.io/a@sha256:1","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"quay.io/a:1","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"short/name","signedPrefix":"quay.io""#,
        r#""type":"remapIdentity","prefix":"quay.io","signedPrefix":"*.quay.io""#,
    ];
    let text = |rule: &str| {
        with(&format!(
            r#"{{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{{{rule}}}}}"#
        ))
    };
    for rule in good {
        parse(&text(rule)).unwrap_or_else(|error| panic!("{rule}: {error}"));
    }
    for rule in bad {
        let error = parse(&text(rule)).expect_err(rule);
        assert!(
            error.to_string().contains("`default[0].signedIdentity"),
            "{rule}: {error}"
        );
    }
}

#[test]
fn scope_that_can_never_match_is_refused() {
    let table = [
        ("docker", "quay.io", true),
        ("docker", "Quay.IO/a/b:1", true),
        ("docker", "localhost:5000/a", true),
        ("docker", "*.example.com", true),
        ("docker", "", true),
        ("docker", "a*.example.com", false),
        ("docker", "*", false),
        ("docker", "*.", false),
        ("docker", "*.example.com/a", false),
        ("docker", "*.example.com:5000", false),
        ("docker", "quay.io/*", false),
        ("docker", "https://quay.io", false),
        ("docker", "quay.io/", false),
        ("docker", "/quay.io", false),
        ("docker", "quay.io//a", false),
        ("docker", "quay.io/a b", false),
        ("atomic", "quay.io/", false),
        ("oci", "/var/images", true),
        ("oci", "/var/images:name", true),
        ("oci", "", true),
        ("oci", "/", false),
        ("oci", "images", false),
        ("oci", "/var/images/", false),
        ("oci-archive", "/var//images", false),
        ("dir", "/var/./images", false),
        ("dir", "/var/../images", false),
        ("docker-archive", "", true),
        ("docker-archive", "/var/image.tar", false),
        ("tarball", "x", false),
        ("containers-storage", "[overlay@/var]name", true),
        ("docker-daemon", "docker.io/library/busybox:latest", true),
        ("a-transport-of-tomorrow", "any *thing/", true),
    ];
    for (transport, scope, good) in table {
        let done = parse(&scoped(transport, scope));
        assert_eq!(done.is_ok(), good, "{transport}: {scope}");
        if let Err(error) = done {
            assert!(
                error
                    .to_string()
                    .ends_with(&format!("`transports.{transport}.{scope}`")),
                "{error}"
            );
        }
    }
}

#[test]
fn named_policy_is_the_only_one_looked_at() {
    let dir = tempdir().unwrap();
    let (one, two) = (dir.path().join("one.json"), dir.path().join("two.json"));
    fs::write(&two, with(r#"{"type":"reject"}"#)).unwrap();
    let error = Policy::find(Some(&one), &[&two]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(
        error.to_string(),
        format!("cannot use the policy: `{}`", one.display())
    );
    Policy::find(Some(&two), &[&one]).unwrap();
}

#[test]
fn first_policy_that_exists_is_the_one() {
    let dir = tempdir().unwrap();
    let (one, two) = (dir.path().join("one.json"), dir.path().join("two.json"));
    fs::write(&two, with(r#"{"type":"reject"}"#)).unwrap();
    Policy::find(None, &[&one, &two]).unwrap();
    fs::write(&one, "{").unwrap();
    let error = Policy::find(None, &[&one, &two]).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Malformed,
        "a broken one is not passed over"
    );
    assert!(chain(&error).starts_with(&format!("cannot use the policy: `{}`: malformed", one.display())));
    fs::remove_file(&one).unwrap();
    std::os::unix::fs::symlink("nowhere", &one).unwrap();
    assert_eq!(
        Policy::find(None, &[&one, &two]).unwrap_err().kind(),
        ErrorKind::Io,
        "nor is a broken link"
    );
}

#[test]
fn without_a_policy_there_is_a_hint() {
    let dir = tempdir().unwrap();
    let places = [dir.path().join("one.json"), dir.path().join("two.json")];
    let error = Policy::find(None, &places).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoPolicy);
    for place in &places {
        assert!(
            error.to_string().contains(&format!("`{}`", place.display())),
            "{error}"
        );
    }
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("--policy FILE") && hint.contains("--insecure-accept-any-image"),
        "{hint}"
    );
    assert_eq!(
        Policy::DEFAULT_PATHS,
        ["/etc/image-client/policy.json", "/etc/containers/policy.json"]
    );
}

#[test]
fn only_files_of_bounded_size_are_read() {
    let dir = tempdir().unwrap();
    let large = dir.path().join("large.json");
    fs::write(&large, vec![b' '; (1 << 20) + 1]).unwrap();
    let table = [
        (dir.path(), ErrorKind::Io),
        (Path::new("/dev/zero"), ErrorKind::Io),
        (&large, ErrorKind::TooLarge),
    ];
    for (path, kind) in table {
        assert_eq!(Policy::load(path).unwrap_err().kind(), kind, "{}", path.display());
    }
}
