// SPDX-License-Identifier: Apache-2.0
//! `config.json` from an image's config and files, hostile ones included.
mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::place::Place;
use common::{Lab, chain, is_root};
use image_spec::ImageConfig;
use image_spec::runtime::{NamespaceKind, Spec};
use snapshot::ErrorKind;
use snapshot::bundle::{self, Made, Options};

#[test]
fn the_process_is_the_images() {
    let mut place = Place::new();
    let run = &mut place.config.config;
    run.entrypoint = vec!["/bin/echo".to_owned(), "a".to_owned()];
    run.cmd = vec!["b c".to_owned()];
    run.env = vec!["X=1".to_owned(), "PATH=/mine".to_owned(), "X=2".to_owned()];
    run.working_dir = "/srv/data".to_owned();
    let process = place.write().unwrap().process.unwrap();
    assert_eq!(process.args, ["/bin/echo", "a", "b c"]);
    assert_eq!(process.env, ["X=1", "PATH=/mine", "X=2"]);
    assert_eq!(process.cwd, "/srv/data");
    assert!(process.no_new_privileges && !process.terminal);
    let capabilities = process.capabilities.unwrap();
    assert_eq!(capabilities.bounding.len(), 11);
    assert!(capabilities.inheritable.is_empty() && capabilities.ambient.is_empty());

    place.config.config.env.clear();
    place.config.config.working_dir.clear();
    let process = place.write().unwrap().process.unwrap();
    assert_eq!(
        process.env,
        ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
    assert_eq!(process.cwd, "/");
}

#[test]
fn an_image_without_command_needs_one_from_the_caller() {
    let mut place = Place::new();
    place.config.config.entrypoint.clear();
    let error = place.write().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoCommand);
    assert_eq!(
        error.hint(),
        Some("give a command, since the image has neither Entrypoint nor Cmd")
    );
    assert_eq!(
        bundle::check_config(&place.config, &Options::default())
            .unwrap_err()
            .kind(),
        ErrorKind::NoCommand
    );
    for command in [vec!["/mine".to_owned()], Vec::new()] {
        let _ = fs::remove_file(place.bundle().join("config.json"));
        let mut options = Options::default();
        options.command = Some(command.clone());
        let spec = bundle::write_with(place.bundle(), &place.config, &place.rootfs(), &options).unwrap();
        assert_eq!(spec.process.unwrap().args, command);
    }
}

#[test]
fn configs_that_no_bundle_may_hold_are_refused_before_anything_is_mounted() {
    type Change = fn(&mut ImageConfig);
    let cases: [(Change, ErrorKind, &str); 9] = [
        (
            |c| c.config.working_dir = "srv".into(),
            ErrorKind::Config,
            "working directory is not absolute or has `..`: `srv`",
        ),
        (
            |c| c.config.working_dir = "/a/../..".into(),
            ErrorKind::Config,
            "working directory is not absolute or has `..`: `/a/../..`",
        ),
        (
            |c| c.config.env = vec!["A=\0".into()],
            ErrorKind::Config,
            "environment entry has a zero byte: `A=\\u{0}`",
        ),
        (
            |c| c.config.cmd = vec!["\0".into()],
            ErrorKind::Config,
            "argument has a zero byte: `\\u{0}`",
        ),
        (
            |c| c.os = "windows".into(),
            ErrorKind::Unsupported,
            "bundles are for linux, this image is for: `windows`",
        ),
        (
            |c| c.config.user = ":1".into(),
            ErrorKind::User,
            "image's User names a group but no user: `:1`",
        ),
        (
            |c| c.config.volumes = ["data".into()].into(),
            ErrorKind::Config,
            "image's volume is not an absolute path without `..`: `data`",
        ),
        (
            |c| c.config.volumes = ["/a/../../b".into()].into(),
            ErrorKind::Config,
            "image's volume is not an absolute path without `..`: `/a/../../b`",
        ),
        (
            |c| c.config.volumes = ["//proc/./sys".into()].into(),
            ErrorKind::Config,
            "image's volume would cover what the runtime mounts: `//proc/./sys`",
        ),
    ];
    for (change, kind, want) in cases {
        let mut place = Place::new();
        change(&mut place.config);
        for error in [
            bundle::check_config(&place.config, &Options::default()).unwrap_err(),
            place.write().unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, want));
        }
        assert_eq!(fs::read_dir(place.bundle()).unwrap().count(), 1, "{want}");
    }
}

