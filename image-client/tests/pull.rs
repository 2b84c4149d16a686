// SPDX-License-Identifier: Apache-2.0
//! What a pull brings: bundles, reuse, order.

mod common;

use std::fs;

use common::{Lab, names, run, snapshotters};
use fixture::{Image, Index, Listing, Registry};
use image_client::{ErrorKind, ImageName, Policy, Request};
use image_spec::{Algorithm, Digest};

/// Layers whose order, whiteouts and links all matter.
const LAYERS: &str = r#"
    d /          0755 0:0
    d /etc       0755 0:0
    f /etc/motd  0644 0:0 "below\n"
    f /etc/gone  0644 0:0 "below\n"
    d /cache     0755 0:0
    f /cache/old 0644 0:0 "old\n"
    f /bin/tool  0755 12:34 fill=70000
    --- zstd
    f /etc/motd  0600 5:6 "above\n"
    w /etc/gone
    o /cache
    f /cache/new 0644 0:0 "new\n"
    --- none
    l /bin/sh -> tool
    h /bin/same -> /bin/tool
"#;

fn shown(dir: impl AsRef<std::path::Path>) -> String {
    Listing::new().without_times().of(dir)
}

#[test]
fn all_ways_give_the_same_root_filesystem() {
    let lab = Lab::new();
    let image = lab.layout("image", &Image::parse(LAYERS).build());
    let flat = lab.path("flat");
    run(lab.client().unpack(image.clone(), &flat)).unwrap();
    let want = shown(&flat);
    assert!(
        want.contains("./etc/motd file 0600 5:6 6 ") && !want.contains("gone") && !want.contains("old"),
        "{want}"
    );
    let snapshotters = snapshotters("all_ways_give_the_same_root_filesystem");
    for name in &snapshotters {
        let client = lab.client_with(name);
        let bundle = lab.path(name);
        let pulled = run(client.pull(image.clone(), &bundle)).unwrap();
        assert_eq!((pulled.snapshotter, &pulled.bundle), (*name, &bundle));
        assert_eq!(shown(&pulled.rootfs), want, "{name}");
        let config: serde_json::Value =
            serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        assert_eq!(config["process"]["args"], serde_json::json!(["/bin/sh"]));
        // The container may write, and that stays its own.
        fs::write(pulled.rootfs.join("etc/motd"), "written").unwrap();
        run(client.unmount(&bundle)).unwrap();
        assert!(!bundle.exists(), "{name}");
    }
    let forms = if snapshotters.contains(&"erofs") { 2 } else { 1 };
    assert_eq!(lab.left(), (vec![], vec![], 3 * forms));
}

#[test]
fn formats_of_docker_and_archives_are_pulled_too() {
    let lab = Lab::new();
    let image = Image::parse(LAYERS).docker().build();
    let archive = lab.path("image.tar");
    fixture::write_archive(&archive, &[("", &image)]).unwrap();
    let registry = Registry::start();
    registry.push("demo", "latest", &image);
    let client = lab
        .builder()
        .dangerous()
        .accept_any_image()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    for (number, name) in [
        format!("oci-archive:{}", archive.display()),
        registry.reference("demo"),
    ]
    .iter()
    .enumerate()
    {
        let pulled =
            run(client.pull(name.parse::<ImageName>().unwrap(), lab.path(&number.to_string()))).unwrap();
        assert_eq!(pulled.image.manifest_digest.to_string(), image.manifest.digest);
        assert_eq!(pulled.image.layers_reused, if number == 0 { 0 } else { 3 });
    }
}

#[test]
fn a_repeated_layer_keeps_its_places_and_is_fetched_once() {
    let lab = Lab::new();
    let registry = Registry::start();
    let a = r#"f /x 0644 0:0 "a""#;
    let b = r#"f /x 0644 0:0 "b""#;
    let image = Image::parse(&format!("{a}\n---\n{b}\n---\n{a}")).build();
    registry.push("demo", "latest", &image);
    let name: ImageName = registry.reference("demo").parse().unwrap();
    for snapshotter in snapshotters("a_repeated_layer_keeps_its_places_and_is_fetched_once") {
        let lab = Lab::new();
        let builder = lab.builder().snapshotter(snapshotter);
        let client = plain_http(builder, &registry);
        registry.forget_requests();
        let pulled = run(client.pull(name.clone(), lab.path("bundle"))).unwrap();
        assert_eq!(fs::read_to_string(pulled.rootfs.join("x")).unwrap(), "a");
        let reused: Vec<bool> = pulled.image.layers.iter().map(|layer| layer.reused).collect();
        assert_eq!(reused, [false, false, true]);
        assert_eq!(registry.asked_for(&image.layers[0].digest).len(), 1);
    }
    let client = registry_client(&lab, &registry);
    run(client.unpack(name, lab.path("flat"))).unwrap();
    assert_eq!(fs::read_to_string(lab.path("flat/x")).unwrap(), "a");
}

