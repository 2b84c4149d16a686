// SPDX-License-Identifier: Apache-2.0
//! What is refused, with which words, and that nothing of it stays.

mod common;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Lab, chain, names, run};
use fixture::{Effect, Fault, Image, Lie, Registry};
use image_client::{Client, ErrorKind, Event, ImageName, Progress, Request};
use tokio::sync::Notify;

const LAYERS: &str = "d /etc\nf /etc/one fill=5000\n---\nf /two fill=5000\n---\nf /three fill=5000";

/// Pulls and unpacks what must be refused; checks that only complete layers stay.
#[track_caller]
fn refused(lab: &Lab, client: &Client, image: &ImageName) -> (ErrorKind, String) {
    let others = || {
        let all = names(&lab.path("")).into_iter();
        all.filter(|name| name != "work").collect::<Vec<_>>()
    };
    let before = others();
    let error = run(client.pull(image.clone(), lab.path("bundle/deep"))).unwrap_err();
    let (staging, mounts, _) = lab.left();
    assert_eq!((staging, mounts), (vec![], vec![]), "after {}", chain(&error));
    let flat = run(client.unpack(image.clone(), lab.path("flat"))).unwrap_err();
    assert_eq!(error.kind(), flat.kind(), "{}", chain(&flat));
    fs::create_dir(lab.path("flat")).unwrap();
    run(client.unpack(image.clone(), lab.path("flat"))).unwrap_err();
    assert!(names(&lab.path("flat")).is_empty());
    fs::remove_dir(lab.path("flat")).unwrap();
    assert_eq!(others(), before, "after {}", chain(&error));
    (error.kind().clone(), chain(&error))
}

#[test]
fn an_image_that_contradicts_itself_is_refused_and_leaves_nothing() {
    let layer = |text: &str| format!("layer 2 of 3 `sha256:{text}");
    for (lie, kind, words) in [
        (Lie::LayerDigest(1), ErrorKind::Corrupt, layer("00")),
        (Lie::LayerSize(1, 1), ErrorKind::Corrupt, layer("")),
        (Lie::LayerSize(1, -1), ErrorKind::Corrupt, layer("")),
        (Lie::LayerBytes(1), ErrorKind::Corrupt, layer("")),
        (Lie::DiffId(1), ErrorKind::Corrupt, "diff_id".to_owned()),
        (
            Lie::ExtraLayer,
            ErrorKind::Document,
            "number of diff ids".to_owned(),
        ),
        (
            Lie::ExtraDiffId,
            ErrorKind::Document,
            "number of diff ids".to_owned(),
        ),
        (Lie::ConfigDigest, ErrorKind::Corrupt, "config".to_owned()),
        (Lie::ConfigSize(1), ErrorKind::Corrupt, "config".to_owned()),
        (Lie::ConfigPlatform, ErrorKind::Platform, "s390x".to_owned()),
    ] {
        let lab = Lab::new();
        let image = Image::parse(LAYERS).lie(lie).build();
        let name = lab.layout("image", &image);
        let (got, text) = refused(&lab, &lab.client(), &name);
        assert!(got == kind && text.contains(&words), "{lie:?}: {got:?}\n{text}");

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
        let (got, text) = refused(&lab, &client, &registry.reference("demo").parse().unwrap());
        assert!(
            got == kind && text.contains(&words),
            "{lie:?} in a registry: {got:?}\n{text}"
        );
    }
}

#[test]
fn the_layers_before_a_bad_one_stay_for_the_next_try() {
    let lab = Lab::new();
    let bad = lab.layout("bad", &Image::parse(LAYERS).lie(Lie::LayerBytes(2)).build());
    let good = lab.layout("good", &Image::parse(LAYERS).build());
    // One at a time, so that the bad one, the last, comes when the others are there.
    let client = lab
        .builder()
        .layers_at_once(1)
        .dangerous()
        .accept_any_image()
        .build()
        .unwrap();
    run(client.pull(bad, lab.path("bundle"))).unwrap_err();
    let pulled = run(client.pull(good, lab.path("bundle"))).unwrap();
    assert_eq!(pulled.image.layers_reused, 2);
}

