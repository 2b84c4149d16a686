// SPDX-License-Identifier: Apache-2.0
//! Layers kept as archives and mounted as one image.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Lab, chain, names, run, snapshotters};
use fixture::{Image, Registry};
use image_client::{Client, ErrorKind, ImageName};
use image_spec::Digest;

const BASE: &str = "d /etc 0755 0:0\nf /etc/motd 0644 0:0 \"below\\n\"\nf /etc/gone fill=5000";
const TOP: &str = "f /etc/motd 0600 5:6 \"above\\n\"\nw /etc/gone\nf /own fill=90000";

/// Whether layers can be mounted so here, beside the other forms.
fn works(test: &str) -> bool {
    let there = snapshotters(test);
    there.contains(&"erofs") && there.contains(&"overlay")
}

/// What the store holds of layers, and how many merged images.
fn held(lab: &Lab) -> (usize, usize, usize) {
    let layers = names(&lab.work_dir().join("layers"));
    let kept = layers.iter().filter(|name| name.ends_with(".erofs")).count();
    let merged = names(&lab.work_dir().join("merged")).len();
    (layers.len() - kept, kept, merged)
}

fn client(lab: &Lab, registry: &Registry, snapshotter: &str) -> Client {
    let builder = lab
        .builder()
        .snapshotter(snapshotter)
        .dangerous()
        .accept_any_image();
    builder.dangerous().plain_http(&registry.host()).build().unwrap()
}

/// The directory of a kept layer, bottom first.
fn kept(lab: &Lab, image: &Image, index: usize) -> PathBuf {
    let name = format!("sha256-{}.erofs", Digest::sha256(&image.tars[index]).hex());
    lab.work_dir().join("layers").join(name).join("tree")
}

#[test]
fn layers_are_fetched_once_for_each_form_and_removed_in_all() {
    if !works("layers_are_fetched_once_for_each_form_and_removed_in_all") {
        return;
    }
    let (lab, registry) = (Lab::new(), Registry::start());
    let image = Image::parse(&format!("{BASE}\n---\n{TOP}")).build();
    registry.push("demo", "latest", &image);
    let name: ImageName = registry.reference("demo").parse().unwrap();
    for (snapshotter, held_then, reused) in [
        ("erofs", (0, 2, 1), 0),
        ("erofs", (0, 2, 1), 2),
        ("overlay", (2, 2, 1), 0),
        ("copy", (2, 2, 1), 2),
        ("erofs", (2, 2, 1), 2),
    ] {
        let client = client(&lab, &registry, snapshotter);
        let pulled = run(client.pull(name.clone(), lab.path("bundle"))).unwrap();
        assert_eq!(pulled.image.layers_reused, reused, "{snapshotter}");
        assert_eq!(
            fs::read_to_string(pulled.rootfs.join("etc/motd")).unwrap(),
            "above\n"
        );
        assert!(!pulled.rootfs.join("etc/gone").exists());
        assert_eq!(held(&lab), held_then, "{snapshotter}");
        run(client.unmount(lab.path("bundle"))).unwrap();
    }
    let client = lab.client();
    let image = &run(client.images()).unwrap()[0];
    // The tree without what it does not hold, and the archives with it.
    assert!(image.disk_bytes > 2 * 90_000, "{}", image.disk_bytes);
    assert_eq!(run(client.disk_bytes()).unwrap(), image.disk_bytes);
    assert_eq!(run(client.remove(&name)).unwrap().layers, 4);
    assert_eq!(held(&lab), (0, 0, 0));
    assert_eq!(lab.left(), (vec![], vec![], 0));
}

#[test]
fn images_with_common_layers_have_merged_images_of_their_own() {
    if !works("images_with_common_layers_have_merged_images_of_their_own") {
        return;
    }
    let lab = Lab::new();
    let client = lab.client_with("erofs");
    let short = lab.layout("short", &Image::parse(BASE).build());
    let long = lab.layout("long", &Image::parse(&format!("{BASE}\n---\n{TOP}")).build());
    let shown = |bundle: &str| fs::read_to_string(lab.path(bundle).join("rootfs/etc/motd")).unwrap();
    for (number, image) in [&short, &long, &long, &short].into_iter().enumerate() {
        run(client.pull(image.clone(), lab.path(&number.to_string()))).unwrap();
    }
    assert_eq!(held(&lab), (0, 2, 2));
    for (bundle, text) in [
        ("0", "below\n"),
        ("1", "above\n"),
        ("2", "above\n"),
        ("3", "below\n"),
    ] {
        assert_eq!(shown(bundle), text);
    }
    fs::write(lab.path("1/rootfs/etc/motd"), "changed").unwrap();
    assert_eq!(shown("2"), "above\n", "what one bundle writes is its own");
    for bundle in ["1", "2"] {
        run(client.unmount(lab.path(bundle))).unwrap();
    }
    assert_eq!(run(client.remove(&long)).unwrap().layers, 1);
    assert_eq!(held(&lab), (0, 1, 1));
    assert_eq!(shown("3"), "below\n");
    for bundle in ["0", "3"] {
        run(client.unmount(lab.path(bundle))).unwrap();
    }
    run(client.remove(&short)).unwrap();
    assert_eq!(held(&lab), (0, 0, 0));
}

