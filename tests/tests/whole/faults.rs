// SPDX-License-Identifier: Apache-2.0
//! What goes wrong, and that it says so and leaves nothing behind.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;

use fixture::{Compression, Effect, Fault, Image, Lie, Registry, is_root};

use crate::place::{Place, Run, program, tool};

fn image() -> Image {
    Image::parse("d /etc\nf /etc/a fill=300000\n---\nf /etc/b fill=300000")
        .compression(Compression::Gzip)
        .build()
}

/// Pulls and unpacks; both must fail with these words and leave nothing.
#[track_caller]
fn fails(image: &str, options: &[&str], words: &[&str]) {
    let place = Place::new();
    place.pull(options, image, "bundle").fails(words);
    place.assert_clean();
    assert!(!place.path("bundle").exists(), "a bundle is left");
    let mut command = place.command("unpack");
    Run::of(command.args(options).arg(image).arg(place.path("flat"))).fails(words);
    let left: Vec<_> = std::fs::read_dir(place.path("."))
        .expect("the place")
        .map(|e| e.expect("entry").file_name())
        .filter(|name| name != "store")
        .collect();
    assert!(left.is_empty(), "{left:?} is left");
    let listed = place.run("images", ["--json"]).ok();
    assert!(
        !listed.stdout.contains("sha256:"),
        "an image is recorded: {}",
        listed.stdout
    );
}

#[test]
fn a_registry_that_lies_is_found_out() {
    if !is_root("a_registry_that_lies_is_found_out") {
        return;
    }
    let honest = image();
    let second = &honest.layers[1].digest;
    let short = &second[..15];
    for (effect, words) in [
        (Effect::Cut(1000), &["layer 2 of 2", "tried 6 times"][..]),
        (Effect::Replace(vec![7; 100]), &["layer 2 of 2", "100"]),
        (Effect::Extra(vec![7; 10]), &["layer 2 of 2"]),
        (Effect::Status(404), &["layer 2 of 2"]),
        (Effect::Status(500), &["layer 2 of 2", "500"]),
    ] {
        let registry = Registry::start();
        registry.push("image", "latest", &honest);
        registry.fault(Fault::on(second, effect));
        let reference = registry.reference("image:latest");
        let words = [words, &[reference.as_str(), short][..]].concat();
        fails(&reference, &["--plain-http"], &words);
    }
}

#[test]
fn documents_that_lie_are_found_out() {
    if !is_root("documents_that_lie_are_found_out") {
        return;
    }
    let base = || Image::parse("f /a \"1\"\n---\nf /b \"2\"").compression(Compression::Gzip);
    for (lie, words) in [
        (Lie::LayerDigest(1), &["layer 2 of 2", "sha256:"][..]),
        (Lie::LayerBytes(1), &["layer 2 of 2", "sha256:"]),
        (Lie::LayerSize(1, 1), &["layer 2 of 2"]),
        (Lie::LayerSize(1, -1), &["layer 2 of 2"]),
        (Lie::DiffId(1), &["layer 2 of 2", "diff_id"]),
        (Lie::ExtraDiffId, &["diff_ids"]),
        (Lie::ExtraLayer, &["diff_ids"]),
        (Lie::ConfigDigest, &["config", "sha256:"]),
        (Lie::ConfigSize(1), &["config"]),
        (Lie::ConfigPlatform, &["linux/s390x"]),
    ] {
        let registry = Registry::start();
        registry.push("image", "latest", &base().lie(lie).build());
        let reference = registry.reference("image:latest");
        fails(
            &reference,
            &["--plain-http"],
            &[words, &[reference.as_str()]].concat(),
        );
    }
}

#[test]
fn a_dead_registry_is_named() {
    if !is_root("a_dead_registry_is_named") {
        return;
    }
    // A port that was free a moment ago and that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let image = format!("127.0.0.1:{port}/image:latest");
    fails(&image, &["--plain-http"], &[&image, "refused"]);
}

