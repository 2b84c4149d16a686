// SPDX-License-Identifier: Apache-2.0
//! The contract of the command line: output, exit status, hints.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::program::{Told, command, run, run_with};
use common::{Lab, names};
use fixture::{Effect, Fault, Image, Registry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn image() -> Image {
    Image::parse("d /etc\nf /etc/motd 0644 0:0 \"hello\\n\"\n--- zstd\nf /two 0644 0:0 fill=9000").build()
}

#[test]
fn a_bundle_is_pulled_listed_and_undone() {
    let lab = Lab::new();
    let (image, name) = (image(), "oci-layout:image:latest");
    lab.layout("image", &image);
    let told = run(&lab, &format!("pull --insecure-accept-any-image {name} bundle"));
    assert_eq!(
        (told.status, told.out.trim_end()),
        (0, image.manifest.digest.as_str()),
        "{}",
        told.err
    );
    assert!(
        told.err.contains("layer 2/2 sha256:") && !told.err.contains('\x1b'),
        "{}",
        told.err
    );
    assert_eq!(
        fs::read_to_string(lab.path("bundle/rootfs/etc/motd")).unwrap(),
        "hello\n"
    );

    let told = run(&lab, "images");
    let row = told.out.lines().nth(1).unwrap();
    assert!(
        row.starts_with("oci-layout:/") && row.contains(&image.manifest.digest[..19]),
        "{}",
        told.out
    );
    assert!(
        told.out.ends_with(" on disk, shared layers counted once\n"),
        "{}",
        told.out
    );
    let listed = run(&lab, "images --json").json();
    assert_eq!(listed["images"][0]["manifest_digest"], image.manifest.digest);
    assert_eq!(listed["images"][0]["disk_bytes"], listed["disk_bytes"]);
    assert!(listed["disk_bytes"].as_u64().is_some_and(|bytes| bytes > 0));

    run(&lab, &format!("rm {name}")).fails("in use by", "umount");
    let told = run(&lab, "umount bundle");
    assert_eq!((told.status, told.out.as_str(), told.err.as_str()), (0, "", ""));
    assert!(!lab.path("bundle").exists());
    let told = run(&lab, &format!("rm {name}"));
    assert!(
        told.status == 0 && told.out.starts_with("removed 2 layers"),
        "{}{}",
        told.out,
        told.err
    );
    run(&lab, &format!("rm {name}")).fails("no image named", "image-client images");
    run(&lab, "umount bundle").fails("knows no such bundle", "--work-dir");
}

#[test]
fn json_tells_digests_timings_and_bytes() {
    let lab = Lab::new();
    let image = image();
    lab.layout("image", &image);
    let pull = "pull --insecure-accept-any-image --json --progress none oci-layout:image bundle";
    let told = run(&lab, pull);
    assert_eq!(told.err, "");
    let told = told.json();
    assert_eq!(told["manifest_digest"], image.manifest.digest);
    assert_eq!(told["layers"][1]["digest"], image.layers[1].digest);
    assert_eq!(
        told["bytes_downloaded"],
        image.layers.iter().map(|layer| layer.bytes.len()).sum::<usize>()
    );
    assert_eq!(
        told["bytes_unpacked"],
        image.tars.iter().map(Vec::len).sum::<usize>()
    );
    for stage in ["resolve", "admit", "plan", "layers", "mount", "total"] {
        assert!(told["timings_ms"][stage].as_f64().is_some(), "{told}");
    }

    let again = run(&lab, pull);
    assert_eq!(again.status, 1);
    let error = &again.json()["error"];
    assert_eq!(
        (&error["kind"], error["layer"].is_null()),
        (&Value::from("used"), true),
        "{error}"
    );
    assert!(
        error["causes"][0]
            .as_str()
            .unwrap()
            .starts_with("cannot pull `oci-layout:image`"),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("umount"), "{error}");

    let bad = Image::parse("f /x fill=5000")
        .lie(fixture::Lie::LayerBytes(0))
        .build();
    lab.layout("bad", &bad);
    let error = run(
        &lab,
        "unpack --insecure-accept-any-image --json oci-layout:bad flat",
    );
    let error = &error.json()["error"];
    assert_eq!(error["kind"], "corrupt");
    assert_eq!(
        (&error["layer"]["number"], &error["layer"]["digest"]),
        (&1.into(), &bad.layers[0].digest.as_str().into())
    );
}

#[test]
fn each_failure_has_its_words_its_hint_and_its_status() {
    let lab = Lab::new();
    lab.layout("image", &image());
    let mut table = vec![
        (
            "pull --insecure-accept-any-image oci-layout:image@sha256:00 b",
            2,
            "bad digest",
        ),
        (
            "pull --insecure-accept-any-image UPPER b",
            2,
            "bad image reference",
        ),
        (
            "pull --insecure-accept-any-image --creds nocolon x/y b",
            2,
            "--creds",
        ),
        (
            "pull --insecure-accept-any-image cimd:/x b",
            1,
            "unsupported kind of image name: `cimd:`",
        ),
        (
            "pull --insecure-accept-any-image oci-layout:absent b",
            1,
            "absent",
        ),
        (
            "pull --insecure-accept-any-image oci-layout:image:other b",
            1,
            "other",
        ),
        (
            "pull --insecure-accept-any-image --platform linux/s390x oci-layout:image b",
            1,
            "linux/s390x",
        ),
        ("pull --policy absent.json oci-layout:image b", 1, "absent.json"),
        ("pull --policy bad.json oci-layout:image b", 1, "bad.json"),
        ("pull --policy reject.json oci-layout:image b", 1, "default"),
        ("unpack --policy reject.json oci-layout:image b", 1, "default"),
    ];
    fs::write(lab.path("bad.json"), "{}").unwrap();
    fs::write(lab.path("reject.json"), r#"{"default": [{"type": "reject"}]}"#).unwrap();
    if !["/etc/containers/policy.json", "/etc/image-client/policy.json"]
        .iter()
        .any(|file| Path::new(file).exists())
    {
        table.push(("pull oci-layout:image b", 1, "--policy"));
    }
    for (words, status, text) in table {
        let told = run(&lab, words);
        assert!(
            told.status == status && told.err.contains(text),
            "{words}: {}\n{}",
            told.status,
            told.err
        );
        assert_eq!(told.out, "", "{words}");
        assert!(!lab.path("b").exists(), "{words}");
        assert!(!told.err.contains("nocolon"), "a credential is never repeated");
    }
}

#[test]
fn registries_are_reached_as_the_options_say() {
    let lab = Lab::new();
    let image = image();
    let plain = Registry::builder()
        .basic()
        .credential("user", "pass:word")
        .start();
    plain.push("demo", "latest", &image);
    let secure = Registry::builder()
        .bearer()
        .credential("user", "pass:word")
        .tls()
        .start();
    secure.push("demo", "latest", &image);
    fs::write(lab.path("ca.pem"), secure.ca_pem().unwrap()).unwrap();
    // The text of user:pass:word in base64.
    let auth = serde_json::json!({"auths": {secure.host(): {"auth": "dXNlcjpwYXNzOndvcmQ="}}});
    fs::write(lab.path("auth.json"), auth.to_string()).unwrap();
    let unpack = |options: &str, name: &str, dir: &str, input: &str| {
        run_with(
            &lab,
            &format!("unpack --insecure-accept-any-image {options} {name} {dir}"),
            input,
        )
    };
    let (http, https) = (plain.reference("demo"), secure.reference("demo"));

    unpack("", &http, "no", "").fails("cannot unpack", "--plain-http");
    unpack("--plain-http", &http, "no", "").fails("401", "--creds-stdin");
    unpack("--plain-http --creds-stdin", &http, "no", "user:wrong\n").fails("401", "--creds-stdin");
    unpack("", &https, "no", "").fails("certificate", "--ca-cert");
    assert!(!lab.path("no").exists());
    for (options, name, input) in [
        ("--plain-http --creds-stdin", &http, "user:pass:word\n"),
        ("--plain-http --creds user:pass:word", &http, ""),
        ("--ca-cert ca.pem --auth-file auth.json", &https, ""),
    ] {
        let told = unpack(options, name, "flat", input);
        assert_eq!(
            (told.status, told.out.trim_end()),
            (0, image.manifest.digest.as_str()),
            "{}",
            told.err
        );
        assert_eq!(names(&lab.path("flat")), ["etc", "two"]);
        fs::remove_dir_all(lab.path("flat")).unwrap();
    }
}

#[test]
fn credentials_are_found_where_they_usually_are() {
    let lab = Lab::new();
    let registry = Registry::builder()
        .basic()
        .credential("user", "pass:word")
        .start();
    registry.push("demo", "latest", &image());
    let auths = |entry: Value| serde_json::json!({"auths": {registry.host(): entry}}).to_string();
    let good = auths(serde_json::json!({"username": "user", "password": "pass:word"}));
    let wrong = auths(serde_json::json!({"auth": "dXNlcjp3cm9uZw=="}));
    let helped = serde_json::json!({"credHelpers": {registry.host(): "lab"}}).to_string();
    let broken = "pass:word".to_owned();
    let helper = lab.path("bin/docker-credential-lab");
    fs::create_dir(lab.path("bin")).unwrap();
    fs::write(
        &helper,
        "#!/bin/sh\necho '{\"Username\":\"user\",\"Secret\":\"pass:word\"}'\n",
    )
    .unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let places = [
        "run/containers/auth.json",
        "home/.config/containers/auth.json",
        "home/.docker/config.json",
    ];
    let none = &String::new();
    for (files, options, variable, want) in [
        ([&good, none, none], "", "", ""),
        ([none, &good, none], "", "", ""),
        ([none, none, &good], "", "", ""),
        ([&good, &wrong, &wrong], "", "", ""),
        ([none, &wrong, &good], "", "", "401"),
        ([&broken, none, &good], "", "", "run/containers/auth.json"),
        (
            [&good, none, none],
            "--auth-file run/containers/auth.json",
            "home/other.json",
            "",
        ),
        ([&wrong, none, none], "", "home/other.json", ""),
        (
            [&broken, &broken, &broken],
            "--auth-file home/other.json",
            "absent",
            "",
        ),
        ([&broken, none, none], "--creds user:pass:word", "", ""),
        ([&good, none, none], "", "absent", "absent"),
        ([&helped, none, none], "--credential-helpers", "", ""),
        ([&helped, none, none], "", "", "--credential-helpers"),
    ] {
        for (place, text) in places.iter().zip(files) {
            let path = lab.path(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            if !text.is_empty() {
                fs::write(path, text).unwrap();
            }
        }
        fs::write(lab.path("home/other.json"), &good).unwrap();
        let name = registry.reference("demo");
        let words = format!("unpack --insecure-accept-any-image --plain-http {options} {name} flat");
        let path = format!("{}:/usr/bin:/bin", lab.path("bin").display());
        let output = command(&lab, &words)
            .env("PATH", path)
            .env("REGISTRY_AUTH_FILE", variable)
            .output();
        let told = Told::of(output.unwrap());
        assert!(!told.err.contains("pass:word"), "{}", told.err);
        match want {
            "" => {
                assert_eq!(told.status, 0, "{words} {variable}: {}", told.err);
                fs::remove_dir_all(lab.path("flat")).unwrap();
            }
            want => assert!(
                told.status == 1 && told.err.contains(want),
                "{words} {variable}: {}",
                told.err
            ),
        }
    }
}

#[test]
fn inspect_shows_what_a_pull_would_take() {
    let lab = Lab::new();
    let image = image();
    lab.layout("image", &image);
    let told = run(&lab, "inspect --insecure-accept-any-image oci-layout:image");
    for text in [
        &image.manifest.digest,
        &image.layers[0].digest,
        "admitted by",
        "in 2 layers",
        "[\"/bin/sh\"]",
    ] {
        assert!(told.out.contains(text), "{text}:\n{}", told.out);
    }
    let told = run(
        &lab,
        "inspect --insecure-accept-any-image --json oci-layout:image",
    )
    .json();
    assert_eq!(told["policy"]["verdict"], "admitted");
    assert_eq!(told["config"]["config"]["Cmd"][0], "/bin/sh");
    assert!(!lab.work_dir().exists());
}

#[test]
fn looking_at_a_store_that_is_not_there_makes_none() {
    let lab = Lab::new();
    assert_eq!(
        run(&lab, "images --json").json()["images"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    run(&lab, "rm demo").fails("there is no store in", "image-client images");
    run(&lab, "umount bundle").fails("there is no store in", "");
    assert!(!lab.work_dir().exists());
}

#[test]
fn a_signal_ends_a_pull_cleanly() {
    let lab = Lab::new();
    let registry = Registry::start();
    let image = Image::parse("f /big fill=400000")
        .compression(fixture::Compression::None)
        .build();
    registry.push("demo", "latest", &image);
    registry.fault(Fault::on(&image.layers[0].digest, Effect::Stall(200_000)));
    for (signal, name, verb) in [
        (Signal::INT, "SIGINT", "pull"),
        (Signal::TERM, "SIGTERM", "unpack"),
    ] {
        let words = format!(
            "{verb} --insecure-accept-any-image --plain-http {} place",
            registry.reference("demo")
        );
        let mut child = command(&lab, &words).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("fetching, ") {
            line.clear();
            assert_ne!(
                err.read_line(&mut line).unwrap(),
                0,
                "ended before a layer was begun"
            );
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        line.clear();
        std::io::Read::read_to_string(&mut err, &mut line).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        assert!(
            line.contains(&format!("error: interrupted by a signal: `{name}`")),
            "{line}"
        );
        assert_eq!(lab.left(), (vec![], vec![], 0));
        assert_eq!(names(&lab.path("")), ["work"]);
    }
}

#[test]
fn a_store_is_kept_in_order() {
    let lab = Lab::new();
    lab.layout("image", &image());
    let name = "oci-layout:image:latest";
    let told = run(&lab, &format!("pull --insecure-accept-any-image {name} bundle"));
    assert_eq!(told.status, 0, "{}", told.err);
    let bundles = &run(&lab, "mounts --json").json()["bundles"];
    let bundle = bundles[0]["bundle"].as_str().unwrap();
    assert!(bundle.ends_with("/bundle"), "{bundle}");
    assert_eq!(
        (&bundles[0]["layers"], bundles[1].is_null()),
        (&Value::from(2), true)
    );
    let usage = run(&lab, "usage --json").json();
    assert_eq!((&usage["images"], &usage["bundles"]), (&1.into(), &1.into()));
    assert!(usage["layers_bytes"].as_u64() > Some(9000), "{usage}");

    // In use, then pinned, then free to go.
    let gc = |words: &str| run(&lab, &format!("gc --json {words}")).json()["images"].clone();
    assert_eq!(gc("--max-size 0"), Value::Array(Vec::new()));
    assert_eq!(run(&lab, "umount bundle").status, 0);
    assert_eq!(run(&lab, &format!("pin {name}")).status, 0);
    assert_eq!(gc("--older-than 0s"), Value::Array(Vec::new()));
    assert_eq!(run(&lab, &format!("unpin {name}")).status, 0);
    assert_eq!(gc("--older-than 1d"), Value::Array(Vec::new()));
    assert_eq!(gc("--older-than 0s")[1], Value::Null);
    assert_eq!(run(&lab, "usage --json").json()["layers_bytes"], 0);
    assert_eq!(
        run(&lab, "mounts --json").json()["bundles"],
        Value::Array(Vec::new())
    );
    run(&lab, &format!("pin {name}")).fails("no image named", "image-client images");
    run(&lab, "store rollback").fails("no backup", "newer version");
}