fn registry_client(lab: &Lab, registry: &Registry) -> image_client::Client {
    plain_http(lab.builder(), registry)
}

fn plain_http(builder: image_client::Builder, registry: &Registry) -> image_client::Client {
    builder
        .dangerous()
        .accept_any_image()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap()
}

#[test]
fn what_the_store_has_is_not_asked_for_again() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse(LAYERS).build();
    registry.push("demo", "latest", &image);
    let client = registry_client(&lab, &registry);
    let name: ImageName = registry.reference("demo").parse().unwrap();
    let first = run(client.pull(name.clone(), lab.path("one"))).unwrap();
    assert_eq!(
        first.image.bytes_downloaded,
        image.layers.iter().map(|l| l.bytes.len() as u64).sum::<u64>()
    );
    assert_eq!(
        first.image.bytes_unpacked,
        image.tars.iter().map(|t| t.len() as u64).sum::<u64>()
    );

    registry.forget_requests();
    let second = run(client.pull(name, lab.path("two"))).unwrap();
    assert_eq!(
        (second.image.bytes_downloaded, second.image.layers_reused),
        (0, 3)
    );
    assert_eq!(registry.asked_for("/blobs/"), Vec::<String>::new());

    // By digest not even the registry is needed; a fresh client knows it from the store alone.
    let pinned: ImageName = format!("{}@{}", registry.reference("demo"), image.manifest.digest)
        .parse()
        .unwrap();
    // Nor by its digest in another algorithm, which was computed when it came.
    let other = Digest::of(Algorithm::Sha512, &image.manifest.bytes);
    let other: ImageName = format!("{}@{other}", registry.reference("demo")).parse().unwrap();
    drop(registry);
    for (name, bundle) in [(pinned, "three"), (other, "four")] {
        let again = run(lab.client().pull(name, lab.path(bundle))).unwrap();
        assert_eq!(again.image.manifest_digest, first.image.manifest_digest);
    }
}

#[test]
fn an_image_known_by_its_index_needs_no_network_either() {
    let lab = Lab::new();
    let registry = Registry::start();
    let own = Image::parse("f /own").build();
    let other = Image::parse("f /other").platform("linux/s390x").build();
    let index = Index::new().image(&other).image(&own);
    registry.push("demo", "latest", &index);
    let client = registry_client(&lab, &registry);
    let first = run(client.pull(
        registry.reference("demo").parse::<ImageName>().unwrap(),
        lab.path("one"),
    ))
    .unwrap();
    assert_ne!(first.image.top_digest, first.image.manifest_digest);
    let name = format!("{}@{}", registry.reference("demo"), first.image.top_digest);
    let pinned: ImageName = name.parse().unwrap();
    registry.forget_requests();
    // Another platform of the same index is another image.
    let request = Request::new(pinned.clone()).platform("linux/s390x".parse().unwrap());
    let foreign = run(client.pull(request, lab.path("two"))).unwrap();
    assert!(foreign.rootfs.join("other").exists() && !registry.requests().is_empty());

    drop(registry);
    let again = run(client.pull(pinned, lab.path("three"))).unwrap();
    assert!(again.rootfs.join("own").exists());
}

#[test]
fn the_policy_is_asked_also_for_what_is_in_the_store() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse(LAYERS).build();
    registry.push("demo", "latest", &image);
    let name = registry.reference("demo");
    let pinned = format!("{name}@{}", image.manifest.digest);
    run(registry_client(&lab, &registry).pull(name.parse::<ImageName>().unwrap(), lab.path("one"))).unwrap();

    let reject = Policy::parse(br#"{"default": [{"type": "reject"}]}"#).unwrap();
    let strict = lab
        .builder()
        .policy(reject)
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    registry.forget_requests();
    for name in [name, pinned] {
        let error = run(strict.pull(name.parse::<ImageName>().unwrap(), lab.path("two"))).unwrap_err();
        assert_eq!(*error.kind(), ErrorKind::Refused, "{name}");
        assert!(!lab.path("two").exists());
    }
    assert_eq!(registry.asked_for("/blobs/"), Vec::<String>::new());
}

