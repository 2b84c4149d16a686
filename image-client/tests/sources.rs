// SPDX-License-Identifier: Apache-2.0
//! All places an image can come from give the same image, and none is asked more than it must be.

mod common;

use std::fs;

use common::{Lab, chain, run};
use fixture::{Compression, Image, Index, Listing, Registry};
use image_client::{Builder, Client, Digest, ErrorKind, ImageName, Platform, Policy, Request};

const LAYERS: &str = r#"
    d /etc       0755 0:0
    f /etc/motd  0644 0:0 "below\n"
    f /bin/tool  0755 12:34 fill=70000
    --- zstd
    f /etc/motd  0600 5:6 "above\n"
    --- none
    f /bin/tool  0755 12:34 fill=300
"#;

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn open(builder: Builder, registry: &Registry) -> Client {
    let builder = builder.dangerous().accept_any_image();
    builder.dangerous().plain_http(&registry.host()).build().unwrap()
}

/// The requests since the last look, as `METHOD kind`.
fn requests(registry: &Registry) -> Vec<String> {
    let kind = |path: &str| path.split('/').rev().nth(1).unwrap_or_default().to_owned();
    let all = registry.requests();
    registry.forget_requests();
    all.iter()
        .map(|asked| format!("{} {}", asked.method, kind(&asked.path)))
        .collect()
}

