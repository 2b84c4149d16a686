// SPDX-License-Identifier: Apache-2.0
//! OCI layouts as real tools write them, and archives of them.

use std::path::Path;
use std::process::Command;

use fixture::{is_root, lab_image};

use crate::place::{Place, has_tool, layout, tool};

#[track_caller]
fn tree(place: &Place, image: &str) -> String {
    place
        .run("unpack", [image.into(), place.path("flat").into_os_string()])
        .ok();
    let tree = fixture::tree(place.path("flat"));
    std::fs::remove_dir_all(place.path("flat")).expect("remove");
    tree
}

#[test]
fn layouts_of_skopeo_umoci_and_buildah_hold_the_same_tree() {
    let test = "layouts_of_skopeo_umoci_and_buildah_hold_the_same_tree";
    if !is_root(test) || !has_tool(test, "skopeo") || !has_tool(test, "umoci") || !has_tool(test, "buildah") {
        return;
    }
    let Some(folder) = lab_image(test, "tiny/gzip") else {
        return;
    };
    let place = Place::new();
    let want = tree(&place, &layout(&folder));
    let skopeo = place.path("skopeo");
    copy(&folder, &format!("oci:{}:latest", skopeo.display()));
    assert_eq!(tree(&place, &layout(&skopeo)), want, "skopeo");

    // umoci adds a layer that says nothing new of what is there.
    let umoci = place.path("umoci");
    copy(&folder, &format!("oci:{}:latest", umoci.display()));
    std::fs::write(place.path("added"), "by umoci").expect("a file");
    let image = format!("{}:latest", umoci.display());
    tool(
        Command::new("umoci")
            .args(["insert", "--image", &image])
            .arg(place.path("added"))
            .arg("/added"),
    );
    let with_added = tree(&place, &layout(&umoci));
    assert!(with_added.contains("./added file"), "{with_added}");

    let buildah = place.path("buildah");
    let storage = |place: &Place| {
        let mut command = Command::new("buildah");
        command
            .arg("--root")
            .arg(place.path("storage"))
            .arg("--runroot")
            .arg(place.path("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    };
    let source = format!("oci:{}:latest", folder.display());
    let container = tool(storage(&place).args(["from", "-q", &source]));
    tool(
        storage(&place)
            .args(["commit", "-q", container.trim()])
            .arg(format!("oci:{}:latest", buildah.display())),
    );
    let lines = |tree: &str| tree.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&tree(&place, &layout(&buildah))), lines(&want), "buildah");
}

#[test]
fn an_archive_is_read_in_place() {
    let test = "an_archive_is_read_in_place";
    if !is_root(test) || !has_tool(test, "skopeo") {
        return;
    }
    for name in ["tiny/gzip", "whiteouts/tar"] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        let place = Place::new();
        let want = tree(&place, &layout(&folder));
        let archive = place.path("image.tar");
        copy(&folder, &format!("oci-archive:{}:latest", archive.display()));
        assert_eq!(
            tree(&place, &format!("oci-archive:{}", archive.display())),
            want,
            "{name}"
        );
        assert_eq!(
            tree(&place, &format!("oci-archive:{}:latest", archive.display())),
            want,
            "{name}"
        );
        place
            .run(
                "unpack",
                [
                    format!("oci-archive:{}:other", archive.display()),
                    "/nowhere/at/all".into(),
                ],
            )
            .fails(&["other"]);
    }
}

#[test]
fn encrypted_layers_are_refused_by_name() {
    let test = "encrypted_layers_are_refused_by_name";
    if !is_root(test) {
        return;
    }
    for (name, scheme) in [("encrypted/tiny-jwe", "jwe"), ("encrypted/tiny-jwe-zstd", "jwe")] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        let place = Place::new();
        place
            .pull(&[], &layout(&folder), "bundle")
            .fails(&["encrypted", scheme, "layer 1 of 1", "sha256:"]);
        place.assert_clean();
        assert!(!place.path("bundle").join("config.json").exists());
    }
}

fn copy(folder: &Path, to: &str) {
    let from = format!("oci:{}:latest", folder.display());
    tool(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &from, to]));
}