#[test]
fn labels_win_over_derived_annotations_but_give_no_orders() {
    let mut place = Place::new();
    place.config.author = Some("derived".to_owned());
    place.config.created = Some("2020-01-01T00:00:00Z".to_owned());
    place.config.variant = Some("v2".to_owned());
    let run = &mut place.config.config;
    run.stop_signal = Some("SIGQUIT".to_owned());
    run.exposed_ports = ["80/tcp".to_owned(), "53/udp".to_owned()].into();
    let orders = [
        "run.oci.hooks.stdout",
        "run.oci.handler",
        "io.katacontainers.config.hypervisor.path",
        "io.kubernetes.cri.container-type",
        "org.systemd.property.ExecStart",
        "org.criu.config",
    ];
    for (name, value) in [
        ("org.opencontainers.image.author", "label"),
        ("hooks", "inert"),
        ("", "no name"),
    ] {
        run.labels.insert(name.to_owned(), value.to_owned());
    }
    run.labels
        .extend(orders.map(|name| (name.to_owned(), "order".to_owned())));
    let spec = place.write().unwrap();
    let annotations = spec
        .annotations
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect::<Vec<_>>();
    assert_eq!(
        annotations,
        [
            ("hooks", "inert"),
            ("org.opencontainers.image.architecture", "amd64"),
            ("org.opencontainers.image.author", "label"),
            ("org.opencontainers.image.created", "2020-01-01T00:00:00Z"),
            ("org.opencontainers.image.exposedPorts", "53/udp,80/tcp"),
            ("org.opencontainers.image.os", "linux"),
            ("org.opencontainers.image.stopSignal", "SIGQUIT"),
            ("org.opencontainers.image.variant", "v2"),
        ]
    );
    assert!(spec.other.is_empty());
}

#[test]
fn volumes_are_mounted_last_with_the_owner_of_the_images_directory() {
    if !is_root() {
        return;
    }
    let mut place = Place::new();
    let owned = place.rootfs().join("var/lib/data");
    fs::create_dir_all(&owned).unwrap();
    fs::set_permissions(&owned, fs::Permissions::from_mode(0o2750)).unwrap();
    std::os::unix::fs::chown(&owned, Some(12), Some(34)).unwrap();
    place.file("srv/www/index.html", "content of the image");
    symlink("/var/lib", place.rootfs().join("short")).unwrap();
    let base = "nosuid,nodev,relatime,mode=";
    assert_eq!(
        place.volumes(&[
            "/var//lib/./data/",
            "/srv/www",
            "/new/dir",
            "/short/data",
            "/var/lib/data"
        ]),
        Ok(vec![
            ("/new/dir".to_owned(), format!("{base}0755")),
            ("/short/data".to_owned(), format!("{base}2750,uid=12,gid=34")),
            ("/var/lib/data".to_owned(), format!("{base}2750,uid=12,gid=34")),
        ])
    );
}