#[test]
fn without_a_policy_nothing_is_asked_for() {
    let lab = Lab::new();
    let registry = Registry::start();
    registry.push("demo", "latest", &Image::parse(LAYERS).build());
    let client = lab
        .builder()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    let name: ImageName = registry.reference("demo").parse().unwrap();
    let error = run(client.pull(name.clone(), lab.path("bundle"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoPolicy);
    let error = run(client.unpack(name, lab.path("flat"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NoPolicy);
    assert!(registry.requests().is_empty());
    assert!(!lab.path("bundle").exists() && !lab.path("flat").exists());
}

#[test]
fn pulls_at_the_same_time_share_each_fetch() {
    let lab = Lab::new();
    let registry = Registry::start();
    let base = r#"f /base 0644 0:0 fill=300000"#;
    let images: Vec<Image> = (0..4)
        .map(|n| Image::parse(&format!("{base}\n---\nf /own{n} 0644 0:0 fill=1000{n}")).build())
        .collect();
    for (number, image) in images.iter().enumerate() {
        registry.push(&format!("demo{number}"), "latest", image);
    }
    // Two clients stand for two processes: nothing but the store is common to them.
    let clients = [registry_client(&lab, &registry), registry_client(&lab, &registry)];
    run(async {
        let mut pulls = tokio::task::JoinSet::new();
        for number in 0..4 {
            let client = clients[number % 2].clone();
            let name: ImageName = registry.reference(&format!("demo{number}")).parse().unwrap();
            let bundle = lab.path(&format!("bundle{number}"));
            pulls.spawn(async move { client.pull(name, bundle).await.map(|pulled| (number, pulled)) });
        }
        while let Some(pulled) = pulls.join_next().await {
            let (number, pulled) = pulled.unwrap().unwrap();
            let want = ["base".to_owned(), format!("own{number}")];
            assert_eq!(names(&pulled.rootfs), want);
        }
    });
    assert_eq!(registry.asked_for(&images[0].layers[0].digest).len(), 1);
}

#[test]
fn images_are_listed_and_removed_but_not_from_under_a_bundle() {
    let lab = Lab::new();
    let client = lab.client();
    let image = lab.layout("image", &Image::parse(LAYERS).build());
    assert!(run(client.images()).unwrap().is_empty());
    let pulled = run(client.pull(image.clone(), lab.path("bundle"))).unwrap();
    let images = run(client.images()).unwrap();
    assert_eq!(
        (images.len(), images[0].layers, images[0].name.as_str()),
        (1, 3, image.to_string().as_str())
    );
    assert!(images[0].disk_bytes >= 70_000, "{:?}", images[0]);
    assert_eq!(run(client.disk_bytes()).unwrap(), images[0].disk_bytes);
    assert_eq!(images[0].manifest_digest, pulled.image.manifest_digest);

    let error = run(client.remove(&image)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Busy);
    run(client.unmount(lab.path("bundle"))).unwrap();
    assert_eq!(
        *run(client.unmount(lab.path("bundle"))).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(run(client.remove(&image)).unwrap().layers, 3);
    assert_eq!(
        *run(client.remove(&image)).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(lab.left(), (vec![], vec![], 0));
    assert_eq!(run(client.disk_bytes()).unwrap(), 0);
}

#[test]
fn unmounting_gives_back_only_what_the_pull_made() {
    let lab = Lab::new();
    let client = lab.client();
    let image = lab.layout("image", &Image::parse(LAYERS).build());
    let bundle = lab.path("mine/bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    fs::write(bundle.join("notes"), "mine").unwrap();
    run(client.pull(image, &bundle)).unwrap();
    assert_eq!(names(&bundle), ["config.json", "notes", "rootfs"]);
    run(client.unmount(&bundle)).unwrap();
    assert_eq!(names(&bundle), ["notes", "rootfs"]);
    assert!(names(&bundle.join("rootfs")).is_empty());
}

#[test]
fn an_image_is_shown_before_it_is_pulled() {
    let lab = Lab::new();
    let image = Image::parse(LAYERS).build();
    let other = Image::parse("f /other").platform("linux/s390x").build();
    let name = lab.layout("image", &Index::new().image(&other).image(&image));
    let seen = run(lab.builder().build().unwrap().inspect(name.clone())).unwrap();
    assert_eq!(seen.policy, image_client::PolicySays::NoPolicy);
    assert_eq!(
        (seen.platforms.len(), seen.layers.len(), seen.obstacle),
        (2, 3, None)
    );
    assert_eq!(seen.manifest_digest.to_string(), image.manifest.digest);
    let reject = Policy::parse(br#"{"default": [{"type": "reject"}]}"#).unwrap();
    let seen = run(lab.builder().policy(reject).build().unwrap().inspect(name)).unwrap();
    assert!(matches!(seen.policy, image_client::PolicySays::Refused { .. }));
    assert!(
        !lab.work_dir().exists(),
        "nothing is kept, not even an empty store"
    );
}
