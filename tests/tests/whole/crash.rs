// SPDX-License-Identifier: Apache-2.0
//! Several processes over one store, and processes that are killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fixture::{Compression, Image, Registry, is_root, lab_image};

use crate::place::{Place, Run, snapshotters};

/// Starts a pull that is waited for later.
fn start(place: &Place, snapshotter: &str, image: &str, bundle: &str) -> Child {
    let mut command: Command = place.command("pull");
    command.args(["--plain-http", "--snapshotter", snapshotter]);
    command.arg(image).arg(place.path(bundle));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the program")
}

#[track_caller]
fn finish(child: Child) -> Run {
    let output = child.wait_with_output().expect("wait");
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Images that share two layers and differ in a third.
fn family(count: usize) -> Vec<Image> {
    (0..count)
        .map(|i| {
            Image::parse(&format!(
                "d /base\nf /base/a fill=900000\nf /base/b fill=50\n---\nd /more\nf /more/c fill=700000\nw /base/b\n---\nf /own \"image {i}\""
            ))
            .compression(Compression::Gzip)
            .build()
        })
        .collect()
}

#[test]
fn processes_share_a_store_without_mixing_images() {
    let test = "processes_share_a_store_without_mixing_images";
    if !is_root(test) {
        return;
    }
    let snapshotters = snapshotters(test);
    let registry = Registry::start();
    let images = family(4);
    for (i, image) in images.iter().enumerate() {
        registry.push(&format!("family-{i}"), "latest", image);
    }
    for round in 0..3 {
        let place = Place::new();
        // Each image twice, all at once; in each round each in another way.
        let pulls: Vec<_> = (0..8)
            .map(|n| {
                start(
                    &place,
                    snapshotters[(n / 2 + round) % snapshotters.len()],
                    &registry.reference(&format!("family-{}:latest", n % 4)),
                    &format!("bundle-{n}"),
                )
            })
            .collect();
        for (n, child) in pulls.into_iter().enumerate() {
            finish(child).ok();
            let rootfs = place.rootfs(&format!("bundle-{n}"));
            let own = std::fs::read_to_string(rootfs.join("own")).expect("own");
            assert_eq!(own, format!("image {}", n % 4), "round {round}");
            assert_eq!(
                std::fs::metadata(rootfs.join("base/a")).expect("a").len(),
                900_000
            );
            assert!(!rootfs.join("base/b").exists() && rootfs.join("more/c").exists());
        }
        // A writer in one bundle is not seen in another of the same image.
        std::fs::write(place.rootfs("bundle-0").join("own"), "changed").expect("write");
        assert_eq!(
            std::fs::read_to_string(place.rootfs("bundle-4").join("own")).expect("own"),
            "image 0"
        );
        for n in 0..8 {
            place.run("umount", [place.path(&format!("bundle-{n}"))]).ok();
        }
        for n in 0..4 {
            place
                .run("rm", [registry.reference(&format!("family-{n}:latest"))])
                .ok();
        }
        place.assert_clean();
        for folder in ["layers", "merged"] {
            let left = std::fs::read_dir(place.store().join(folder))
                .expect(folder)
                .count();
            assert_eq!(left, 0, "{folder} of removed images are left");
        }
    }
}

#[test]
fn layers_that_are_there_are_not_fetched_again() {
    if !is_root("layers_that_are_there_are_not_fetched_again") {
        return;
    }
    let registry = Registry::start();
    let images = family(2);
    registry.push("one", "latest", &images[0]);
    registry.push("two", "latest", &images[1]);
    let place = Place::new();
    let blobs = || {
        registry
            .requests()
            .iter()
            .filter(|r| r.path.contains("/blobs/"))
            .count()
    };
    place
        .pull(&["--plain-http"], &registry.reference("one:latest"), "a")
        .ok();
    assert_eq!(blobs(), 4, "a config and three layers");
    place
        .pull(&["--plain-http"], &registry.reference("two:latest"), "b")
        .ok();
    assert_eq!(blobs(), 6, "a config and the one layer that is new");
    place
        .pull(&["--plain-http"], &registry.reference("one:latest"), "c")
        .ok();
    assert_eq!(blobs(), 6, "nothing is new");
    let tree = fixture::Listing::new().without_times();
    assert_eq!(tree.of(place.rootfs("a")), tree.of(place.rootfs("c")));
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_half_done() {
    let test = "a_pull_that_is_killed_leaves_nothing_half_done";
    if !is_root(test) {
        return;
    }
    let Some(folder) = lab_image(test, "debian") else {
        return;
    };
    let registry = Registry::start();
    registry
        .serve_layout("debian", &folder)
        .expect("serve the layout");
    let image = registry.reference("debian:latest");
    for snapshotter in ["erofs", "overlay"] {
        if snapshotters(test).contains(&snapshotter) {
            killed_at_any_time(snapshotter, &image);
        }
    }
}

#[track_caller]
fn killed_at_any_time(snapshotter: &str, image: &str) {
    let options = ["--plain-http", "--snapshotter", snapshotter];
    let reference = Place::new();
    let begun = Instant::now();
    reference.pull(&options, image, "bundle").ok();
    let whole = begun.elapsed();
    let want = fixture::tree(reference.rootfs("bundle"));

    let place = Place::new();
    for step in 1..=12u32 {
        let bundle = format!("killed-{step}");
        let mut child = start(&place, snapshotter, image, &bundle);
        // Evenly over the time that a pull takes; where exactly it hits is chance.
        std::thread::sleep(whole * step / 13);
        let _ = child.kill();
        let _ = child.wait();
        let config = place.path(&bundle).join("config.json");
        assert!(
            !config.exists()
                || place
                    .mounts()
                    .iter()
                    .any(|m| m.ends_with(&format!("{bundle}/rootfs")))
        );
    }
    place.pull(&options, image, "bundle").ok();
    assert_eq!(fixture::tree(place.rootfs("bundle")), want, "{snapshotter}");
    for step in 1..=12 {
        // A bundle that a killed pull had mounted already is given up like any other.
        place.run("umount", [place.path(&format!("killed-{step}"))]);
    }
    place.run("umount", [place.path("bundle")]).ok();
    place.assert_clean();
    place.run("rm", [image]).ok();
    for folder in ["layers", "merged"] {
        let left = std::fs::read_dir(place.store().join(folder))
            .expect(folder)
            .count();
        assert_eq!(left, 0, "{folder} of killed pulls are left");
    }
}

#[test]
fn an_interrupted_pull_cleans_up_and_says_so() {
    if !is_root("an_interrupted_pull_cleans_up_and_says_so") {
        return;
    }
    let registry = Registry::start();
    registry.push("slow", "latest", &family(1)[0]);
    registry.fault(fixture::Fault::on("/blobs/", fixture::Effect::Stall(1000)).after(1));
    let place = Place::new();
    let child = start(&place, "auto", &registry.reference("slow:latest"), "bundle");
    let deadline = Instant::now() + Duration::from_secs(20);
    while registry
        .requests()
        .iter()
        .filter(|r| r.path.contains("/blobs/"))
        .count()
        < 2
    {
        assert!(Instant::now() < deadline, "the pull asks for no layer");
        std::thread::sleep(Duration::from_millis(10));
    }
    let interrupted = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("interrupt the pull");
    let run = finish(child);
    assert!(
        interrupted.elapsed() < Duration::from_secs(10),
        "took {:?}",
        interrupted.elapsed()
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    place.assert_clean();
    assert!(!place.path("bundle").exists());
}
