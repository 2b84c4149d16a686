// SPDX-License-Identifier: Apache-2.0
//! Layers that are EROFS images: where they may be, what they share, and what is left of them.
mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::image::{Disk, block_sizes, image, layer, loops, mount_of, takes_files, whiteout};
use common::{chain, is_root};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use snapshot::{Copy, Erofs, ErrorKind, Form, Image, Layer, Overlay, Snapshotter, by_name};

fn mounted(snapshotter: &dyn Snapshotter, layers: &[Layer], state: &Path, target: &Path) {
    snapshotter
        .mount(layers, state, target)
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn an_image_is_a_writable_tree_on_disk_and_in_memory() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let erofs = disk.probe();
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        for &bits in block_sizes(&erofs) {
            let long = "0123456789abcdef".repeat(3000);
            let files = [
                (0, "a", "in the first"),
                (1, "b", long.as_str()),
                (1, "c", ""),
                (0, "d", "end"),
            ];
            let image = image(&disk.root.join(format!("image{bits}")), bits, &[0, 0], &files);
            let kept = [&image.index, &image.devices[1].file].map(|file| fs::read(file).unwrap());
            mounted(&erofs, &[layer(image.clone())], &state, &target);
            for (_, name, content) in files {
                assert_eq!(text(target.join(name)), content);
            }
            fs::write(target.join("a"), vec![1; 1 << 20]).unwrap();
            fs::remove_file(target.join("b")).unwrap();
            let usage = erofs.usage(&state).unwrap();
            assert!((1 << 20..2 << 20).contains(&usage), "{usage}");
            erofs.unmount(&state, &target).unwrap();
            disk.assert_clean();
            assert_eq!(
                [&image.index, &image.devices[1].file].map(|file| fs::read(file).unwrap()),
                kept
            );
        }
    }
}

#[test]
fn files_are_mounted_as_such_where_the_kernel_can() {
    if !is_root() {
        return;
    }
    for (disk, on_disk) in Disk::both().into_iter().zip([true, false]) {
        let erofs = disk.probe();
        let image = image(&disk.root.join("image"), 12, &[0], &[(0, "f", "content")]);
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        mounted(&erofs, &[layer(image.clone())], &state, &target);
        let source = mount_of(&state).source;
        if on_disk && takes_files() {
            assert_eq!(Path::new(&source), image.index);
        } else {
            assert!(source.starts_with("/dev/loop"), "{source}");
        }
        erofs.unmount(&state, &target).unwrap();
        disk.assert_clean();
    }
}

#[test]
fn files_may_be_read_past_their_page_cache() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let long = "0123456789abcdef".repeat(3000);
        let files = [(0, "a", "short"), (0, "b", long.as_str()), (1, "c", "end")];
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        for erofs in [disk.probe(), Erofs::default()] {
            let dir = disk.root.join("image");
            let _ = fs::remove_dir_all(&dir);
            let image = image(&dir, 12, &[0, 0], &files);
            mounted(&erofs.direct(true), &[layer(image)], &state, &target);
            for (_, name, content) in files {
                assert_eq!(text(target.join(name)), content);
            }
            erofs.unmount(&state, &target).unwrap();
            disk.assert_clean();
        }
    }
}

#[test]
fn devices_may_begin_within_files() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let offsets = [512, 0, 3584, 1 << 20];
        let files = [
            (0, "a", "first"),
            (1, "b", "second"),
            (2, "c", "third"),
            (3, "d", "fourth"),
        ];
        let image = image(&disk.root.join("image"), 12, &offsets, &files);
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        for erofs in [disk.probe(), Erofs::default()] {
            mounted(&erofs, &[layer(image.clone())], &state, &target);
            for (_, name, content) in files {
                assert_eq!(text(target.join(name)), content);
            }
            erofs.unmount(&state, &target).unwrap();
            disk.assert_clean();
        }
    }
}

#[test]
fn bundles_of_one_image_share_it() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        // In mountinfo some of these characters are escaped.
        let dir = disk.root.join("an image\\012,:=#\t\n");
        let image = image(&dir, 12, &[0], &[(0, "f", "content")]);
        let other = common::image::image(&disk.root.join("other"), 12, &[0], &[(0, "f", "other")]);
        let erofs = disk.probe();
        let places = [1, 2, 3, 4].map(|n| (disk.dir(&format!("state {n}")), disk.dir(&format!("target{n}"))));
        for (number, (state, target)) in places.iter().enumerate().take(3) {
            let image = if number == 1 { &other } else { &image };
            mounted(&erofs, &[layer(image.clone())], state, target);
        }
        let device = |n: usize| {
            let point = places[n].0.join("images/0");
            fs::metadata(point).unwrap().dev()
        };
        assert_eq!(device(0), device(2));
        assert_ne!(device(0), device(1));
        // The tree itself is not shared.
        fs::write(places[0].1.join("f"), "changed").unwrap();
        assert_eq!(text(places[2].1.join("f")), "content");
        // And the first may go before the others, who hand it on.
        let first = device(0);
        erofs.unmount(&places[0].0, &places[0].1).unwrap();
        assert_eq!(text(places[2].1.join("f")), "content");
        mounted(&erofs, &[layer(image.clone())], &places[3].0, &places[3].1);
        assert_eq!(device(3), first);
        for (state, target) in &places {
            erofs.unmount(state, target).unwrap();
        }
        disk.assert_clean();
    }
}

