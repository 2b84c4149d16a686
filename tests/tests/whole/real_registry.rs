// SPDX-License-Identifier: Apache-2.0
//! Real images from Debian's docker-registry.

use fixture::{is_root, lab_image};

use crate::peers::{self, Containerd, Lines, lines};
use crate::place::{Place, Run, has_tool, snapshotters};
use crate::server::{Options, PASSWORD, Server, USER};

/// Our tree of an image in every form there is; fails unless all are the same.
#[track_caller]
fn ours(place: &Place, options: &[&str], image: &str) -> Lines {
    let mut trees = Vec::new();
    for snapshotter in snapshotters("a form of an image's tree") {
        place
            .pull(
                &[options, &["--snapshotter", snapshotter]].concat(),
                image,
                snapshotter,
            )
            .ok();
        trees.push((snapshotter, fixture::tree(place.rootfs(snapshotter))));
        place.run("umount", [place.path(snapshotter)]).ok();
    }
    let mut command = place.command("unpack");
    command.args(options).arg(image).arg(place.path("flat"));
    Run::of(&mut command).ok();
    let flat = fixture::tree(place.path("flat"));
    std::fs::remove_dir_all(place.path("flat")).expect("remove the flat tree");
    for (snapshotter, tree) in trees {
        same(image, snapshotter, &tree, &flat);
    }
    place.assert_clean();
    lines(&flat)
}

/// Compares two listings. Overlayfs shows the link count of the layer that has the file, whatever
/// names other layers have taken away, so counts are compared for the other forms only.
#[track_caller]
fn same(image: &str, form: &str, tree: &str, flat: &str) {
    let comparable = |tree: &str| {
        let mut lines = lines(tree);
        if form == "overlay" {
            for line in lines.values_mut() {
                let words = line
                    .split(' ')
                    .filter(|word| !word.starts_with("links=") && !word.starts_with("same="));
                *line = words.collect::<Vec<_>>().join(" ");
            }
        }
        lines
    };
    let (tree, flat) = (comparable(tree), comparable(flat));
    for name in tree.keys().chain(flat.keys()) {
        assert_eq!(
            tree.get(name),
            flat.get(name),
            "{image}: {name}: {form} and unpack"
        );
    }
}

#[test]
fn trees_equal_those_of_umoci_and_containerd_where_these_agree() {
    let test = "trees_equal_those_of_umoci_and_containerd_where_these_agree";
    if !is_root(test) || !has_tool(test, "umoci") || !has_tool(test, "ctr") || !has_tool(test, "containerd") {
        return;
    }
    let Some(server) = Server::start(test, Options::default()) else {
        return;
    };
    let containerd = Containerd::start();
    for name in [
        "tiny/gzip",
        "tiny/tar",
        "whiteouts/tar",
        "whiteouts/links",
        "whiteouts/sparse-pax",
        "whiteouts/sparse-gnu",
        "whiteouts/buildah",
        "whiteouts/umoci",
        "debian",
        "ml/gzip",
    ] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        server.push_layout(&folder, name);
        let image = server.image(&format!("{name}:latest"));
        let place = Place::new();
        let ours = ours(&place, &["--plain-http"], &image);
        // Either may refuse what the other takes; then the other's word is compared alone.
        let (umoci, ctr) = (peers::umoci(&folder), containerd.tree(&image));
        match (umoci, ctr) {
            (Some(umoci), Some(ctr)) => peers::assert_agrees(name, &ours, &umoci, &ctr),
            (Some(one), None) | (None, Some(one)) => peers::assert_agrees(name, &ours, &one, &one),
            // GNU's old sparse form, which neither reads: `whiteouts/sparse-pax` has the same content.
            (None, None) => assert_eq!(name, "whiteouts/sparse-gnu", "both peers refuse {name}"),
        }
    }
}

