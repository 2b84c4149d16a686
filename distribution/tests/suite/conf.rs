// SPDX-License-Identifier: Apache-2.0
//! What registries.conf may hold, and what short names mean by it.

use distribution::{Error, ErrorKind, Registries};

use crate::image::assert_error;

fn candidates(conf: &Registries, name: &str) -> Result<Option<Vec<String>>, Error> {
    let found = conf.candidates(name)?;
    Ok(found.map(|names| names.iter().map(ToString::to_string).collect()))
}

#[test]
fn malformed_files_are_refused_with_their_reason() {
    for (text, kind, part) in [
        (
            "[[registry]]\n",
            ErrorKind::Invalid,
            "without prefix and location",
        ),
        (
            "[[registry]]\nprefix = 1",
            ErrorKind::Invalid,
            "not a registries.conf",
        ),
        (
            "[[registry]]\nprefix = \"a\"\nblocked = \"yes\"",
            ErrorKind::Invalid,
            "not a registries.conf",
        ),
        (
            "[registry]\nprefix = \"a.b\"",
            ErrorKind::Invalid,
            "not a registries.conf",
        ),
        ("registry = [", ErrorKind::Invalid, "not a registries.conf"),
        (
            "[[registry]]\nlocation = \"https://a.b\"",
            ErrorKind::Invalid,
            "not a prefix",
        ),
        (
            "[[registry]]\nprefix = \"a.*.b\"",
            ErrorKind::Invalid,
            "not a prefix",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\nlocation = \"*.c\"",
            ErrorKind::Invalid,
            "not a location",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\nlocation = \"c.d/x:tag\"",
            ErrorKind::Invalid,
            "not a location",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\nlocation = \"c d\"",
            ErrorKind::Invalid,
            "not a location",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\nlocation = \"word\"",
            ErrorKind::Invalid,
            "not a location",
        ),
        (
            "[[registry]]\nprefix = \"a.b/c:d\"\nlocation = \"e.f\"",
            ErrorKind::Invalid,
            "can only be blocked",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\n[[registry.mirror]]\n",
            ErrorKind::Invalid,
            "not a mirror's location",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"x\"",
            ErrorKind::Invalid,
            "not a registries.conf",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\nmirror-by-digest-only = true\n[[registry.mirror]]\n\
             location = \"c.d\"\npull-from-mirror = \"all\"",
            ErrorKind::Invalid,
            "at once",
        ),
        (
            "[[registry]]\nprefix = \"a.b\"\n[[registry]]\nlocation = \"A.b/\"",
            ErrorKind::Invalid,
            "one prefix",
        ),
        (
            "short-name-mode = \"loose\"",
            ErrorKind::Invalid,
            "no short-name-mode",
        ),
        (
            "unqualified-search-registries = [\"word\"]",
            ErrorKind::Invalid,
            "no registry to search",
        ),
        (
            "unqualified-search-registries = [\"a.b/c:d\"]",
            ErrorKind::Invalid,
            "no registry to search",
        ),
        (
            "[aliases]\n\"a.b/c\" = \"d.e/f\"",
            ErrorKind::Invalid,
            "not a short name",
        ),
        (
            "[aliases]\n\"a:b\" = \"d.e/f\"",
            ErrorKind::Invalid,
            "not a short name",
        ),
        (
            "[aliases]\na = \"b/c\"",
            ErrorKind::Invalid,
            "stands for no full name",
        ),
        (
            "[aliases]\na = \"b.c/d:e\"",
            ErrorKind::Invalid,
            "stands for no full name",
        ),
    ] {
        assert_error(Registries::parse(text), kind, part);
    }
    let old = "[registries.search]\nregistries = [\"docker.io\"]";
    let error = Registries::parse(old).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    let large = "#".repeat((1 << 20) + 1);
    assert_error(Registries::parse(&large), ErrorKind::TooLarge, "longer than");
    let deep = format!("a = {}", "[".repeat(500_000));
    assert_error(
        Registries::parse(&deep),
        ErrorKind::Invalid,
        "not a registries.conf",
    );
    let many = "[[registry]]\nlocation = \"a.b\"\n".repeat(5000);
    assert_error(
        Registries::parse(&many),
        ErrorKind::TooLarge,
        "more than 4096 registries",
    );
    let mirrors = "[[registry.mirror]]\nlocation = \"a.b\"\n".repeat(33);
    let many = format!("[[registry]]\nlocation = \"a.b\"\n{mirrors}");
    assert_error(
        Registries::parse(&many),
        ErrorKind::TooLarge,
        "more than 32 mirrors",
    );
}

#[test]
fn keys_of_other_tools_are_passed_over() {
    Registries::parse(
        "credential-helpers = [\"containers-auth.json\"]\nadditional-layer-store-auth-helper = \"x\"\n\
         [[registry]]\nlocation = \"a.b\"\nfuture = 1\n[[registry.mirror]]\nlocation = \"c.d\"\nfuture = {}\n[other]\nx = 1",
    )
    .unwrap();
}

