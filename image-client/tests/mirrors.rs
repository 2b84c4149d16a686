// SPDX-License-Identifier: Apache-2.0
//! Names, and the places where their images really come from.

mod common;

use std::process::Command;

use common::{Lab, chain, run};
use fixture::{Compression, Effect, Fault, Image, Registry};
use image_client::{Builder, ErrorKind, ImageName, Policy, Registries, Request};

fn image() -> Image {
    Image::parse("f /one 0644 0:0 \"1\"\n--- none\nf /two 0644 0:0 fill=50000").build()
}

/// A builder that takes the images of `name` from `registry`, which has no TLS.
fn moved(lab: &Lab, name: &str, registry: &Registry) -> Builder {
    let conf = format!(
        "[[registry]]\nprefix = \"{name}\"\nlocation = \"{}\"",
        registry.host()
    );
    let builder = lab.builder().registries(Registries::parse(&conf).unwrap());
    builder
        .snapshotter("copy")
        .dangerous()
        .plain_http(&registry.host())
}

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

#[test]
fn policy_and_store_see_the_name_that_was_asked_for() {
    let registry = Registry::start();
    registry.push("app", "1", &image());
    let accepting = |scope: &str| {
        let scopes = format!("{{\"{scope}\": [{{\"type\": \"insecureAcceptAnything\"}}]}}");
        let text =
            format!("{{\"default\": [{{\"type\": \"reject\"}}], \"transports\": {{\"docker\": {scopes}}}}}");
        Policy::parse(text.as_bytes()).unwrap()
    };
    let lab = Lab::new();
    let real = format!("{}/app", registry.host());
    let client = moved(&lab, "asked.example/team", &registry)
        .policy(accepting(&real))
        .build()
        .unwrap();
    let error = run(client.pull(name("asked.example/team/app:1"), lab.path("bundle"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused, "{}", chain(&error));

    let policy = accepting("asked.example/team/app");
    let client = moved(&lab, "asked.example/team", &registry)
        .policy(policy)
        .build()
        .unwrap();
    let pulled = run(client.pull(name("asked.example/team/app:1"), lab.path("bundle"))).unwrap();
    assert_eq!(pulled.image.manifest_digest.to_string(), image().manifest.digest);
    let stored = run(client.images()).unwrap();
    assert_eq!(stored[0].name, "asked.example/team/app:1");
    run(client.unmount(lab.path("bundle"))).unwrap();
}

#[test]
fn what_is_blocked_is_not_handed_out_of_the_store_either() {
    let registry = Registry::start();
    registry.push("app", "1", &image());
    let lab = Lab::new();
    let pinned = format!("asked.example/app@{}", image().manifest.digest);
    let builder = moved(&lab, "asked.example", &registry)
        .dangerous()
        .accept_any_image();
    let client = builder.build().unwrap();
    run(client.pull(name(&pinned), lab.path("one"))).unwrap();
    run(client.unmount(lab.path("one"))).unwrap();
    let conf = Registries::parse("[[registry]]\nprefix = \"asked.example\"\nblocked = true").unwrap();
    let builder = lab.builder().registries(conf).dangerous().accept_any_image();
    let error = run(builder.build().unwrap().pull(name(&pinned), lab.path("two"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Denied);
    assert!(
        chain(&error).contains("blocks `asked.example`"),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_layer_that_a_mirror_falsifies_comes_from_the_registry_in_the_same_pull() {
    // Small enough to be read to its end anyway, and larger than what is read in vain.
    for size in [50_000, 20_000_000] {
        let image = Image::parse(&format!("f /two 0644 0:0 fill={size}"))
            .compression(Compression::None)
            .build();
        let (mirror, registry) = (Registry::start(), Registry::start());
        let layer = &image.layers[0];
        for registry in [&mirror, &registry] {
            registry.push("app", "1", &image);
        }
        let wrong = vec![7; layer.bytes.len()];
        mirror.fault(Fault::on(&layer.digest, Effect::Replace(wrong)));
        let conf = format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"",
            registry.host(),
            mirror.host()
        );
        let lab = Lab::new();
        let builder = lab.builder().registries(Registries::parse(&conf).unwrap());
        let builder = builder
            .dangerous()
            .plain_http(&registry.host())
            .dangerous()
            .plain_http(&mirror.host());
        let client = builder
            .snapshotter("copy")
            .dangerous()
            .accept_any_image()
            .build()
            .unwrap();
        let pulled = run(client.pull(name(&registry.reference("app:1")), lab.path("bundle"))).unwrap();
        let got = std::fs::metadata(pulled.rootfs.join("two")).unwrap().len();
        assert_eq!(got, size);
        assert_eq!(registry.asked_for("/manifests/").len(), 0);
        assert_eq!(registry.asked_for("/blobs/").len(), 1);
        run(client.unmount(lab.path("bundle"))).unwrap();
    }
}

#[test]
fn a_name_is_looked_for_further_only_on_a_registrys_own_word() {
    let (empty, full) = (Registry::start(), Registry::start());
    full.push("app", "1", &image());
    let lab = Lab::new();
    let builder = lab.builder().dangerous().plain_http(&empty.host());
    let builder = builder
        .dangerous()
        .plain_http(&full.host())
        .dangerous()
        .plain_http("127.0.0.1:1");
    let client = builder.dangerous().accept_any_image().build().unwrap();
    let request = |first: &str, second: &str| Request::new(name(first)).or(name(second));
    let (nothing, there) = (empty.reference("app:1"), full.reference("app:1"));
    let found = run(client.inspect(request(&nothing, &there))).unwrap();
    assert_eq!(found.name, there);
    full.forget_requests();
    let error = run(client.inspect(request(&nothing, &empty.reference("app:2")))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert!(
        chain(&error).contains("none of 2 registries has it"),
        "{}",
        chain(&error)
    );
    empty.fault(Fault::on("/manifests/", Effect::Status(400)));
    let error = run(client.inspect(request(&nothing, &there))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::BadResponse);
    assert!(full.requests().is_empty());
}

fn program(lab: &Lab, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-client"));
    let (verb, rest) = words.split_first().unwrap();
    command.arg(verb).arg("--work-dir").arg(lab.work_dir()).args(rest);
    let output = command.env_remove("CONTAINERS_REGISTRIES_CONF").output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), text.concat())
}

#[test]
fn the_command_line_reads_configurations_and_short_names() {
    let registry = Registry::start();
    registry.push("team/app", "1", &image());
    let lab = Lab::new();
    let conf = lab.path("registries.conf");
    let text = format!(
        "unqualified-search-registries = [\"a.invalid\", \"b.invalid\"]\nshort-name-mode = \"enforcing\"\n\
         [[registry]]\nprefix = \"asked.example\"\nlocation = \"{}\"\n\
         [[registry]]\nprefix = \"asked.example/bad\"\nblocked = true\n\
         [aliases]\napp = \"asked.example/team/app\"",
        registry.host()
    );
    std::fs::write(&conf, text).unwrap();
    let (conf, bundle) = (conf.to_str().unwrap(), lab.path("bundle"));
    let options = [
        "--insecure-accept-any-image",
        "--snapshotter",
        "copy",
        "--registries-conf",
        conf,
    ];
    let pull = |more: &[&str], image: &str| {
        let words = [&["pull"], &options[..], more, &[image, bundle.to_str().unwrap()]].concat();
        program(&lab, &words)
    };
    let (status, text) = pull(&[], "asked.example/bad/app");
    assert!(
        status == 1 && text.contains("blocks `asked.example/bad`"),
        "{text}"
    );
    let (status, text) = pull(&[], "busybox");
    assert!(
        status == 2 && text.contains("`a.invalid/busybox:latest`"),
        "{text}"
    );
    // The file says where it is, and not that it has no TLS.
    let (status, text) = pull(&[], "app:1");
    assert!(status == 1 && text.contains("asked.example/team/app:1"), "{text}");
    let insecure = format!(
        "[[registry]]\nprefix = \"asked.example\"\nlocation = \"{}\"\ninsecure = true",
        registry.host()
    );
    let folder = lab.path("drop-ins");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("1.conf"), insecure).unwrap();
    let more = ["--registries-conf-dir", folder.to_str().unwrap()];
    let (status, text) = pull(&more, "app:1");
    assert!(status == 1 && text.contains("TLS"), "{text}");
    let (status, text) = pull(&[&more[..], &["--obey-insecure"]].concat(), "app:1");
    assert_eq!(status, 0, "{text}");
    let (status, text) = program(&lab, &["images"]);
    assert!(status == 0 && text.contains("asked.example/team/app:1"), "{text}");
    let (status, text) = program(&lab, &["umount", bundle.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    let (status, text) = program(&lab, &["rm", "--registries-conf", conf, "app:1"]);
    assert_eq!(status, 0, "{text}");

    std::fs::write(folder.join("2.conf"), "short-name-mode = 1").unwrap();
    let (status, text) = pull(&more, "app:1");
    assert!(status == 1 && text.contains("2.conf"), "{text}");
    let (status, text) = program(&lab, &["rm", "--registries-conf", "/absent/file", "app:1"]);
    assert!(status == 1 && text.contains("/absent/file"), "{text}");
}

#[test]
fn proxies_of_options_and_environment_are_used_and_never_shown_whole() {
    let lab = Lab::new();
    let inspect = &|options: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-client"));
        command
            .arg("inspect")
            .args(options)
            .args(["-vv", "--retry", "1", "registry.invalid/app"]);
        for variable in [
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.env_remove(variable);
        }
        let output = command
            .envs(environment.iter().copied())
            .current_dir(lab.path(""))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    // Nobody listens on this port.
    let proxy = "http://u:swordfish@127.0.0.1:1";
    let refused = "no connection to the proxy `http://127.0.0.1:1`";
    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], bool);
    let cases: [Case<'_>; 6] = [
        (&["--proxy", proxy], &[], true),
        (&[], &[("HTTPS_PROXY", proxy)], true),
        (&[], &[("all_proxy", proxy)], true),
        (&["--no-proxy", "other,invalid"], &[("HTTPS_PROXY", proxy)], false),
        (&["--proxy", proxy], &[("NO_PROXY", "registry.invalid")], false),
        (&["--proxy", proxy, "--no-proxy", "*"], &[], false),
    ];
    // Each tries for some seconds.
    std::thread::scope(|scope| {
        for (options, environment, proxied) in cases {
            scope.spawn(move || {
                let text = inspect(options, environment);
                assert_eq!(
                    text.contains(refused),
                    proxied,
                    "{options:?} {environment:?}: {text}"
                );
                assert!(!text.contains("swordfish"), "{text}");
            });
        }
    });
    let text = inspect(&["--proxy", "gopher://u:swordfish@p"], &[]);
    assert!(
        text.contains("cannot use --proxy") && !text.contains("swordfish"),
        "{text}"
    );
}
