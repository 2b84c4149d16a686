// SPDX-License-Identifier: Apache-2.0
//! Images in files that skopeo and podman wrote.

use std::path::Path;
use std::process::Command;

use fixture::{is_root, lab_image};
use serde_json::{Value, json};

use crate::peers::{Lines, lines};
use crate::place::{Place, has_tool, layout, tool};

/// The tree of an image, unpacked.
#[track_caller]
fn unpacked(place: &Place, options: &[&str], image: &str) -> Lines {
    let flat = place.path("flat");
    let flat_text = flat.to_str().expect("a path");
    place.run("unpack", [options, &[image, flat_text]].concat()).ok();
    let tree = fixture::tree(&flat);
    std::fs::remove_dir_all(&flat).expect("remove the flat tree");
    lines(&tree)
}

fn skopeo(from: &str, to: &str) {
    tool(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", "--all", from, to]));
}

#[test]
fn what_skopeo_writes_is_the_same_image() {
    let test = "what_skopeo_writes_is_the_same_image";
    if !is_root(test) || !has_tool(test, "skopeo") {
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.path(name).display().to_string();
    for name in ["tiny/gzip", "tiny/tar", "whiteouts/tar", "debian"] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        let want = unpacked(&place, &[], &layout(&folder));
        let source = format!("oci:{}:latest", folder.display());
        let (tar, dir) = (at("saved.tar"), at("dir"));
        skopeo(&source, &format!("docker-archive:{tar}:localhost/demo:one"));
        skopeo(&source, &format!("dir:{dir}"));
        for image in [
            format!("docker-archive:{tar}"),
            format!("docker-archive:{tar}:localhost/demo:one"),
            format!("docker-archive:{tar}:@0"),
            format!("dir:{dir}"),
        ] {
            assert_eq!(unpacked(&place, &[], &image), want, "{name}: {image}");
        }
        assert_eq!(
            place.run("tags", [format!("docker-archive:{tar}")]).ok().stdout,
            "localhost/demo:one\n"
        );
        place
            .run("unpack", [format!("docker-archive:{tar}:demo:one"), at("none")])
            .fails(&["localhost/demo:one"]);
        // The manifest is the registry's own in a folder, and one of ours in docker's archive.
        let raw = |image: &str| tool(Command::new("skopeo").args(["inspect", "--raw", image]));
        let ours = |image: &str| place.run("manifest", [image]).ok().stdout;
        assert_eq!(ours(&format!("dir:{dir}")), raw(&format!("dir:{dir}")), "{name}");
        assert_eq!(ours(&layout(&folder)), raw(&source), "{name}");
        let (ours, theirs): (Value, Value) = (
            serde_json::from_str(&ours(&format!("docker-archive:{tar}"))).expect("JSON"),
            serde_json::from_str(&raw(&format!("docker-archive:{tar}"))).expect("JSON"),
        );
        // Where the layers are not compressed, both have the same digests.
        assert_eq!(ours["config"], theirs["config"], "{name}");
        let digests = |manifest: &Value| -> Vec<Value> {
            let layers = manifest["layers"].as_array().expect("layers");
            layers
                .iter()
                .map(|layer| json!([layer["digest"], layer["size"]]))
                .collect()
        };
        assert_eq!(digests(&ours), digests(&theirs), "{name}");
        std::fs::remove_file(&tar).expect("remove the archive");
        std::fs::remove_dir_all(&dir).expect("remove the folder");
    }
    place.assert_clean();
}

#[test]
fn a_folder_of_skopeo_holds_all_platforms_of_an_index() {
    let test = "a_folder_of_skopeo_holds_all_platforms_of_an_index";
    if !is_root(test) || !has_tool(test, "skopeo") {
        return;
    }
    let (Some(multi), Some(arm)) = (lab_image(test, "tiny/multi"), lab_image(test, "tiny/arm64")) else {
        return;
    };
    let place = Place::new();
    let dir = format!("dir:{}", place.path("dir").display());
    skopeo(&format!("oci:{}:latest", multi.display()), &dir);
    let platform = ["--platform", "linux/arm64"];
    let want = unpacked(&place, &platform, &layout(&arm));
    assert_eq!(unpacked(&place, &platform, &dir), want);
}

#[test]
fn what_podman_saves_is_the_same_image() {
    let test = "what_podman_saves_is_the_same_image";
    if !is_root(test) || !has_tool(test, "skopeo") || !has_tool(test, "podman") {
        return;
    }
    let (Some(one), Some(two)) = (lab_image(test, "tiny/gzip"), lab_image(test, "whiteouts/tar")) else {
        return;
    };
    let place = Place::new();
    let at = |name: &str| place.path(name).display().to_string();
    let podman = |arguments: &[&str]| {
        let store = [
            "--root",
            &at("root"),
            "--runroot",
            &at("run"),
            "--storage-driver",
            "vfs",
        ]
        .map(str::to_owned);
        tool(Command::new("podman").args(store).args(arguments))
    };
    for (folder, name) in [(&one, "localhost/one:1"), (&two, "localhost/two:2")] {
        let tar = at("load.tar");
        skopeo(
            &format!("oci:{}:latest", folder.display()),
            &format!("docker-archive:{tar}:{name}"),
        );
        podman(&["load", "-q", "-i", &tar]);
        std::fs::remove_file(tar).expect("remove the archive");
    }
    let (single, both) = (at("single.tar"), at("both.tar"));
    podman(&[
        "save",
        "-q",
        "--format",
        "docker-archive",
        "-o",
        &single,
        "localhost/one:1",
    ]);
    podman(&[
        "save",
        "-q",
        "-m",
        "-o",
        &both,
        "localhost/one:1",
        "localhost/two:2",
    ]);
    for (image, folder) in [
        (format!("docker-archive:{single}"), &one),
        (format!("docker-archive:{both}:localhost/one:1"), &one),
        (format!("docker-archive:{both}:localhost/two:2"), &two),
        (format!("docker-archive:{both}:@1"), &two),
    ] {
        // podman writes the layers anew from its own trees: content and modes are the same, not the archives.
        let (ours, want) = (
            unpacked(&place, &[], &image),
            unpacked(&place, &[], &layout(folder)),
        );
        let names = |tree: &Lines| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&want), "{image}");
    }
    place
        .run("unpack", [format!("docker-archive:{both}"), at("none")])
        .fails(&["2 images fit", "hint: "]);
}