#[test]
fn an_image_without_layers_is_an_empty_root_filesystem() {
    let test = "an_image_without_layers_is_an_empty_root_filesystem";
    for snapshotter in snapshotters(test) {
        let lab = Lab::new();
        let client = lab.client_with(snapshotter);
        let name = lab.layout("image", &Image::of([]).build());
        let pulled = run(client.pull(name, lab.path("bundle"))).unwrap();
        fs::write(pulled.rootfs.join("file"), "written").unwrap();
        run(client.unmount(lab.path("bundle"))).unwrap();
    }
}

#[test]
fn a_link_to_nothing_is_named_with_its_layer() {
    for snapshotter in snapshotters("a_link_to_nothing_is_named_with_its_layer") {
        let lab = Lab::new();
        let image = Image::parse(&format!("{BASE}\n---\nh /name -> /nowhere\n---\n{TOP}")).build();
        let name = lab.layout("image", &image);
        let error = run(lab.client_with(snapshotter).pull(name, lab.path("bundle"))).unwrap_err();
        let text = chain(&error);
        assert!(text.contains("name"), "{snapshotter}: {text}");
        if snapshotter == "erofs" {
            assert_eq!(*error.kind(), ErrorKind::Layer, "{text}");
            assert_eq!(
                error.layer().map(|at| (at.index, at.total)),
                Some((1, 3)),
                "{text}"
            );
            assert!(text.contains("hard link"), "{text}");
            assert!(run(lab.client().images()).unwrap().is_empty());
        }
        assert!(!lab.path("bundle").exists(), "{snapshotter}");
        assert_eq!((lab.left().0, lab.left().1), (vec![], vec![]), "{snapshotter}");
    }
}

#[test]
fn a_damaged_index_is_named_with_its_layer_and_what_to_do() {
    if !works("a_damaged_index_is_named_with_its_layer_and_what_to_do") {
        return;
    }
    let lab = Lab::new();
    let client = lab.client_with("erofs");
    let image = Image::parse(&format!("{BASE}\n---\n{TOP}\n---\nf /last")).build();
    let name = lab.layout("image", &image);
    run(client.pull(name.clone(), lab.path("bundle"))).unwrap();
    run(client.unmount(lab.path("bundle"))).unwrap();
    let index = kept(&lab, &image, 1).join("index");
    let mut bytes = fs::read(&index).unwrap();
    bytes[1024..1200].fill(0);
    fs::write(&index, bytes).unwrap();
    // The merged image does not need it, and is there.
    run(client.pull(name.clone(), lab.path("bundle"))).unwrap();
    run(client.unmount(lab.path("bundle"))).unwrap();
    fs::remove_dir_all(lab.work_dir().join("merged")).unwrap();
    fs::create_dir(lab.work_dir().join("merged")).unwrap();
    let client = lab.client_with("erofs");
    let error = run(client.pull(name.clone(), lab.path("bundle"))).unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Store, "{}", chain(&error));
    assert_eq!(error.layer().map(|at| at.index), Some(1), "{}", chain(&error));
    assert!(error.hint().is_some_and(|hint| hint.contains("remove")));
    run(client.remove(&name)).unwrap();
    run(client.pull(name, lab.path("bundle"))).unwrap();
    assert_eq!(lab.left().0, Vec::<String>::new());
}

#[test]
fn a_lost_archive_is_fetched_again() {
    if !works("a_lost_archive_is_fetched_again") {
        return;
    }
    let lab = Lab::new();
    let client = lab.client_with("erofs");
    let image = Image::parse(&format!("{BASE}\n---\n{TOP}")).build();
    let name = lab.layout("image", &image);
    run(client.pull(name.clone(), lab.path("one"))).unwrap();
    fs::remove_file(kept(&lab, &image, 0).join("tar")).unwrap();
    let pulled = run(client.pull(name, lab.path("two"))).unwrap();
    assert_eq!(pulled.image.layers_reused, 1);
    assert_eq!(
        fs::read_to_string(pulled.rootfs.join("etc/motd")).unwrap(),
        "above\n"
    );
}