#[test]
fn bundles_that_begin_together_share_too() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let image = image(&disk.root.join("image"), 12, &[0, 512], &[(0, "f", "content")]);
        let places = (0..8).map(|n| (disk.dir(&format!("state{n}")), disk.dir(&format!("target{n}"))));
        let places = places.collect::<Vec<_>>();
        let erofs = disk.probe();
        std::thread::scope(|scope| {
            for (state, target) in &places {
                let layers = [layer(image.clone())];
                scope.spawn(move || mounted(&erofs, &layers, state, target));
            }
        });
        let devices = places.iter().map(|(state, _)| mount_of(state).device);
        let devices = devices.collect::<std::collections::BTreeSet<_>>();
        assert_eq!(devices.len(), 1, "{devices:?}");
        for (state, target) in &places {
            assert_eq!(text(target.join("f")), "content");
            erofs.unmount(state, target).unwrap();
        }
        disk.assert_clean();
    }
}

#[test]
fn another_image_at_an_old_path_is_not_taken_for_the_old_one_by_loop() {
    if !is_root() {
        return;
    }
    let disk = Disk::tmpfs();
    let erofs = disk.probe();
    let places = [1, 2].map(|n| (disk.dir(&format!("state{n}")), disk.dir(&format!("target{n}"))));
    for ((state, target), content) in places.iter().zip(["first", "second"]) {
        let _ = fs::remove_dir_all(disk.root.join("image"));
        let image = image(&disk.root.join("image"), 12, &[0], &[(0, "f", content)]);
        mounted(&erofs, &[layer(image)], state, target);
        assert_eq!(text(target.join("f")), content);
    }
    for (state, target) in &places {
        erofs.unmount(state, target).unwrap();
    }
    disk.assert_clean();
}

#[test]
fn images_and_trees_are_stacked() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let at = |name: &str| disk.root.join(name);
        let bottom = image(
            &at("bottom"),
            12,
            &[0],
            &[
                (0, "gone", "hidden"),
                (0, "kept", "bottom"),
                (0, "over", "bottom"),
            ],
        );
        let hides = whiteout(&at("hides"), "gone");
        let top = image(&at("top"), 12, &[512], &[(0, "over", "top")]);
        let tree = disk.dir("tree");
        fs::write(tree.join("plain"), "tree").unwrap();
        let mut layers = [
            layer(bottom),
            layer(hides),
            Layer {
                tree,
                ..Layer::default()
            },
            layer(top),
        ];
        // A fact that no single layer's tree can hold.
        layers[3].links = vec![(b"linked".to_vec(), b"kept".to_vec())];
        let erofs = disk.probe();
        if block_sizes(&erofs).len() == 1 {
            layers[1].image = None;
            layers[1].tree = disk.dir("empty");
        }
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        mounted(&erofs, &layers, &state, &target);
        for (name, content) in [
            ("kept", "bottom"),
            ("over", "top"),
            ("plain", "tree"),
            ("linked", "bottom"),
        ] {
            assert_eq!(text(target.join(name)), content);
        }
        assert_eq!(target.join("gone").exists(), layers[1].image.is_none());
        let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(inode("kept"), inode("linked"));
        erofs.unmount(&state, &target).unwrap();
        disk.assert_clean();
    }
}

#[test]
fn many_devices_and_many_layers_are_mounted() {
    if !is_root() {
        return;
    }
    let disk = Disk::ext4();
    let erofs = disk.probe();
    let (state, target) = (disk.dir("state"), disk.dir("target"));
    let names = (0..1000).map(|n| format!("f{n}")).collect::<Vec<_>>();
    // By loop devices, fewer: their number stays on the machine.
    let count = if takes_files() { 1000 } else { 40 };
    let files = (0..count)
        .step_by(100)
        .map(|n| (n, names[n].as_str(), names[n].as_str()));
    let many = image(
        &disk.root.join("many"),
        12,
        &vec![0; count],
        &files.collect::<Vec<_>>(),
    );
    mounted(&erofs, &[layer(many)], &state, &target);
    for name in names.iter().take(count).step_by(100) {
        assert_eq!(text(target.join(name)), *name);
    }
    erofs.unmount(&state, &target).unwrap();
    disk.assert_clean();

    let count = if takes_files() { 499 } else { 20 };
    let layers = names[..count].iter().map(|name| {
        let dir = disk.root.join(format!("layer-{name}"));
        layer(image(&dir, 12, &[0], &[(0, name, name)]))
    });
    let layers = layers.collect::<Vec<_>>();
    mounted(&erofs, &layers, &state, &target);
    assert_eq!(fs::read_dir(&target).unwrap().count(), count);
    assert_eq!(text(target.join(&names[count - 1])), names[count - 1]);
    erofs.unmount(&state, &target).unwrap();
    disk.assert_clean();
}