#[test]
fn every_form_of_an_image_is_the_same_tree() {
    let test = "every_form_of_an_image_is_the_same_tree";
    if !is_root(test) {
        return;
    }
    let Some(server) = Server::start(test, Options::default()) else {
        return;
    };
    let Some(gzip) = lab_image(test, "tiny/gzip") else {
        return;
    };
    server.push_layout(&gzip, "tiny/gzip");
    let want = ours(&Place::new(), &["--plain-http"], &server.image("tiny/gzip"));
    for name in ["tiny/zstd", "tiny/zstd-chunked", "tiny/tar", "tiny/docker"] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        match name {
            "tiny/docker" => server.push(&format!("dir:{}", folder.display()), name),
            _ => server.push_layout(&folder, name),
        }
        assert_eq!(
            ours(&Place::new(), &["--plain-http"], &server.image(name)),
            want,
            "{name}"
        );
    }
    for (one, other) in [
        ("whiteouts/sparse-pax", "whiteouts/sparse-gnu"),
        ("ml/gzip", "ml/zstd"),
    ] {
        let (Some(one), Some(other)) = (lab_image(test, one), lab_image(test, other)) else {
            continue;
        };
        let tree = |folder: &std::path::Path| {
            server.push_layout(folder, "other");
            let mut lines = ours(&Place::new(), &["--plain-http"], &server.image("other"));
            // GNU's own form of archives has whole seconds only.
            for line in lines.values_mut() {
                *line = line
                    .split(' ')
                    .filter(|word| !is_time(word))
                    .collect::<Vec<_>>()
                    .join(" ");
            }
            lines
        };
        assert_eq!(tree(&one), tree(&other), "{}", other.display());
    }
}

/// Seconds and nine digits of nanoseconds.
fn is_time(word: &str) -> bool {
    word.split_once('.')
        .is_some_and(|(s, n)| n.len() == 9 && s.parse::<i64>().is_ok() && n.parse::<u32>().is_ok())
}

#[test]
fn an_index_gives_each_platform_its_own_image() {
    let test = "an_index_gives_each_platform_its_own_image";
    if !is_root(test) {
        return;
    }
    let Some(server) = Server::start(test, Options::default()) else {
        return;
    };
    let (Some(multi), Some(arm)) = (lab_image(test, "tiny/multi"), lab_image(test, "tiny/arm64")) else {
        return;
    };
    server.push_layout(&multi, "multi");
    server.push_layout(&arm, "arm64");
    let image = server.image("multi");
    let want = ours(
        &Place::new(),
        &["--plain-http", "--platform", "linux/arm64"],
        &server.image("arm64"),
    );
    for platform in ["linux/arm64", "linux/arm64/v8"] {
        let tree = ours(&Place::new(), &["--plain-http", "--platform", platform], &image);
        assert_eq!(tree, want, "{platform}");
    }
    let native = ours(
        &Place::new(),
        &["--plain-http", "--platform", "linux/amd64"],
        &image,
    );
    assert_ne!(native, want);
    // What is there is named; the attestation is no platform.
    let place = Place::new();
    let run = place.pull(&["--plain-http", "--platform", "linux/s390x"], &image, "bundle");
    let run = run.fails(&["linux/s390x", "linux/amd64", "linux/arm64"]);
    assert!(!run.stderr.contains("unknown/unknown"), "{}", run.stderr);
    place
        .pull(
            &["--plain-http", "--platform", "linux/amd64"],
            &server.image("arm64"),
            "bundle",
        )
        .fails(&["linux/arm64"]);
    place.assert_clean();
}

