// SPDX-License-Identifier: Apache-2.0
//! Peak memory, as the kernel accounts it to the finished process.

use std::process::Command;

use fixture::{is_root, lab_image};

use crate::place::{Place, has_tool, layout, program, snapshotters};

/// Peak resident memory allowed for any image, in KiB.
const LIMIT: u64 = 64 << 10;

#[test]
fn no_image_takes_more_than_64_mib() {
    let test = "no_image_takes_more_than_64_mib";
    if !is_root(test) || !has_tool(test, "time") {
        return;
    }
    let snapshotters = snapshotters(test);
    for name in [
        "tiny/gzip",
        "tiny/zstd",
        "tiny/zstd-chunked",
        "tiny/tar",
        "whiteouts/tar",
        "debian",
        "manyfiles",
        "bigblob/gzip",
        "bigblob/zstd",
        "ml/gzip",
        "ml/zstd",
    ] {
        let Some(folder) = lab_image(test, name) else {
            continue;
        };
        let place = Place::new();
        // From a registry, since that is the longer way.
        let registry = fixture::Registry::start();
        registry.serve_layout("image", &folder).expect("serve the layout");
        let (remote, local) = (registry.reference("image:latest"), layout(&folder));
        for (image, snapshotter) in [(&remote, "erofs"), (&remote, "overlay"), (&local, "copy")] {
            if !snapshotters.contains(&snapshotter) {
                continue;
            }
            let http: &[&str] = if *image == remote { &["--plain-http"] } else { &[] };
            let options = [http, &["--snapshotter", snapshotter]].concat();
            let peak = peak(&place, image, &options);
            assert!(peak < LIMIT, "{name} from {image} by {snapshotter}: {peak} KiB");
            place.run("umount", [place.path("bundle")]).ok();
            place.run("rm", [image]).ok();
        }
    }
}

/// Pulls in a child of a child, so that `wait4` accounts for the program alone.
fn peak(place: &Place, image: &str, options: &[&str]) -> u64 {
    let mut command = Command::new("/usr/bin/time");
    command
        .args(["-q", "-f", "%M", "-o"])
        .arg(place.path("peak"))
        .arg(program());
    command
        .args([
            "pull",
            "--insecure-accept-any-image",
            "--progress",
            "none",
            "--work-dir",
        ])
        .arg(place.store());
    command.args(options).arg(image).arg(place.path("bundle"));
    let run = crate::place::Run::of(&mut command).ok();
    assert!(run.stdout.starts_with("sha256:"), "{}", run.stdout);
    let text = std::fs::read_to_string(place.path("peak")).expect("peak");
    text.trim().parse().expect("KiB")
}