#[test]
fn volumes_do_not_reach_the_runtimes_mounts_by_the_images_links() {
    let mut place = Place::new();
    for dir in ["proc", "sys", "dev", "real"] {
        fs::create_dir(place.rootfs().join(dir)).unwrap();
    }
    place.file("file", "x");
    for (name, target) in [
        ("p", "/proc"),
        ("up", "../../.."),
        ("dangling", "/proc/self"),
        ("loop", "loop"),
    ] {
        symlink(target, place.rootfs().join(name)).unwrap();
    }
    let covers = "image's volume would cover what the runtime mounts";
    for (volume, why) in [
        ("/p", covers),
        ("/p/sys", covers),
        ("/up", covers),
        ("/up/dev/shm", covers),
        ("/up/up/proc/x", covers),
        ("/dangling", "image's volume has a link to nowhere in its path"),
        ("/dangling/x", "image's volume has a link to nowhere in its path"),
        ("/loop/x", "image's volume is below what is no directory"),
        ("/file/x", "image's volume is below what is no directory"),
        ("/file", "image's volume is not a directory in the image"),
    ] {
        let error = place.volumes(&[volume]).unwrap_err();
        assert!(error.starts_with(why), "{volume}: {error}");
    }
    fs::remove_dir(place.rootfs().join("dev")).unwrap();
    assert!(place.volumes(&["/up/dev/x"]).unwrap_err().contains(covers));
    assert_eq!(
        place
            .volumes(&["/up/real", "/processes", "/up/fresh"])
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn a_config_is_never_replaced_and_is_written_whole() {
    let place = Place::new();
    let path = place.bundle().join("config.json");
    let spec = place.write().unwrap();
    let text = fs::read(&path).unwrap();
    assert_eq!(Spec::parse(&text).unwrap(), spec);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(spec.root.as_ref().unwrap().path, "rootfs");
    let kinds = spec
        .linux
        .as_ref()
        .unwrap()
        .namespaces
        .iter()
        .map(|n| n.kind)
        .collect::<Vec<_>>();
    assert!(kinds.contains(&NamespaceKind::Network) && kinds.len() == 6);

    let again = bundle::write(place.bundle(), &place.config, &place.rootfs());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Occupied);
    assert_eq!(fs::read(&path).unwrap(), text);

    // A link in the way is not followed either.
    fs::remove_file(&path).unwrap();
    let victim = place.temp.path().join("rootfs/victim");
    symlink(&victim, &path).unwrap();
    let through = bundle::write(place.bundle(), &place.config, &place.rootfs());
    assert_eq!(through.unwrap_err().kind(), ErrorKind::Occupied);
    assert!(!victim.exists());
    assert_eq!(
        fs::read_dir(place.bundle()).unwrap().count(),
        2,
        "temporary files are gone"
    );
}

#[test]
fn only_an_unused_place_is_taken() {
    let temp = tempfile::tempdir().unwrap();
    let bundle = temp.path().join("bundle");
    bundle::check_unused(&bundle).unwrap();
    let made = bundle::prepare(&bundle).unwrap();
    assert_eq!(
        made,
        Made {
            bundle: true,
            rootfs: true
        }
    );
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o700);
    bundle::check_unused(&bundle).unwrap();
    assert_eq!(
        bundle::prepare(&bundle).unwrap(),
        Made {
            bundle: false,
            rootfs: false
        }
    );

    let refused = |why: &str| {
        let error = bundle::check_unused(&bundle).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Occupied, "{why}: {}", chain(&error));
        assert_eq!(
            bundle::prepare(&bundle).unwrap_err().kind(),
            ErrorKind::Occupied,
            "{why}"
        );
    };
    let (rootfs, config) = (bundle.join("rootfs"), bundle.join("config.json"));
    fs::write(rootfs.join("f"), "").unwrap();
    refused("rootfs holds a file");
    fs::remove_dir_all(&rootfs).unwrap();
    symlink(temp.path(), &rootfs).unwrap();
    refused("rootfs is a link");
    fs::remove_file(&rootfs).unwrap();
    fs::write(&rootfs, "").unwrap();
    refused("rootfs is a file");
    fs::remove_file(&rootfs).unwrap();
    symlink("nowhere", &config).unwrap();
    refused("config.json is a link");
    fs::remove_file(&config).unwrap();
    fs::write(&config, "{}").unwrap();
    refused("config.json is there");

    bundle::remove(
        &bundle,
        Made {
            bundle: true,
            rootfs: true,
        },
    )
    .unwrap();
    assert!(!bundle.exists());
    bundle::remove(&bundle, made).unwrap();
}

#[test]
fn removal_takes_away_only_what_was_made() {
    let temp = tempfile::tempdir().unwrap();
    let bundle = temp.path().join("bundle");
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    fs::write(bundle.join("config.json"), "{}").unwrap();
    fs::write(bundle.join("mine"), "").unwrap();
    bundle::remove(&bundle, Made::default()).unwrap();
    assert!(bundle.join("rootfs").exists() && !bundle.join("config.json").exists());
    bundle::remove(
        &bundle,
        Made {
            bundle: true,
            rootfs: true,
        },
    )
    .unwrap();
    assert!(!bundle.join("rootfs").exists() && bundle.join("mine").exists());
}

#[test]
fn a_mounted_rootfs_is_not_an_unused_place() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /"]);
    let bundle = lab.dir("bundle");
    let rootfs = lab.dir("bundle/rootfs");
    let empty = lab.dir("empty");
    nix::mount::mount(
        Some(&empty),
        &rootfs,
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let error = bundle::check_unused(&bundle).unwrap_err();
    nix::mount::umount(&rootfs).unwrap();
    assert_eq!(error.kind(), ErrorKind::Occupied);
    assert!(
        error.to_string().starts_with("something is mounted at"),
        "{error}"
    );
}