#[test]
fn a_registry_with_users_and_its_own_ca_is_reached_with_both_and_not_without() {
    let test = "a_registry_with_users_and_its_own_ca_is_reached_with_both_and_not_without";
    if !is_root(test) {
        return;
    }
    let Some(server) = Server::start(
        test,
        Options {
            auth: true,
            tls: true,
        },
    ) else {
        return;
    };
    let Some(folder) = lab_image(test, "tiny/gzip") else {
        return;
    };
    server.push_layout(&folder, "tiny");
    let (image, ca) = (server.image("tiny"), server.ca());
    let ca = ca.to_str().expect("a path");
    let creds = format!("{USER}:{PASSWORD}");
    let place = Place::new();
    ours(&place, &["--ca-cert", ca, "--creds", &creds], &image);

    let auth = format!(
        "{{\"auths\":{{\"{}\":{{\"auth\":\"bGFiOmxhYi1zZWNyZXQ=\"}}}}}}",
        image.split_once('/').expect("a host").0
    );
    std::fs::write(place.path("auth.json"), auth).expect("auth.json");
    let auth = place.path("auth.json");
    ours(
        &place,
        &["--ca-cert", ca, "--auth-file", auth.to_str().expect("a path")],
        &image,
    );

    let other = Place::new();
    other
        .pull(&["--creds", &creds], &image, "b")
        .fails(&["certificate", "hint: "]);
    other.pull(&["--ca-cert", ca], &image, "b").fails(&["hint: "]);
    let wrong = other
        .pull(&["--ca-cert", ca, "--creds", "lab:wrong-secret"], &image, "b")
        .fails(&["hint: "]);
    assert!(!wrong.stderr.contains("wrong-secret"), "{}", wrong.stderr);
    other
        .pull(&["--plain-http", "--creds", &creds], &image, "b")
        .fails(&[]);
    other.assert_clean();
    assert!(!other.path("b").join("config.json").exists());
}

#[test]
fn basic_auth_over_plain_http_works_only_when_plain_http_is_named() {
    let test = "basic_auth_over_plain_http_works_only_when_plain_http_is_named";
    if !is_root(test) {
        return;
    }
    let Some(server) = Server::start(
        test,
        Options {
            auth: true,
            tls: false,
        },
    ) else {
        return;
    };
    let Some(folder) = lab_image(test, "tiny/gzip") else {
        return;
    };
    server.push_layout(&folder, "tiny");
    let creds = format!("{USER}:{PASSWORD}");
    let place = Place::new();
    ours(
        &place,
        &["--plain-http", "--creds", &creds],
        &server.image("tiny"),
    );
    place
        .pull(&["--creds", &creds], &server.image("tiny"), "b")
        .fails(&["--plain-http"]);
}

#[test]
fn crun_runs_the_bundle() {
    let test = "crun_runs_the_bundle";
    if !is_root(test) || !has_tool(test, "crun") {
        return;
    }
    let Some(server) = Server::start(test, Options::default()) else {
        return;
    };
    for (name, script, want) in [
        (
            "tiny/gzip",
            "echo answer $((6*7)); id -u; test -d /proc/self && echo proc",
            "answer 42\n0\nproc\n",
        ),
        (
            "debian",
            "perl -e 'print 6*7,\"\\n\"'; python3 -c 'print(1+1)'; getent passwd lab | cut -d: -f1",
            "42\n2\nlab\n",
        ),
    ] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        server.push_layout(&folder, name);
        for snapshotter in snapshotters(test) {
            let place = Place::new();
            place
                .pull(
                    &["--plain-http", "--snapshotter", snapshotter],
                    &server.image(name),
                    "bundle",
                )
                .ok();
            let config = place.path("bundle").join("config.json");
            let mut spec: serde_json::Value =
                serde_json::from_slice(&std::fs::read(&config).expect("config.json")).expect("JSON");
            // The image's own command is a shell; it is told what to do.
            let args = spec["process"]["args"].as_array_mut().expect("args");
            args.extend(["-c".into(), script.into()]);
            std::fs::write(&config, spec.to_string()).expect("config.json");
            let id = format!("image-client-test-{}-{snapshotter}", std::process::id());
            let Some(output) = fixture::crun(test, &place.path("bundle"), &id) else {
                return;
            };
            let (stdout, stderr) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            assert!(
                output.status.success() && stdout.starts_with(want),
                "{name}: {stdout}{stderr}"
            );
            place.run("umount", [place.path("bundle")]).ok();
            place.assert_clean();
        }
    }
}
