// SPDX-License-Identifier: Apache-2.0
//! Which scope decides, and what it decides.

use std::fs;
use std::path::Path;

use image_spec::{Digest, Reference};
use signature::{Admitted, Candidate, Error, ErrorKind, Identity, Policy};
use tempfile::tempdir;

const ACCEPT: &str = r#"[{"type":"insecureAcceptAnything"}]"#;
const REJECT: &str = r#"[{"type":"reject"}]"#;

fn docker(name: &str) -> Identity {
    Identity::docker(&name.parse::<Reference>().unwrap())
}

fn ask(policy: &Policy, identity: Identity) -> Result<Admitted, Error> {
    policy.admit(Candidate {
        identity,
        top: "top".into(),
        manifest: "manifest".into(),
    })
}

/// Rejects by default and admits the scopes of one transport.
fn admitting(transport: &str, scopes: &[&str]) -> Policy {
    let scopes: Vec<String> = scopes
        .iter()
        .map(|scope| format!(r#""{scope}":{ACCEPT}"#))
        .collect();
    let text = format!(
        r#"{{"default":{REJECT},"transports":{{"{transport}":{{{}}}}}}}"#,
        scopes.join(",")
    );
    Policy::parse(text.as_bytes()).unwrap()
}

/// The scope that decides, when all of them are in the policy and each is removed once it has.
fn order(transport: &str, identity: &Identity, mut scopes: Vec<&str>) -> Vec<String> {
    let mut order = Vec::new();
    while let Ok(admitted) = ask(&admitting(transport, &scopes), identity.clone()) {
        let scope = admitted.verdict().scope.clone();
        let bare = scope.strip_prefix(&format!("{transport}:")).unwrap().to_owned();
        scopes.retain(|scope| *scope != bare);
        order.push(bare);
    }
    order
}

#[test]
fn docker_scopes_are_tried_from_the_most_specific() {
    let digest = Digest::sha256(b"top");
    let pinned = format!("quay.io/a/b@{digest}");
    let table: &[(&str, &[&str])] = &[
        (
            "busybox",
            &[
                "docker.io/library/busybox:latest",
                "docker.io/library/busybox",
                "docker.io/library",
                "docker.io",
                "*.io",
                "",
            ],
        ),
        (
            "a.b.example.com:5000/x/y/z:1",
            &[
                "a.b.example.com:5000/x/y/z:1",
                "a.b.example.com:5000/x/y/z",
                "a.b.example.com:5000/x/y",
                "a.b.example.com:5000/x",
                "a.b.example.com:5000",
                "*.b.example.com",
                "*.example.com",
                "*.com",
                "",
            ],
        ),
        (
            &pinned,
            &[&pinned, "quay.io/a/b", "quay.io/a", "quay.io", "*.io", ""],
        ),
        (
            "localhost:5000/x:1",
            &["localhost:5000/x:1", "localhost:5000/x", "localhost:5000", ""],
        ),
        (
            "[::1]:5000/x:1",
            &["[::1]:5000/x:1", "[::1]:5000/x", "[::1]:5000", ""],
        ),
        (
            "10.0.0.1:80/x:1",
            &["10.0.0.1:80/x:1", "10.0.0.1:80/x", "10.0.0.1:80", ""],
        ),
    ];
    for (name, scopes) in table {
        let mut shuffled = scopes.to_vec();
        shuffled.sort();
        assert_eq!(order("docker", &docker(name), shuffled), *scopes, "{name}");
    }
}

#[test]
fn docker_scopes_that_do_not_speak_of_the_image_are_passed_over() {
    let table: &[(&str, &[&str])] = &[
        (
            "quay.io/team/app:1",
            &[
                "quay.io/team/app:2",
                "quay.io/team/ap",
                "quay.io/tea",
                "quay.i",
                "uay.io",
            ],
        ),
        (
            "quay.io/team/app:1",
            &["*.quay.io", "quay.io/team/app/more", "team/app", "quay.io:443"],
        ),
        ("quay.io:443/team/app:1", &["quay.io", "quay.io/team"]),
        ("evil-example.com/x", &["example.com", "*.example.com"]),
        ("10.0.0.1/x", &["*.0.0.1", "*.1"]),
        ("busybox", &["busybox", "library/busybox", "docker.io/busybox"]),
    ];
    for (name, scopes) in table {
        let error = ask(&admitting("docker", scopes), docker(name)).expect_err(name);
        assert!(error.to_string().contains("scope `default`"), "{error}");
    }
}

#[test]
fn most_specific_scope_decides_alone() {
    let text = format!(
        r#"{{"default":{ACCEPT},"transports":{{"docker":{{
            "quay.io":{REJECT}, "quay.io/good":{ACCEPT}, "quay.io/good/but:bad":{REJECT}, "":{REJECT}}}}}}}"#
    );
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let table = [
        ("quay.io/x/y", false),
        ("quay.io/good/y", true),
        ("QUAY.io/x/y", false),
        ("quay.io/good/but:fine", true),
        ("quay.io/good/but:bad", false),
        ("example.com/x", false),
    ];
    for (name, good) in table {
        assert_eq!(ask(&policy, docker(name)).is_ok(), good, "{name}");
    }
    // Another transport is not spoken of.
    assert_eq!(
        ask(&policy, Identity::oci_layout(Path::new("/x"), None))
            .unwrap()
            .verdict()
            .scope,
        "default"
    );
}