#[test]
fn plain_http_is_not_tried_unless_named() {
    if !is_root("plain_http_is_not_tried_unless_named") {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    fails(&registry.reference("image:latest"), &[], &["--plain-http"]);
    assert!(registry.requests().is_empty(), "asked in clear");
}

#[test]
fn a_full_disk_is_named_with_what_was_being_done() {
    if !is_root("a_full_disk_is_named_with_what_was_being_done") {
        return;
    }
    let registry = Registry::start();
    let large = Image::parse("f /small \"x\"\n---\nf /large zero=30000000")
        .compression(Compression::Gzip)
        .build();
    registry.push("image", "latest", &large);
    let image = registry.reference("image:latest");
    let place = Place::new();
    std::fs::create_dir(place.store()).expect("store");
    tool(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(place.store()),
    );
    place
        .pull(&["--plain-http"], &image, "bundle")
        .fails(&["space", &image, "hint: "]);
    assert!(!place.path("bundle").exists());
    assert_eq!(place.mounts().len(), 1, "{:?}", place.mounts());
    let staged = std::fs::read_dir(place.store().join("staging"))
        .expect("staging")
        .count();
    assert_eq!(staged, 0, "something is left in staging");
    // With room again the same store goes on.
    tool(
        Command::new("mount")
            .args(["-o", "remount,size=80m"])
            .arg(place.store()),
    );
    place.pull(&["--plain-http"], &image, "bundle").ok();
    assert_eq!(
        std::fs::metadata(place.rootfs("bundle").join("large"))
            .expect("large")
            .len(),
        30_000_000
    );
}

#[test]
fn a_snapshotter_that_does_not_work_says_why_and_what_would() {
    let test = "a_snapshotter_that_does_not_work_says_why_and_what_would";
    if !is_root(test) {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    let image = registry.reference("image:latest");
    // A store on an overlay takes no upper layers of another.
    let place = Place::new();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| place.path(name));
    for dir in [&lower, &upper, &work, &place.store()] {
        std::fs::create_dir(dir).expect("a folder");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    tool(
        Command::new("mount")
            .args(["-t", "overlay", "-o", &options, "overlay"])
            .arg(place.store()),
    );
    for name in ["erofs", "overlay"] {
        place
            .pull(&["--plain-http", "--snapshotter", name], &image, "bundle")
            .fails(&["overlay", "hint: choose `auto`"]);
        assert!(registry.requests().is_empty(), "{name}");
        assert!(!place.path("bundle").exists(), "{name}");
    }
    let run = place.pull(&["--plain-http"], &image, "bundle").ok();
    assert!(run.stderr.contains("layers will be copied"), "{}", run.stderr);
    assert_eq!(place.mounts().len(), 1, "{:?}", place.mounts());
    place.run("umount", [place.path("bundle")]).ok();
}

#[test]
fn a_read_only_store_is_named() {
    if !is_root("a_read_only_store_is_named") {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    let place = Place::new();
    std::fs::create_dir(place.store()).expect("store");
    tool(
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", "ro", "tmpfs"])
            .arg(place.store()),
    );
    let store = place.store();
    let run = place.pull(&["--plain-http"], &registry.reference("image:latest"), "bundle");
    run.fails(&["Read-only file system", store.to_str().expect("a path"), "hint: "]);
    assert!(!place.path("bundle").exists());
}

#[test]
fn whoever_is_not_root_learns_what_needs_root() {
    if !is_root("whoever_is_not_root_learns_what_needs_root") {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    let image = registry.reference("image:latest");
    let place = Place::new();
    // A folder, and a program, that anybody may use.
    let copy = place.path("image-client");
    std::fs::copy(program(), &copy).expect("copy the program");
    let home = place.path("home");
    std::fs::create_dir(&home).expect("home");
    for path in [place.path("."), home.clone()] {
        tool(Command::new("chmod").arg("0777").arg(path));
    }
    for (subcommand, target) in [("pull", "bundle"), ("unpack", "flat")] {
        let mut command = Command::new(&copy);
        command.args([
            subcommand,
            "--plain-http",
            "--insecure-accept-any-image",
            "--progress",
            "none",
            "--work-dir",
        ]);
        command
            .arg(home.join("store"))
            .arg(&image)
            .arg(home.join(target))
            .uid(65534)
            .gid(65534);
        Run::of(&mut command).fails(&["root", "hint: "]);
        assert!(!home.join(target).exists(), "{target} is left");
    }
}

#[test]
fn a_bundle_in_use_is_refused_before_anything_is_asked() {
    if !is_root("a_bundle_in_use_is_refused_before_anything_is_asked") {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    let image = registry.reference("image:latest");
    let place = Place::new();
    place.pull(&["--plain-http"], &image, "bundle").ok();
    let before = registry.requests().len();
    let mounts = place.mounts();
    place
        .pull(&["--plain-http"], &image, "bundle")
        .fails(&["bundle", "hint: "]);
    assert_eq!(registry.requests().len(), before);
    assert_eq!(place.mounts(), mounts);
    // What stands in a bundle already is not touched.
    std::fs::create_dir_all(place.path("other/rootfs")).expect("rootfs");
    std::fs::write(place.path("other/rootfs/mine"), "mine").expect("mine");
    place.pull(&["--plain-http"], &image, "other").fails(&["rootfs"]);
    assert_eq!(
        std::fs::read_to_string(place.path("other/rootfs/mine")).expect("mine"),
        "mine"
    );
    place.run("umount", [place.path("bundle")]).ok();
    assert!(!place.path("bundle/config.json").exists());
    place.pull(&["--plain-http"], &image, "bundle").ok();
    // An empty rootfs that was there stays there.
    std::fs::create_dir_all(place.path("third/rootfs")).expect("rootfs");
    place.pull(&["--plain-http"], &image, "third").ok();
    place.run("umount", [place.path("third")]).ok();
    assert!(place.path("third/rootfs").exists());
    place.run("umount", [place.path("bundle")]).ok();
    place.assert_clean();
}

#[test]
fn a_policy_is_asked_for_every_pull() {
    if !is_root("a_policy_is_asked_for_every_pull") {
        return;
    }
    let registry = Registry::start();
    registry.push("image", "latest", &image());
    let image = registry.reference("image:latest");
    let place = Place::new();
    place.pull(&["--plain-http"], &image, "first").ok();
    let policy = |name: &str, text: &str| {
        std::fs::write(place.path(name), text).expect("policy");
        place.path(name)
    };
    let reject = policy("reject.json", r#"{"default":[{"type":"reject"}]}"#);
    let signed = policy(
        "signed.json",
        r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/keys/lab.gpg"}]}"#,
    );
    let empty = policy("empty.json", r#"{"default":[]}"#);
    let accept = policy(
        "accept.json",
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    );
    let pull = |options: &[&str]| {
        let mut command = Command::new(program());
        command
            .args(["pull", "--plain-http", "--progress", "none", "--work-dir"])
            .arg(place.store());
        Run::of(command.args(options).arg(&image).arg(place.path("second")))
    };
    // The image is in the store, and that changes nothing.
    pull(&["--policy", reject.to_str().expect("a path")]).fails(&["reject", &image]);
    pull(&["--policy", signed.to_str().expect("a path")]).fails(&["signedBy", &image]);
    pull(&["--policy", empty.to_str().expect("a path")]).fails(&["empty.json"]);
    // Some distributions ship a policy that accepts everything in one of the default places.
    if !std::path::Path::new("/etc/containers/policy.json").exists() {
        pull(&[]).fails(&["policy", "--insecure-accept-any-image"]);
    }
    assert!(!place.path("second").exists());
    pull(&["--policy", accept.to_str().expect("a path")]).ok();
}

#[test]
fn usage_errors_end_with_2() {
    for arguments in [
        &["pull"][..],
        &["pull", "x"],
        &["nonsense"],
        &["pull", "--snapshotter", "x", "a", "b"],
        &[],
    ] {
        let run = Run::of(Command::new(program()).args(arguments));
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
    }
}
