// SPDX-License-Identifier: Apache-2.0
//! A bundle really runs.
mod common;

use std::fs;
use std::path::Path;

use common::{Lab, chain, is_root};
use image_spec::{ImageConfig, Platform};
use snapshot::{Copy, Overlay, Snapshotter, bundle};

const BUSYBOX: [&str; 2] = ["/usr/bin/busybox", "/bin/busybox"];

#[test]
fn crun_runs_a_bundle_as_the_images_user() {
    if !is_root() {
        return;
    }
    let busybox = BUSYBOX.into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = busybox else {
        fixture::skip("crun_runs_a_bundle_as_the_images_user", "no static busybox here");
        return;
    };
    let snapshotters: [&dyn Snapshotter; 2] = [&Overlay, &Copy];
    for snapshotter in snapshotters {
        let lab = Lab::new(&[
            "d /\nd /bin\nd /etc\nd /data\nmode /data 0750\nown /data 1000:2000\nf /gone lower",
            "implied /\nimplied /etc\nf /etc/passwd app:x:1000:2000::/home/app:/bin/sh\nf /etc/group team:x:3000:app\nw /gone",
        ]);
        fs::copy(busybox, lab.layers[0].tree.join("bin/busybox")).unwrap();
        let path = lab.temp.path().join("bundle");
        let made = bundle::prepare(&path).unwrap();
        let (state, rootfs) = (lab.dir("state"), path.join("rootfs"));
        snapshotter
            .mount(&lab.layers, &state, &rootfs)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));

        let mut config = ImageConfig::new(&"linux/amd64".parse::<Platform>().unwrap(), Vec::new());
        let script = "id; pwd; echo $GREETING; hostname; ls -d /gone; touch /data/mine && stat -c %u:%g:%a /data; \
                      grep -c overlay /etc/nothing; mkdir /proc/x; echo > /proc/sys/kernel/hostname; echo done";
        config.config.user = "app".to_owned();
        config.config.entrypoint = vec!["/bin/busybox".to_owned(), "sh".to_owned(), "-c".to_owned()];
        config.config.cmd = vec![script.to_owned()];
        config.config.env = vec!["GREETING=hello".to_owned()];
        config.config.working_dir = "/etc".to_owned();
        config.config.volumes = ["/data".to_owned()].into();
        for name in ["sh", "id", "ls", "touch", "stat", "grep", "mkdir", "hostname"] {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        bundle::write(&path, &config, &rootfs).unwrap();

        let name = format!("snapshot-test-{}-{}", std::process::id(), snapshotter.name());
        let Some(output) = fixture::crun("crun_runs_a_bundle_as_the_images_user", &path, &name) else {
            return;
        };
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{}: {out}{err}", snapshotter.name());
        assert_eq!(
            out.lines().collect::<Vec<_>>(),
            [
                "uid=1000(app) gid=2000 groups=2000,3000(team)",
                "/etc",
                "hello",
                "container",
                "1000:2000:750",
                "done"
            ],
            "{err}"
        );
        assert!(err.contains("/gone: No such file"), "{err}");

        snapshotter.unmount(&state, &rootfs).unwrap();
        bundle::remove(&path, made).unwrap();
        assert!(!path.exists());
        lab.assert_clean();
    }
}