#[test]
fn a_small_number_of_loop_devices_is_enough() {
    if !is_root() {
        return;
    }
    let disk = Disk::tmpfs();
    let offsets = (0..30).map(|n| n % 8 * 512).collect::<Vec<_>>();
    let image = image(&disk.root.join("image"), 12, &offsets, &[(29, "f", "content")]);
    let erofs = disk.probe();
    let places = [1, 2, 3].map(|n| (disk.dir(&format!("state{n}")), disk.dir(&format!("target{n}"))));
    for (state, target) in &places {
        mounted(&erofs, &[layer(image.clone())], state, target);
        assert_eq!(text(target.join("f")), "content");
    }
    let inside = format!("{}/", disk.root.display());
    assert_eq!(loops(&inside).len(), 31);
    for (state, target) in &places {
        erofs.unmount(state, target).unwrap();
    }
    disk.assert_clean();
}

#[test]
fn paths_may_be_long() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let dir = disk.root.join("long".repeat(60)).join("name".repeat(60));
        let image = image(&dir, 12, &[0, 0], &[(1, "f", "content")]);
        let erofs = disk.probe();
        let (state, target) = (dir.join("state"), dir.join("target"));
        for place in [&state, &target] {
            fs::create_dir(place).unwrap();
        }
        mounted(&erofs, &[layer(image)], &state, &target);
        assert_eq!(text(target.join("f")), "content");
        erofs.unmount(&state, &target).unwrap();
        disk.assert_clean();
    }
}

#[test]
fn what_a_crash_left_is_removed() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let image = image(&disk.root.join("image"), 12, &[0, 512], &[(0, "f", "content")]);
        let erofs = disk.probe();
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        // Without a trial, as another process would.
        let undo = || {
            for _ in 0..2 {
                by_name("erofs").unwrap().unmount(&state, &target).unwrap();
            }
            disk.assert_clean();
        };
        let mounted = || mounted(&erofs, &[layer(image.clone())], &state, &target);
        undo();
        // Before, while and after an image is attached.
        fs::create_dir(state.join("images")).unwrap();
        undo();
        fs::create_dir_all(state.join("images/0")).unwrap();
        undo();
        mounted();
        umount2(&target, MntFlags::empty()).unwrap();
        for name in ["upper", "work"] {
            fs::remove_dir_all(state.join(name)).unwrap();
        }
        fs::create_dir(state.join("images/1")).unwrap();
        undo();
        // Before the overlay is mounted, and while all of it is taken away.
        mounted();
        umount2(&target, MntFlags::empty()).unwrap();
        undo();
        mounted();
        umount2(&state.join("images/0"), MntFlags::empty()).unwrap();
        undo();
        mounted();
        umount2(&target, MntFlags::empty()).unwrap();
        umount2(&state.join("images/0"), MntFlags::empty()).unwrap();
        fs::remove_dir_all(state.join("images")).unwrap();
        undo();
        // In use.
        mounted();
        let open = fs::File::open(target.join("f")).unwrap();
        let lower = fs::File::open(state.join("images/0")).unwrap();
        erofs.unmount(&state, &target).unwrap();
        assert_eq!(std::io::read_to_string(open).unwrap(), "content");
        drop(lower);
        undo();
        // A store that is gone.
        mounted();
        fs::remove_dir_all(disk.root.join("image")).unwrap();
        undo();
    }
}

