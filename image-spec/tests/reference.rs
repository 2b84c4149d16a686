// SPDX-License-Identifier: Apache-2.0
//! The grammar of references.

use image_spec::{Digest, Error, ErrorKind, Reference};

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Result<Reference, Error> {
    text.parse()
}

#[test]
fn short_and_long_forms_have_one_canonical_form() {
    let rows = [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/library/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
        ("INDEX.docker.IO/busybox", "docker.io/library/busybox:latest"),
        ("Docker.io/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/user/app", "docker.io/user/app:latest"),
        ("user/app", "docker.io/user/app:latest"),
        ("user/group/app:v1", "docker.io/user/group/app:v1"),
        (
            "registry-1.docker.io/library/busybox",
            "registry-1.docker.io/library/busybox:latest",
        ),
        ("docker.io:443/busybox", "docker.io:443/busybox:latest"),
        ("localhost/foo", "localhost/foo:latest"),
        ("localhost:5000/foo", "localhost:5000/foo:latest"),
        ("LOCALHOST/foo", "localhost/foo:latest"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("foo.com/bar", "foo.com/bar:latest"),
        ("foo.com:8080/bar", "foo.com:8080/bar:latest"),
        ("foo.com:8080/bar:tag", "foo.com:8080/bar:tag"),
        ("foo.com", "docker.io/library/foo.com:latest"),
        ("foo:8080/bar", "foo:8080/bar:latest"),
        ("foo/bar:8080", "docker.io/foo/bar:8080"),
        ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080"),
        ("Quay.IO/org/app:V1", "quay.io/org/app:V1"),
        ("Uppercase/lowercase:tag", "Uppercase/lowercase:tag"),
        (
            "b.gcr.io/test.example.com/my-app:test.example.com",
            "b.gcr.io/test.example.com/my-app:test.example.com",
        ),
        (
            "xn--n3h.com/myimage:xn--n3h.com",
            "xn--n3h.com/myimage:xn--n3h.com",
        ),
        ("1.2.3.4/a", "1.2.3.4/a:latest"),
        ("1.2.3.4:5000/a/b", "1.2.3.4:5000/a/b:latest"),
        ("[2001:db8::1]/x", "[2001:db8::1]/x:latest"),
        ("[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x:latest"),
        ("[2001:DB8::A]:5000/x/y:t", "[2001:db8::a]:5000/x/y:t"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("a_b", "docker.io/library/a_b:latest"),
        ("a__b", "docker.io/library/a__b:latest"),
        ("a-b", "docker.io/library/a-b:latest"),
        ("a---b", "docker.io/library/a---b:latest"),
        ("a.b", "docker.io/library/a.b:latest"),
        ("x/a.b_c-d__e----f", "docker.io/x/a.b_c-d__e----f:latest"),
        ("0", "docker.io/library/0:latest"),
        ("a:_", "docker.io/library/a:_"),
        ("a:A.b-C_", "docker.io/library/a:A.b-C_"),
        ("a:latest", "docker.io/library/a:latest"),
    ];
    for (text, canonical) in rows {
        let reference = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reference.to_string(), canonical, "{text}");
        assert_eq!(
            parse(canonical).unwrap(),
            reference,
            "canonical form of {text} is not its own"
        );
    }
}

#[test]
fn tag_and_digest_stand_together_or_alone() {
    let rows = [
        (
            format!("busybox@{D}"),
            None,
            format!("docker.io/library/busybox@{D}"),
        ),
        (
            format!("busybox:1@{D}"),
            Some("1"),
            format!("docker.io/library/busybox:1@{D}"),
        ),
        (
            format!("localhost:5000/a@{D}"),
            None,
            format!("localhost:5000/a@{D}"),
        ),
        (
            format!("[::1]:5000/a:t@{D}"),
            Some("t"),
            format!("[::1]:5000/a:t@{D}"),
        ),
    ];
    for (text, tag, canonical) in rows {
        let reference = parse(&text).unwrap();
        assert_eq!(reference.tag(), tag);
        assert_eq!(reference.digest().map(Digest::to_string).as_deref(), Some(D));
        assert_eq!(reference.to_string(), canonical);
        assert_eq!(parse(&canonical).unwrap(), reference);
    }
}

#[test]
fn the_parts_are_told_apart() {
    let reference = parse(&format!("localhost:5000/team/app:v2@{D}")).unwrap();
    assert_eq!(reference.registry(), "localhost:5000");
    assert_eq!(reference.repository(), "team/app");
    assert_eq!(reference.name(), "localhost:5000/team/app");
    let pinned = parse("busybox").unwrap().with_digest(D.parse().unwrap());
    assert_eq!(
        pinned.to_string(),
        format!("docker.io/library/busybox:latest@{D}")
    );
    assert_eq!(serde_json::to_string(&pinned).unwrap(), format!("\"{pinned}\""));
    assert_eq!(
        serde_json::from_str::<Reference>(&format!("\"{pinned}\"")).unwrap(),
        pinned
    );
}

#[test]
fn text_outside_the_grammar_is_refused() {
    let sha512 = format!("sha512:{}", "0".repeat(127));
    let upper = D.to_uppercase().replace("SHA256", "sha256");
    let long_digest = format!("a@{D}0");
    let rows = [
        "",
        " ",
        ":",
        "/",
        "@",
        ":justtag",
        "/a",
        "a/",
        "a//b",
        "//a",
        "a b",
        " a",
        "a\n",
        "a\0",
        "é",
        "a/é",
        "A",
        "ABC:tag",
        "foo/Bar",
        "docker/Docker",
        "docker.io/docker/Docker",
        "localhost/UPPER",
        "a___b",
        "a..b",
        "a._b",
        "a_.b",
        "a-_b",
        "a_-b",
        ".a",
        "a.",
        "_a",
        "a_",
        "-a",
        "a-",
        "-foo/bar",
        "foo.com/_bar",
        "foo.com/bar/",
        "foo.com//bar",
        "foo..com/bar",
        ".foo.com/bar",
        "foo.com./bar",
        "-foo.com/bar",
        "foo-.com/bar",
        "foo_bar.com/baz",
        "a.b_c-d__e----f/0",
        "foo.com:/bar",
        "foo.com:port/bar",
        "foo.com:0/bar",
        "foo.com:080/bar",
        "foo.com:65536/bar",
        "foo.com:99999999999999999999/bar",
        "foo.com:80:80/bar",
        "user@foo.com/bar",
        "https://foo.com/bar",
        "docker://busybox",
        "[2001:db8::1]",
        "[2001:db8::1]:5000",
        "[]/x",
        "[:]/x",
        "[::1/x",
        "::1]/x",
        "[::1]]/x",
        "[::1%eth0]/x",
        "[fe80::1%25lo]/x",
        "[::ffff:1.2.3.4]/x",
        "[1:2:3:4:5:6:7]/x",
        "[1:2:3:4:5:6:7:8:9]/x",
        "[::1]:/x",
        "[::1]x/x",
        "2001:db8::1/x",
        "a:",
        "a:-t",
        "a:.t",
        "a:t/x",
        "a:t:u",
        "a:é",
        "a@",
        "a@sha256",
        "a@sha256:",
        "a@sha256:abc",
        "a@:abc",
        "a@b@c",
        "a:@sha256:abc",
        "../a",
        "a/../b",
        "a/./b",
        "./a",
        "foo.com/..",
        "a%2fb",
        "a\\b",
        "a?b=c",
        "a#b",
    ];
    for text in rows {
        let error = parse(text).expect_err(text);
        assert_eq!(*error.kind(), ErrorKind::Syntax, "{text}: {error}");
    }
    for text in [
        format!("a@{sha512}"),
        format!("a@{upper}"),
        long_digest,
        format!("@{D}"),
    ] {
        assert_eq!(*parse(&text).unwrap_err().kind(), ErrorKind::Syntax, "{text}");
    }
}

#[test]
fn a_bare_id_names_nothing() {
    for text in [ID, D, &format!("sha512:{}", "0".repeat(128))] {
        assert_eq!(*parse(text).unwrap_err().kind(), ErrorKind::Ambiguous, "{text}");
    }
    // With a path, a tag, or one digit less it is a name like any other.
    assert_eq!(parse(&format!("a/{ID}")).unwrap().repository(), format!("a/{ID}"));
    assert_eq!(
        parse(&format!("{ID}:1")).unwrap().repository(),
        format!("library/{ID}")
    );
    assert_eq!(
        parse(&ID[1..]).unwrap().repository(),
        format!("library/{}", &ID[1..])
    );
}

#[test]
fn an_unknown_digest_algorithm_is_named() {
    let error = parse(&format!("a@blake3:{ID}")).unwrap_err();
    assert_eq!(
        *error.kind(),
        ErrorKind::Unsupported("digest algorithm `blake3`".into())
    );
    assert_eq!(error.to_string(), "not supported: digest algorithm `blake3`");
}

#[test]
fn lengths_end_where_the_rules_say() {
    assert!(parse(&format!("a:{}", "t".repeat(128))).is_ok());
    assert_eq!(
        *parse(&format!("a:{}", "t".repeat(129))).unwrap_err().kind(),
        ErrorKind::Syntax
    );

    let fits = [
        format!("{}a", "a/".repeat(127)),
        format!("h.io/{}", "a".repeat(255)),
        // `library/` counts.
        "a".repeat(247),
    ];
    for text in fits {
        assert!(parse(&text).is_ok(), "{} bytes", text.len());
    }
    let over = [
        format!("{}a", "a/".repeat(128)),
        format!("h.io/{}", "a".repeat(256)),
        "a".repeat(248),
        format!("{}.io/a", "h".repeat(253)),
        "a".repeat(1 << 20),
    ];
    for text in over {
        assert_eq!(
            *parse(&text).unwrap_err().kind(),
            ErrorKind::Limit,
            "{} bytes",
            text.len()
        );
    }
}