#[test]
fn short_names_mean_what_the_configuration_says() {
    let text = "unqualified-search-registries = [\"one.example\", \"docker.io\", \"localhost:5000/ns\"]\n\
        [aliases]\nfedora = \"registry.example/fedora\"\n\"my/app\" = \"localhost:5000/app\"\ngone = \"\"\n";
    let conf = Registries::parse(text).unwrap();
    let digest = format!("sha256:{}", "0".repeat(64));
    for (name, want) in [
        ("fedora", vec!["registry.example/fedora:latest".to_owned()]),
        ("fedora:40", vec!["registry.example/fedora:40".to_owned()]),
        (
            &format!("my/app@{digest}"),
            vec![format!("localhost:5000/app@{digest}")],
        ),
        (
            "busybox:1",
            vec![
                "one.example/busybox:1".to_owned(),
                "docker.io/library/busybox:1".to_owned(),
                "localhost:5000/ns/busybox:1".to_owned(),
            ],
        ),
        (
            "gone",
            vec![
                "one.example/gone:latest".to_owned(),
                "docker.io/library/gone:latest".to_owned(),
                "localhost:5000/ns/gone:latest".to_owned(),
            ],
        ),
    ] {
        assert_eq!(candidates(&conf, name).unwrap(), Some(want), "{name}");
    }
    for full in ["a.b/fedora", "localhost/fedora", "host:5000/x"] {
        assert_eq!(candidates(&conf, full).unwrap(), None, "{full}");
    }
    assert_error(
        conf.candidates("UPPER"),
        ErrorKind::Invalid,
        "not an image's name",
    );
    let disabled = Registries::parse(&format!("short-name-mode = \"disabled\"\n{text}")).unwrap();
    assert_eq!(candidates(&disabled, "fedora").unwrap().unwrap().len(), 3);
    let enforcing = Registries::parse(&format!("short-name-mode = \"enforcing\"\n{text}")).unwrap();
    assert_eq!(candidates(&enforcing, "fedora").unwrap().unwrap().len(), 1);
    assert_error(
        enforcing.candidates("busybox"),
        ErrorKind::Ambiguous,
        "`one.example/busybox:latest`, `docker.io/library/busybox:latest`",
    );
    let none = Registries::parse("unqualified-search-registries = []").unwrap();
    assert_error(none.candidates("busybox"), ErrorKind::NotFound, "`busybox`");
    assert_eq!(candidates(&Registries::default(), "busybox").unwrap(), None);
}

#[test]
fn drop_ins_are_read_in_order_and_replace_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("registries.conf.d");
    std::fs::create_dir(&folder).unwrap();
    let file = dir.path().join("registries.conf");
    std::fs::write(
        &file,
        "unqualified-search-registries = [\"a.b\"]\nshort-name-mode = \"enforcing\"\n\
         [[registry]]\nlocation = \"x.y\"\nblocked = true\n[[registry]]\nlocation = \"z.y\"\nblocked = true\n\
         [aliases]\none = \"a.b/one\"\ntwo = \"a.b/two\"",
    )
    .unwrap();
    std::fs::write(folder.join("20.conf"), "[aliases]\ntwo = \"c.d/20\"").unwrap();
    std::fs::write(
        folder.join("10.conf"),
        "unqualified-search-registries = [\"c.d\", \"e.f\"]\n[[registry]]\nlocation = \"x.y\"\n\
         [aliases]\none = \"c.d/10\"\ntwo = \"c.d/10\"",
    )
    .unwrap();
    std::fs::write(folder.join("30.conf.bak"), "not toml").unwrap();
    let conf = Registries::load(Some(&file), Some(&folder)).unwrap();
    for (name, want) in [("one", "c.d/10:latest"), ("two", "c.d/20:latest")] {
        assert_eq!(candidates(&conf, name).unwrap(), Some(vec![want.to_owned()]));
    }
    assert_error(
        conf.candidates("three"),
        ErrorKind::Ambiguous,
        "`e.f/three:latest`",
    );
    let client = crate::server::wary().registries(conf).build().unwrap();
    client.registry(&"x.y/a".parse().unwrap()).unwrap();
    assert_error(
        client.registry(&"z.y/a".parse().unwrap()),
        ErrorKind::Denied,
        "blocks `z.y`",
    );

    let absent = dir.path().join("absent");
    Registries::load(Some(&file), Some(&absent)).unwrap();
    assert_error(
        Registries::load(Some(&absent), None),
        ErrorKind::NotFound,
        "absent",
    );
    std::fs::write(folder.join("30.conf"), "[[registry]]\nprefix = 7").unwrap();
    assert_error(
        Registries::load(Some(&file), Some(&folder)),
        ErrorKind::Invalid,
        "30.conf",
    );
}