#[test]
fn tag_beside_a_digest_opens_no_scope() {
    let digest = Digest::sha256(b"top");
    let policy = admitting("docker", &["quay.io/a/b:stable"]);
    ask(&policy, docker("quay.io/a/b:stable")).unwrap();
    ask(&policy, docker(&format!("quay.io/a/b:stable@{digest}"))).unwrap_err();
}

#[test]
fn host_of_a_scope_is_matched_in_any_case() {
    ask(&admitting("docker", &["Quay.IO/a"]), docker("quay.io/a/b")).unwrap();
    ask(
        &admitting("docker", &["*.Example.COM"]),
        docker("a.EXAMPLE.com/b"),
    )
    .unwrap();
}

#[test]
fn a_folder_of_skopeo_is_scoped_by_its_path() {
    let identity = Identity::dir(Path::new("/var/lib/image"));
    let want = ["/var/lib/image", "/var/lib", "/var", ""];
    let mut shuffled = want.to_vec();
    shuffled.sort();
    assert_eq!(order("dir", &identity, shuffled), want);
    assert_eq!(identity.to_string(), "dir:/var/lib/image");
}

#[test]
fn an_archive_of_docker_has_no_scope_but_its_transport() {
    let identity = Identity::docker_archive(Path::new("/var/image.tar"));
    assert_eq!(order("docker-archive", &identity, vec![""]), [""]);
    assert_eq!(identity.to_string(), "docker-archive:/var/image.tar");
    // A rule for a registry's image of the same name says nothing of a file.
    ask(&admitting("docker", &["docker.io"]), identity).unwrap_err();
}

#[test]
fn paths_are_scoped_by_folder() {
    type Make = fn(&Path, Option<&str>) -> Identity;
    let makers: [(&str, Make); 2] = [
        ("oci", Identity::oci_layout),
        ("oci-archive", Identity::oci_archive),
    ];
    for (transport, make) in makers {
        let identity = make(Path::new("/var/lib/images/one"), Some("quay.io/a/b:1"));
        let want = [
            "/var/lib/images/one:quay.io/a/b:1",
            "/var/lib/images/one",
            "/var/lib/images",
            "/var/lib",
            "/var",
            "",
        ];
        let mut shuffled = want.to_vec();
        shuffled.sort();
        assert_eq!(order(transport, &identity, shuffled), want);
        assert_eq!(
            identity.to_string(),
            format!("{transport}:/var/lib/images/one:quay.io/a/b:1")
        );
        let unnamed = make(Path::new("/var/lib/images/one/"), None);
        assert_eq!(unnamed.name(), "/var/lib/images/one");
        assert_eq!(order(transport, &unnamed, want[1..].to_vec()), want[1..]);
        let scopes = [
            "/var/lib/image",
            "/var/lib/images/one:other",
            "/var/lib/images/one/blobs",
        ];
        ask(&admitting(transport, &scopes), identity).unwrap_err();
    }
}