#[test]
fn an_archive_that_is_both_is_read_both_ways() {
    let test = "an_archive_that_is_both_is_read_both_ways";
    if !is_root(test) || !has_tool(test, "tar") {
        return;
    }
    for name in ["tiny/gzip", "tiny/zstd", "tiny/tar"] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        let place = Place::new();
        let copy = place.path("copy");
        tool(Command::new("cp").arg("-r").arg(&folder).arg(&copy));
        std::fs::write(copy.join("manifest.json"), listing(&copy).to_string()).expect("manifest.json");
        // As docker has written them since version 25.
        let tar = place.path("saved.tar").display().to_string();
        tool(Command::new("tar").arg("-C").arg(&copy).args(["-cf", &tar, "."]));
        let want = unpacked(&place, &[], &layout(&folder));
        for image in [
            format!("docker-archive:{tar}"),
            format!("docker-archive:{tar}:busybox"),
            format!("oci-archive:{tar}"),
        ] {
            assert_eq!(unpacked(&place, &[], &image), want, "{name}: {image}");
        }
    }
}

/// Docker's list of the image in a layout.
fn listing(layout: &Path) -> Value {
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a document")).expect("JSON")
    };
    let path = |digest: &Value| format!("blobs/{}", digest.as_str().expect("a digest").replace(':', "/"));
    let index = read(&layout.join("index.json"));
    let manifest = read(&layout.join(path(&index["manifests"][0]["digest"])));
    let layers = manifest["layers"].as_array().expect("layers");
    let layers: Vec<String> = layers.iter().map(|layer| path(&layer["digest"])).collect();
    json!([{"Config": path(&manifest["config"]["digest"]), "RepoTags": ["busybox:latest"], "Layers": layers}])
}
