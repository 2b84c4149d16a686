// SPDX-License-Identifier: Apache-2.0
//! The commands that show what a source has.

mod common;

use std::fs;

use common::program::run;
use common::{Lab, names};
use fixture::{Effect, Fault, Image, Index, Registry};
use serde_json::json;

fn image() -> Image {
    Image::parse("f /a fill=3000\n---\nf /b 0644 0:0 \"b\"").build()
}

#[test]
fn a_manifest_is_printed_byte_for_byte() {
    let lab = Lab::new();
    let registry = Registry::start();
    let own = image();
    let other = Image::parse("f /other").platform("linux/s390x").build();
    let index = Index::new().image(&other).image(&own);
    registry.push("demo", "latest", &index);
    lab.layout("layout", &own);
    fixture::write_dir(&lab.path("dir"), &own).unwrap();
    let top = fixture::Published::top(&index);
    let place = format!("--plain-http {}", registry.reference("demo"));
    for (words, want) in [
        (place.clone(), top),
        (format!("--platform linux/s390x {place}"), &other.manifest),
        (format!("{place}@{}", own.manifest.digest), &own.manifest),
        ("oci-layout:layout:latest".to_owned(), &own.manifest),
        ("dir:dir".to_owned(), &own.manifest),
    ] {
        let told = run(&lab, &format!("manifest {words}"));
        assert_eq!(
            (told.status, told.out.as_bytes()),
            (0, &want.bytes[..]),
            "{words}: {}",
            told.err
        );
        let told = run(&lab, &format!("manifest --digest {words}"));
        assert_eq!(told.out, format!("{}\n", want.digest), "{words}");
        let told = run(&lab, &format!("manifest --json {words}")).json();
        assert_eq!(told["digest"], want.digest, "{words}");
        assert_eq!(
            told["manifest"],
            serde_json::from_slice::<serde_json::Value>(&want.bytes).unwrap()
        );
    }
    // No policy and no store have a part in it.
    assert!(!lab.work_dir().exists());
    let told = run(&lab, &format!("manifest {place}:absent"));
    told.fails("cannot show the manifest of", "check the name and tag");
}

#[test]
fn a_blob_is_printed_or_written_when_it_is_whole() {
    let lab = Lab::new();
    let registry = Registry::start();
    // Text, for what a test can read.
    let image = Image::parse("f /a fill=3000")
        .compression(fixture::Compression::None)
        .build();
    registry.push("demo", "latest", &image);
    let name = format!("--plain-http {}", registry.reference("demo"));
    let (config, layer) = (&image.config, &image.layers[0]);
    let told = run(&lab, &format!("blob {name} {}", config.digest));
    assert_eq!(
        (told.status, told.out.as_bytes()),
        (0, &config.bytes[..]),
        "{}",
        told.err
    );
    let told = run(&lab, &format!("blob {name} {} -o layer --json", layer.digest)).json();
    assert_eq!(
        told,
        json!({"digest": layer.digest, "size": layer.bytes.len(), "file": "layer"})
    );
    assert_eq!(fs::read(lab.path("layer")).unwrap(), layer.bytes);
    assert_eq!(names(&lab.path("")), ["layer"]);

    registry.fault(Fault::on(
        &layer.digest,
        Effect::Replace(vec![b'x'; layer.bytes.len()]),
    ));
    let told = run(&lab, &format!("blob {name} {} -o layer", layer.digest));
    told.fails("another digest", "broken or hostile");
    assert_eq!(fs::read(lab.path("layer")).unwrap(), layer.bytes);
    assert_eq!(names(&lab.path("")), ["layer"]);
    registry.heal();
    for (words, status, text) in [
        (format!("blob {name} sha256:00"), 2, "not a digest"),
        (format!("blob {name} --json {}", layer.digest), 2, "-o FILE"),
        (
            format!("blob {name} sha256:{}", "0".repeat(64)),
            1,
            "fetch a blob of",
        ),
        (
            format!("blob {name} {} -o no/such/folder", layer.digest),
            1,
            "no/such/folder",
        ),
    ] {
        let told = run(&lab, &words);
        assert!(
            told.status == status && told.err.contains(text),
            "{words}: {}",
            told.err
        );
    }
}

#[test]
fn tags_and_names_are_listed_one_a_line() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = image();
    for tag in ["v1", "v2", "v3", "latest"] {
        registry.push("demo", tag, &image);
    }
    let place = format!("--plain-http {}", registry.reference("demo"));
    assert_eq!(run(&lab, &format!("tags {place}")).out, "latest\nv1\nv2\nv3\n");
    assert_eq!(run(&lab, &format!("tags -n 2 {place}")).out, "latest\nv1\n");
    assert_eq!(
        run(&lab, &format!("tags --json -n 1 {place}")).json(),
        json!({"tags": ["latest"]})
    );
    fixture::write_layout(&lab.path("layout"), &[("b", &image), ("a", &image)]).unwrap();
    assert_eq!(run(&lab, "tags oci-layout:layout").out, "a\nb\n");
    assert_eq!(run(&lab, "tags --last a oci-layout:layout").out, "b\n");
    fixture::write_saved(&lab.path("x.tar"), &[("busybox:1", &image)]).unwrap();
    assert_eq!(run(&lab, "tags docker-archive:x.tar").out, "busybox:1\n");
    run(&lab, &format!("tags {place}x")).fails("cannot list the tags of", "check the name");
}

#[test]
fn referrers_are_listed_with_their_types() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = image();
    registry.push("demo", "latest", &image);
    let place = format!("--plain-http {}", registry.reference("demo"));
    assert_eq!(run(&lab, &format!("referrers {place}")).out, "");
    let mut entry = image.config.descriptor();
    entry["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    entry["artifactType"] = "text/spdx".into();
    let tag = image.manifest.digest.replace(':', "-");
    registry.push("demo", &tag, &Index::new().entry(entry));
    let told = run(&lab, &format!("referrers {place}"));
    let words: Vec<&str> = told.out.split_whitespace().collect();
    assert_eq!(words[..2], [&image.config.digest, "text/spdx"], "{}", told.err);
    let none = run(&lab, &format!("referrers --artifact-type text/other {place}"));
    assert_eq!((none.status, none.out.as_str()), (0, ""));
    let told = run(&lab, &format!("referrers --json {place}")).json();
    assert_eq!(told["referrers"][0]["digest"], image.config.digest);
}

#[test]
fn options_for_networks_reach_the_network() {
    let lab = Lab::new();
    let registry = Registry::start();
    registry.push("demo", "latest", &image());
    let name = format!("--plain-http {}", registry.reference("demo"));
    let count = || {
        let count = registry.requests().len();
        registry.forget_requests();
        count
    };
    registry.fault(Fault::on("/manifests/", Effect::Status(503)));
    run(&lab, &format!("manifest --retry 0 {name}")).fails("503", "");
    assert_eq!(count(), 1);
    run(&lab, &format!("manifest --retry 2 {name}")).fails("tried 3 times", "");
    assert_eq!(count(), 3);
    registry.heal();
    registry.fault(Fault::on("/manifests/", Effect::Stall(10)));
    let start = std::time::Instant::now();
    let told = run(&lab, &format!("manifest --retry 0 --idle-timeout 1 {name}"));
    told.fails("1s", "");
    assert!(start.elapsed().as_secs() < 20);
}