#[test]
fn all_requirements_must_hold() {
    let accept = r#"{"type":"insecureAcceptAnything"}"#;
    let reject = r#"{"type":"reject"}"#;
    let signed = r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}"#;
    let sigstore = r#"{"type":"sigstoreSigned","keyPath":"/k"}"#;
    let base = r#"{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}"#;
    let table: &[(&[&str], Result<(), ErrorKind>)] = &[
        (&[accept], Ok(())),
        (&[accept, accept], Ok(())),
        (&[reject], Err(ErrorKind::Refused)),
        (&[accept, reject], Err(ErrorKind::Refused)),
        (&[reject, accept], Err(ErrorKind::Refused)),
        (&[signed], Err(ErrorKind::Unsupported("signedBy"))),
        (&[accept, sigstore], Err(ErrorKind::Unsupported("sigstoreSigned"))),
        (&[base, accept], Err(ErrorKind::Unsupported("signedBaseLayer"))),
    ];
    for (list, want) in table {
        let policy = Policy::parse(format!(r#"{{"default":[{}]}}"#, list.join(",")).as_bytes()).unwrap();
        let got = ask(&policy, docker("busybox"))
            .map(drop)
            .map_err(|error| error.kind());
        assert_eq!(got, *want, "{list:?}");
    }
}

#[test]
fn refusal_names_policy_scope_requirement_and_image() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("policy.json");
    let text = format!(
        r#"{{"default":{REJECT},"transports":{{"docker":{{
            "quay.io":[{{"type":"sigstoreSigned","keyPath":"/k"}}]}}}}}}"#
    );
    fs::write(&path, text).unwrap();
    let policy = Policy::load(&path).unwrap();
    let path = path.display();
    assert_eq!(
        ask(&policy, docker("busybox")).unwrap_err().to_string(),
        format!(
            "scope `default` of policy `{path}` refuses by `reject`: `docker:docker.io/library/busybox:latest`"
        )
    );
    assert_eq!(
        ask(&policy, docker("quay.io/a/b")).unwrap_err().to_string(),
        format!(
            "scope `docker:quay.io` of policy `{path}` asks for what is not supported, `sigstoreSigned`: \
             `docker:quay.io/a/b:latest`"
        )
    );
}

#[test]
fn admitted_holds_the_bytes_and_the_grounds() {
    let admitted = ask(&Policy::insecure_accept_anything(), docker("busybox")).unwrap();
    assert_eq!(admitted.top().as_ref(), b"top");
    assert_eq!(admitted.manifest().as_ref(), b"manifest");
    assert_eq!(admitted.identity(), &docker("busybox"));
    let verdict = admitted.verdict();
    assert_eq!(verdict.scope, "default");
    assert_eq!(verdict.requirements, ["insecureAcceptAnything"]);
    assert!(verdict.source.contains("insecure"), "{}", verdict.source);
}

#[test]
fn digest_of_the_reference_must_be_that_of_the_bytes() {
    let policy = Policy::insecure_accept_anything();
    for (bytes, good) in [("top", true), ("manifest", false), ("", false)] {
        let name = format!("quay.io/a/b@{}", Digest::sha256(bytes.as_bytes()));
        let done = ask(&policy, docker(&name));
        assert_eq!(done.is_ok(), good, "{bytes}");
        if let Err(error) = done {
            assert_eq!(error.kind(), ErrorKind::Digest);
            assert!(
                error
                    .to_string()
                    .ends_with(&format!("`{}`", Digest::sha256(b"top"))),
                "{error}"
            );
        }
    }
}