#[test]
fn every_place_gives_the_same_tree() {
    let lab = Lab::new();
    let image = Image::parse(LAYERS).build();
    let docker = Image::parse(LAYERS).docker().build();
    let layout = lab.layout("layout", &image);
    fixture::write_saved(&lab.path("saved.tar"), &[("demo:1", &docker)]).unwrap();
    fixture::write_dir(&lab.path("dir"), &docker).unwrap();
    let shown = |image: ImageName, to: &str| {
        let done = run(lab.client().unpack(image, lab.path(to))).unwrap();
        (Listing::new().of(&done.dir), done.image)
    };
    let (want, _) = shown(layout, "one");
    for (number, text) in [
        format!("docker-archive:{}", lab.path("saved.tar").display()),
        format!("docker-archive:{}:demo:1", lab.path("saved.tar").display()),
        format!("docker-archive:{}:@0", lab.path("saved.tar").display()),
        format!("oci-layout:{}:@0", lab.path("layout").display()),
        format!("dir:{}", lab.path("dir").display()),
    ]
    .iter()
    .enumerate()
    {
        let (tree, told) = shown(name(text), &number.to_string());
        assert_eq!(tree, want, "{text}");
        match text.starts_with("docker-archive:") {
            true => assert_eq!(told.config_digest.to_string(), docker.config.digest),
            false => assert_eq!(told.layers.len(), 3),
        }
    }
    let absent = format!("docker-archive:{}:other", lab.path("saved.tar").display());
    let error = run(lab.client().unpack(name(&absent), lab.path("none"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert!(chain(&error).contains("`demo:1` (@0)"), "{}", chain(&error));
    let colon = lab.path("with:colon.tar");
    fs::copy(lab.path("saved.tar"), &colon).unwrap();
    std::os::unix::fs::symlink(&colon, lab.path("link.tar")).unwrap();
    let link = format!("docker-archive:{}", lab.path("link.tar").display());
    let error = run(lab.client().inspect(name(&link))).unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unsupported(_)),
        "{}",
        chain(&error)
    );
}

#[test]
fn a_saved_image_whose_layers_are_others_is_refused() {
    let lab = Lab::new();
    let mut image = Image::parse(LAYERS).docker().build();
    image.tars[1][600] ^= 1;
    fixture::write_saved(&lab.path("saved.tar"), &[("demo:1", &image)]).unwrap();
    let saved = name(&format!("docker-archive:{}", lab.path("saved.tar").display()));
    let error = run(lab.client().unpack(saved, lab.path("flat"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Corrupt);
    assert!(chain(&error).contains("diff_id is not"), "{}", chain(&error));
    assert!(!lab.path("flat").exists());
}

#[test]
fn policies_know_the_other_places_by_their_own_names() {
    let lab = Lab::new();
    let image = Image::parse(LAYERS).docker().build();
    fixture::write_saved(&lab.path("saved.tar"), &[("demo:1", &image)]).unwrap();
    fixture::write_dir(&lab.path("dir"), &image).unwrap();
    let dir = lab.path("dir");
    let policy = serde_json::json!({
        "default": [{"type": "reject"}],
        "transports": {
            "dir": {(dir.to_str().unwrap()): [{"type": "insecureAcceptAnything"}]},
            "docker-archive": {"": [{"type": "insecureAcceptAnything"}]},
        },
    });
    let policy = Policy::parse(policy.to_string().as_bytes()).unwrap();
    let client = lab.builder().policy(policy).build().unwrap();
    let saved = name(&format!(
        "docker-archive:{}:demo:1",
        lab.path("saved.tar").display()
    ));
    run(client.unpack(saved, lab.path("one"))).unwrap();
    run(client.unpack(name(&format!("dir:{}", dir.display())), lab.path("two"))).unwrap();
    fs::rename(&dir, lab.path("moved")).unwrap();
    let moved = name(&format!("dir:{}", lab.path("moved").display()));
    let error = run(client.unpack(moved, lab.path("three"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
}

#[test]
fn a_cached_image_costs_one_head_by_tag_and_nothing_by_digest() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse(LAYERS).build();
    registry.push("demo", "latest", &image);
    let tag = name(&registry.reference("demo"));
    let pinned = name(&format!(
        "{}@{}",
        registry.reference("demo"),
        image.manifest.digest
    ));
    run(open(lab.builder(), &registry).pull(tag.clone(), lab.path("one"))).unwrap();
    assert_eq!(
        requests(&registry),
        [
            "GET manifests",
            "GET blobs",
            "GET blobs",
            "GET blobs",
            "GET blobs"
        ]
    );
    // By another client, as after a restart.
    let client = open(lab.builder(), &registry);
    for (number, (image, want)) in [(&tag, vec!["HEAD manifests"]), (&pinned, vec![])]
        .into_iter()
        .enumerate()
    {
        let pulled = run(client.pull(image.clone(), lab.path(&format!("again{number}")))).unwrap();
        assert_eq!(requests(&registry), want);
        assert_eq!(pulled.image.bytes_downloaded, 0);
    }
    // A tag that has moved costs the HEAD and what is new.
    let newer = Image::parse(&format!("{LAYERS}\n--- none\nf /new 0644 0:0 \"new\"")).build();
    registry.push("demo", "latest", &newer);
    let pulled = run(client.pull(tag.clone(), lab.path("newer"))).unwrap();
    assert_eq!(pulled.image.manifest_digest.to_string(), newer.manifest.digest);
    assert_eq!(
        requests(&registry),
        ["HEAD manifests", "GET manifests", "GET blobs", "GET blobs"]
    );
    // A registry that is away does not make an old image of a new one.
    drop(registry);
    let patient = client.pull(tag, lab.path("away"));
    assert_eq!(*run(patient).unwrap_err().kind(), ErrorKind::Unreachable);
}

#[test]
fn a_cached_index_costs_one_head_for_the_platform_that_was_pulled() {
    let lab = Lab::new();
    let registry = Registry::start();
    let own = Image::parse("f /own").build();
    let other = Image::parse("f /other").platform("linux/s390x").build();
    registry.push("demo", "latest", &Index::new().image(&other).image(&own));
    let client = open(lab.builder(), &registry);
    let tag = name(&registry.reference("demo"));
    run(client.pull(tag.clone(), lab.path("one"))).unwrap();
    requests(&registry);
    let pulled = run(client.pull(tag.clone(), lab.path("two"))).unwrap();
    assert_eq!(requests(&registry), ["HEAD manifests"]);
    assert_ne!(pulled.image.top_digest, pulled.image.manifest_digest);
    let elsewhere: Platform = "linux/s390x".parse().unwrap();
    let request = Request::new(tag.clone()).platform(elsewhere);
    let foreign = run(client.pull(request, lab.path("three"))).unwrap();
    assert!(foreign.rootfs.join("other").exists());
    assert_eq!(
        requests(&registry),
        ["GET manifests", "GET manifests", "GET blobs", "GET blobs"]
    );
    // The store now knows the name for that platform, and has the layers of both.
    let back = run(client.pull(tag, lab.path("four"))).unwrap();
    assert!(back.rootfs.join("own").exists());
    assert_eq!(
        requests(&registry),
        ["GET manifests", "GET manifests", "GET blobs"]
    );
}

#[test]
fn a_better_platform_of_a_known_index_is_not_missed() {
    let lab = Lab::new();
    let registry = Registry::start();
    let first = Image::parse("f /v1").platform("linux/amd64").build();
    let third = Image::parse("f /v3").platform("linux/amd64/v3").build();
    registry.push("demo", "latest", &Index::new().image(&first).image(&third));
    let client = open(lab.builder(), &registry);
    let pull = |platform: &str, to: &str| {
        let request = Request::new(name(&registry.reference("demo"))).platform(platform.parse().unwrap());
        run(client.pull(request, lab.path(to))).unwrap().rootfs
    };
    assert!(pull("linux/amd64", "one").join("v1").exists());
    assert!(pull("linux/amd64/v3", "two").join("v3").exists());
}

#[test]
fn the_policy_is_asked_before_a_tag_is_believed() {
    let lab = Lab::new();
    let registry = Registry::start();
    registry.push("demo", "latest", &Image::parse(LAYERS).build());
    let tag = name(&registry.reference("demo"));
    run(open(lab.builder(), &registry).pull(tag.clone(), lab.path("one"))).unwrap();
    requests(&registry);
    let reject = Policy::parse(br#"{"default": [{"type": "reject"}]}"#).unwrap();
    let strict = lab
        .builder()
        .policy(reject)
        .dangerous()
        .plain_http(&registry.host());
    let error = run(strict.build().unwrap().pull(tag, lab.path("two"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Refused);
    assert_eq!(requests(&registry), ["HEAD manifests"]);
}

#[test]
fn a_blocking_client_does_what_the_other_does() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse(LAYERS).compression(Compression::Zstd).build();
    registry.push("demo", "latest", &image);
    registry.push("demo", "old", &image);
    let client = image_client::blocking::Client::new(open(lab.builder(), &registry)).unwrap();
    let tag = name(&registry.reference("demo"));
    let manifest = client.manifest(tag.clone()).unwrap();
    assert_eq!(manifest.bytes, image.manifest.bytes);
    assert_eq!(manifest.digest.to_string(), image.manifest.digest);
    assert_eq!(
        manifest.media_type.as_deref(),
        Some(image.manifest.media_type.as_str())
    );
    let digest: Digest = image.layers[0].digest.parse().unwrap();
    let mut blob = Vec::new();
    assert_eq!(
        client.blob(tag.clone(), &digest, &mut blob).unwrap(),
        blob.len() as u64
    );
    assert_eq!(blob, image.layers[0].bytes);
    assert_eq!(
        client.tags(tag.clone(), &Default::default()).unwrap(),
        ["latest", "old"]
    );
    assert!(client.referrers(tag.clone(), None).unwrap().is_empty());
    assert_eq!(client.inspect(tag.clone()).unwrap().layers.len(), 3);
    let error = client
        .blob(tag.clone(), &Digest::sha256(b"none"), Vec::new())
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    // From several threads at once.
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (client, tag) = (&client, tag.clone());
            let bundle = lab.path(&format!("bundle{number}"));
            scope.spawn(move || {
                client.pull(tag, &bundle).unwrap();
                assert!(bundle.join("rootfs/etc/motd").exists());
                client.unmount(&bundle).unwrap();
            });
        }
    });
    assert_eq!(client.images().unwrap().len(), 1);
    client.remove(&tag).unwrap();
    assert_eq!(client.images().unwrap().len(), 0);
}