#[test]
fn what_this_version_cannot_unpack_is_named_before_any_layer_is_asked_for() {
    let encrypted = |m: &mut serde_json::Value| {
        m["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".into();
        m["layers"][1]["annotations"] = serde_json::json!({"org.opencontainers.image.enc.keys.jwe": "e30="});
    };
    let bzip2 = |m: &mut serde_json::Value| {
        m["layers"][1]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+bzip2".into();
    };
    let artifact = |m: &mut serde_json::Value| m["artifactType"] = "application/vnd.example.chart".into();
    let config =
        |m: &mut serde_json::Value| m["config"]["mediaType"] = "application/vnd.example.config".into();
    for (edit, words) in [
        (&encrypted as &dyn Fn(&mut serde_json::Value), "jwe"),
        (&bzip2, "tar+bzip2"),
        (&artifact, "vnd.example.chart"),
        (&config, "vnd.example.config"),
    ] {
        let lab = Lab::new();
        let registry = Registry::start();
        let mut image = Image::parse(LAYERS).build();
        let mut manifest = image.manifest_json();
        edit(&mut manifest);
        image.manifest = fixture::Blob::json(&image.manifest.media_type, &manifest);
        registry.push("demo", "latest", &image);
        let client = lab
            .builder()
            .dangerous()
            .accept_any_image()
            .dangerous()
            .plain_http(&registry.host())
            .build()
            .unwrap();
        let (kind, text) = refused(&lab, &client, &registry.reference("demo").parse().unwrap());
        assert!(
            matches!(kind, ErrorKind::Unsupported(_)) && text.contains(words),
            "{kind:?}\n{text}"
        );
        for layer in &image.layers {
            assert!(registry.asked_for(&layer.digest).is_empty());
        }
    }
}

#[test]
fn a_used_bundle_is_refused_before_anything_is_asked() {
    let lab = Lab::new();
    let registry = Registry::start();
    registry.push("demo", "latest", &Image::parse(LAYERS).build());
    let client = lab
        .builder()
        .dangerous()
        .accept_any_image()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    let name: ImageName = registry.reference("demo").parse().unwrap();
    let bundle = lab.path("bundle");
    run(client.pull(name.clone(), &bundle)).unwrap();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    registry.forget_requests();
    let error = run(client.pull(name.clone(), &bundle)).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Used, "{}", chain(&error));
    assert!(registry.requests().is_empty());
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts);
    assert!(
        bundle.join("rootfs/two").exists(),
        "the first bundle is untouched"
    );

    fs::create_dir_all(lab.path("full/x")).unwrap();
    let error = run(client.unpack(name, lab.path("full"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Used);
    assert!(lab.path("full/x").exists());
}

#[test]
fn a_bundle_that_cannot_be_written_is_unmounted_again() {
    let lab = Lab::new();
    let image = Image::parse(LAYERS)
        .edit_config(|config| config["config"]["User"] = "nobody-here".into())
        .build();
    let name = lab.layout("image", &image);
    for snapshotter in ["overlay", "copy"] {
        let client = lab
            .builder()
            .snapshotter(snapshotter)
            .dangerous()
            .accept_any_image()
            .build()
            .unwrap();
        let error = run(client.pull(name.clone(), lab.path("bundle"))).unwrap_err();
        assert!(chain(&error).contains("nobody-here"), "{}", chain(&error));
        assert!(!lab.path("bundle").exists());
        let (staging, mounts, layers) = lab.left();
        assert_eq!((staging, mounts, layers), (vec![], vec![], 3));
        assert!(
            !fs::read_to_string("/proc/self/mounts")
                .unwrap()
                .contains(lab.path("").to_str().unwrap())
        );
    }
}

#[test]
fn the_network_is_named_as_the_cause_and_not_the_archive_it_cut() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse(LAYERS).build();
    registry.push("demo", "latest", &image);
    registry.fault(Fault::on(&image.layers[1].digest, Effect::Cut(100)));
    let client = lab
        .builder()
        .dangerous()
        .accept_any_image()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    let (kind, text) = refused(&lab, &client, &registry.reference("demo").parse().unwrap());
    assert_eq!(kind, ErrorKind::Unreachable, "{text}");
    assert!(
        text.contains("layer 2 of 3") && !text.contains("decompress"),
        "{text}"
    );
}

#[test]
fn a_full_store_is_told_with_numbers_and_emptied_again() {
    let lab = Lab::new();
    let work = lab.work_dir();
    fs::create_dir(&work).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"])
        .arg(&work)
        .status();
    assert!(mounted.unwrap().success());
    // The first fits as long as it is compressed, the second not even then.
    let zeros = Image::parse("f /zeros 0644 0:0 zero=40000000").build();
    let large = Image::parse("f /large 0644 0:0 fill=9000000")
        .compression(fixture::Compression::None)
        .build();
    for (name, image) in [("zeros", &zeros), ("large", &large)] {
        let image_name = lab.layout(name, image);
        let error = run(lab.client().pull(image_name, lab.path("bundle"))).unwrap_err();
        let size = image.layers[0].bytes.len() as u64;
        match error.kind() {
            ErrorKind::NoSpace { needed, free } => assert!(*needed == size && *free < 8 << 20, "{error:?}"),
            other => panic!("{name}: {other:?}\n{}", chain(&error)),
        }
        assert_eq!(lab.left(), (vec![], vec![], 0));
        assert!(!lab.path("bundle").exists());
    }
}

/// Tells when the first bytes of a layer have come.
#[derive(Debug, Default)]
struct Begun {
    seen: AtomicBool,
    notify: Notify,
}

impl Progress for Begun {
    fn event(&self, event: &Event) {
        if matches!(event, Event::LayerBytes { .. }) && !self.seen.swap(true, Ordering::SeqCst) {
            self.notify.notify_one();
        }
    }
}

#[test]
fn a_dropped_pull_ends_soon_and_leaves_nothing() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse("f /big fill=400000")
        .compression(fixture::Compression::None)
        .build();
    registry.push("demo", "latest", &image);
    registry.fault(Fault::on(&image.layers[0].digest, Effect::Stall(200_000)));
    let client = lab
        .builder()
        .dangerous()
        .accept_any_image()
        .dangerous()
        .plain_http(&registry.host())
        .build()
        .unwrap();
    let name: ImageName = registry.reference("demo").parse().unwrap();
    for flat in [false, true] {
        let begun = Arc::new(Begun::default());
        let request = Request::new(name.clone()).progress(Arc::clone(&begun) as _);
        // Leaving `run` waits for all threads, so a thread that did not end would hang the test.
        run(async {
            let place = lab.path("place");
            let work = async {
                match flat {
                    false => client.pull(request, &place).await.map(drop),
                    true => client.unpack(request, &place).await.map(drop),
                }
            };
            tokio::select! {
                result = work => panic!("a stalled pull ended: {result:?}"),
                () = begun.notify.notified() => {}
            }
        });
        assert_eq!(lab.left(), (vec![], vec![], 0));
        assert_eq!(names(&lab.path("")), ["work"]);
    }
}