#[test]
fn what_somebody_else_mounted_stays() {
    if !is_root() {
        return;
    }
    let disk = Disk::tmpfs();
    let erofs = disk.probe();
    let image = image(&disk.root.join("image"), 12, &[0], &[(0, "f", "content")]);
    let (state, target) = (disk.dir("state"), disk.dir("target"));
    // Somebody's bundle at the target of a mount that never was.
    let other = disk.dir("other");
    mounted(&erofs, &[layer(image)], &other, &target);
    erofs.unmount(&state, &target).unwrap();
    assert_eq!(text(target.join("f")), "content");
    erofs.unmount(&other, &target).unwrap();
    // Somebody's file system where an image would be.
    let place = state.join("images/0");
    fs::create_dir_all(&place).unwrap();
    mount(
        Some("tmpfs"),
        &place,
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .unwrap();
    fs::write(place.join("mine"), "kept").unwrap();
    assert!(erofs.unmount(&state, &target).is_err());
    assert_eq!(text(place.join("mine")), "kept");
    umount2(&place, MntFlags::empty()).unwrap();
    erofs.unmount(&state, &target).unwrap();
    disk.assert_clean();
}

#[test]
fn damaged_images_are_refused() {
    if !is_root() {
        return;
    }
    for disk in Disk::both() {
        let erofs = disk.probe();
        let (state, target) = (disk.dir("state"), disk.dir("target"));
        let good = image(
            &disk.root.join("image"),
            12,
            &[0, 512],
            &[(0, "a", "one"), (1, "b", "two")],
        );
        let sane = layer(image(&disk.root.join("sane"), 12, &[512], &[(0, "f", "content")]));
        let index = fs::read(&good.index).unwrap();
        let refused = |what: &str, image: &Image| {
            // The sound one below is undone as well.
            let layers = [sane.clone(), layer(image.clone())];
            let error = erofs.mount(&layers, &state, &target).unwrap_err();
            disk.assert_clean();
            let text = chain(&error);
            assert!(text.contains(what), "`{text}` has no `{what}`");
            error.kind()
        };
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = index.clone();
            change(&mut bytes);
            fs::write(&good.index, bytes).unwrap();
        };
        for (what, change) in [
            ("image has no superblock: ", &|b: &mut Vec<u8>| b.clear() as _),
            ("image has no superblock: ", &|b| b.truncate(1100)),
            ("image has no superblock: ", &|b| b.fill(0x5a)),
            ("image has blocks of no known size: ", &|b| b[1024 + 12] = 255),
            ("image is cut short: ", &|b| b.truncate(8191)),
            ("image is cut short: ", &|b| b[1024 + 36 + 3] = 255),
            ("image is cut short: ", &|b| b[1024 + 88 + 1] = 255),
            ("image has 3 devices and not 2: ", &|b| b[1024 + 86] = 3),
            ("device of image is cut short: ", &|b| b[1152 + 64 + 2] = 1),
        ] as [(&str, &dyn Fn(&mut Vec<u8>)); 9]
        {
            with(change);
            assert_eq!(refused(what, &good), ErrorKind::Layer);
        }
        // What only the kernel sees: a feature of the future, a directory that is none.
        with(&|bytes| bytes[1024 + 80 + 3] = 0x80);
        assert_eq!(
            refused("cannot mount image, it is damaged", &good),
            ErrorKind::Unsupported
        );
        with(&|bytes| bytes[1024 + 14] = 0);
        refused("cannot mount image, ", &good);
        with(&|_| {});

        let mut image = good.clone();
        image.devices.pop();
        assert_eq!(
            refused("image has 2 devices and not 1: ", &image),
            ErrorKind::Layer
        );
        image.devices.clear();
        assert_eq!(
            refused("image has 2 devices and not 0: ", &image),
            ErrorKind::Layer
        );
        for (offset, what) in [(100, "begins at no multiple of 512"), (u64::MAX, "is cut short")] {
            let mut image = good.clone();
            image.devices[1].offset = offset;
            assert_eq!(refused(what, &image), ErrorKind::Layer);
        }
        for (path, what) in [
            (disk.root.join("missing"), "cannot open part of image: "),
            (disk.dir("directory"), "part of image is no regular file: "),
            ("/dev/null".into(), "part of image is no regular file: "),
        ] {
            let mut image = good.clone();
            image.devices[0].file.clone_from(&path);
            refused(what, &image);
            image.clone_from(&good);
            image.index = path;
            refused(what, &image);
        }
        // And what is whole is mounted.
        mounted(&erofs, &[sane, layer(good)], &state, &target);
        assert_eq!(text(target.join("b")), "two");
        erofs.unmount(&state, &target).unwrap();
        disk.assert_clean();
    }
}

#[test]
fn snapshotters_say_what_they_want() {
    if !is_root() {
        return;
    }
    for name in ["erofs", "overlay", "copy"] {
        assert_eq!(by_name(name).unwrap().name(), name);
    }
    assert!(by_name("auto").is_none());
    assert_eq!((Overlay.form(), Copy.form()), (Form::Trees, Form::Trees));
    assert_eq!(Erofs::default().form(), Form::Images { small_blocks: false });
    let disk = Disk::tmpfs();
    let image = layer(image(&disk.root.join("image"), 12, &[0], &[(0, "f", "content")]));
    let (state, target) = (disk.dir("state"), disk.dir("target"));
    for snapshotter in [&Overlay as &dyn Snapshotter, &Copy] {
        let error = snapshotter
            .mount(std::slice::from_ref(&image), &state, &target)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error
                .to_string()
                .starts_with("only the `erofs` snapshotter mounts a layer")
        );
        disk.assert_clean();
    }
}
