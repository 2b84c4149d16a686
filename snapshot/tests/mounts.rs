// SPDX-License-Identifier: Apache-2.0
//! What happens around a mount: use, failure, repetition, choice.
mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Lab, chain, is_root};
use snapshot::{Copy, ErrorKind, Overlay, Snapshotter, choose};

fn both() -> [Box<dyn Snapshotter>; 2] {
    [Box::new(Overlay), Box::new(Copy)]
}

#[test]
fn a_mounted_tree_is_writable_and_its_layers_do_not_change() {
    if !is_root() {
        return;
    }
    for snapshotter in both() {
        let lab = Lab::new(&["d /\nd /d\nf /d/f lower"]);
        let before = common::list(&lab.layers[0].tree);
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        let mounted = snapshotter.mount(&lab.layers, &state, &target).unwrap();
        assert_eq!(
            (mounted.snapshotter, &mounted.target),
            (snapshotter.name(), &target)
        );
        fs::write(target.join("d/f"), "changed").unwrap();
        fs::write(target.join("d/big"), vec![1; 1 << 20]).unwrap();
        fs::remove_file(target.join("d/f")).unwrap();
        let usage = snapshotter.usage(&state).unwrap();
        assert!(
            (1 << 20..2 << 20).contains(&usage),
            "{}: {usage}",
            snapshotter.name()
        );
        snapshotter.unmount(&state, &target).unwrap();
        lab.assert_clean();
        assert_eq!(common::list(&lab.layers[0].tree), before);
    }
}

#[test]
fn unmounting_again_or_what_never_was_mounted_does_nothing() {
    if !is_root() {
        return;
    }
    for snapshotter in both() {
        let lab = Lab::new(&["d /\nf /f x"]);
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        snapshotter.unmount(&state, &target).unwrap();
        snapshotter.mount(&lab.layers, &state, &target).unwrap();
        snapshotter.unmount(&state, &target).unwrap();
        fs::write(target.join("mine"), "kept").unwrap();
        snapshotter.unmount(&state, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("mine")).unwrap(), "kept");
        fs::remove_dir_all(&target).unwrap();
        snapshotter.unmount(&state, &target).unwrap();
        fs::remove_dir(&state).unwrap();
        snapshotter.unmount(&state, &target).unwrap();
    }
}

#[test]
fn a_tree_in_use_is_detached() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /\nf /f content"]);
    let (state, target) = (lab.dir("state"), lab.dir("target"));
    Overlay.mount(&lab.layers, &state, &target).unwrap();
    let open = fs::File::open(target.join("f")).unwrap();
    Overlay.unmount(&state, &target).unwrap();
    lab.assert_clean();
    assert_eq!(std::io::read_to_string(open).unwrap(), "content");
}

#[test]
fn a_tree_of_any_depth_is_removed() {
    if !is_root() {
        return;
    }
    for snapshotter in both() {
        let lab = Lab::new(&["d /"]);
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        snapshotter.mount(&lab.layers, &state, &target).unwrap();
        let mut dir = nix::fcntl::open(
            &target,
            nix::fcntl::OFlag::O_DIRECTORY,
            nix::sys::stat::Mode::empty(),
        )
        .unwrap();
        // Longer than any path, deeper than the usual number of open files.
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&dir, "name", nix::sys::stat::Mode::S_IRWXU).unwrap();
            let flags = nix::fcntl::OFlag::O_DIRECTORY;
            dir = nix::fcntl::openat(&dir, "name", flags, nix::sys::stat::Mode::empty()).unwrap();
        }
        drop(dir);
        snapshotter.unmount(&state, &target).unwrap();
        lab.assert_clean();
    }
}

#[test]
fn a_failed_mount_leaves_nothing() {
    if !is_root() {
        return;
    }
    for snapshotter in both() {
        let mut lab = Lab::new(&["d /\nf /f x", "d /\nd /d\nw /d/stray\nlink /l nothing"]);
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        let error = snapshotter.mount(&lab.layers, &state, &target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Layer);
        assert_eq!(
            error.to_string(),
            "hard link `l` in layer 1 leads to no file of a lower layer: `nothing`"
        );
        lab.assert_clean();

        lab.layers[1].links = vec![(b"l".to_vec(), b"../../etc/passwd".to_vec())];
        let error = snapshotter.mount(&lab.layers, &state, &target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Layer);
        lab.layers[1].links.clear();
        for path in [&b"../d"[..], b"/d", b"d/", b"d//d", b"d\0", b"./d"] {
            lab.layers[1].implied = vec![path.to_vec()];
            let error = snapshotter.mount(&lab.layers, &state, &target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Layer, "{}", path.escape_ascii());
        }
        lab.layers[1].implied.clear();
        lab.layers[1].links = vec![(b"l".to_vec(), b"d".to_vec())];
        assert_eq!(
            snapshotter
                .mount(&lab.layers, &state, &target)
                .unwrap_err()
                .kind(),
            ErrorKind::Layer
        );
        lab.layers[1].tree = lab.temp.path().join("missing");
        assert!(snapshotter.mount(&lab.layers, &state, &target).is_err());
        lab.assert_clean();
    }
}

#[test]
fn directories_in_use_and_links_are_refused() {
    if !is_root() {
        return;
    }
    for snapshotter in both() {
        let lab = Lab::new(&["d /\nf /f x"]);
        let (state, target, full) = (lab.dir("state"), lab.dir("target"), lab.dir("full"));
        fs::write(full.join("mine"), "kept").unwrap();
        let link = lab.temp.path().join("link");
        symlink(&target, &link).unwrap();
        for (state, target) in [(&state, &full), (&full, &target)] {
            let error = snapshotter.mount(&lab.layers, state, target).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Occupied, "{}", chain(&error));
        }
        for (state, target) in [(&state, &link), (&link, &target)] {
            assert!(snapshotter.mount(&lab.layers, state, target).is_err());
        }
        assert_eq!(fs::read_to_string(full.join("mine")).unwrap(), "kept");
        lab.assert_clean();
    }
}

#[test]
fn a_copy_is_not_removed_from_a_directory_that_was_exchanged() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /\nf /f x"]);
    let (state, target) = (lab.dir("state"), lab.dir("target"));
    Copy.mount(&lab.layers, &state, &target).unwrap();
    fs::rename(&target, lab.temp.path().join("moved")).unwrap();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "kept").unwrap();
    Copy.unmount(&state, &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("mine")).unwrap(), "kept");
}

#[test]
fn attributes_of_layers_do_not_redirect() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&[
        "d /\nd /secret\nf /secret/key hidden\nf /plain data",
        "d /\nd /shown\nx /shown trusted.overlay.redirect=/secret\nf /thin \nx /thin trusted.overlay.redirect=/plain\nx /thin trusted.overlay.metacopy=",
    ]);
    for snapshotter in both() {
        let (state, target) = (lab.dir("state"), lab.dir("target"));
        snapshotter.mount(&lab.layers, &state, &target).unwrap();
        assert!(fs::read(target.join("shown/key")).is_err());
        assert_eq!(fs::read(target.join("thin")).unwrap_or_default(), b"");
        snapshotter.unmount(&state, &target).unwrap();
    }
}

#[test]
fn the_choice_is_obeyed_or_refused() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /\nf /f x"]);
    let probe = lab.dir("probe");
    for (name, want) in [
        ("auto", "erofs"),
        ("erofs", "erofs"),
        ("overlay", "overlay"),
        ("copy", "copy"),
    ] {
        assert_eq!(choose(name, &probe).unwrap().name(), want);
    }
    assert_eq!(fs::read_dir(&probe).unwrap().count(), 0);
    let error = choose("erofs-next", &probe).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(
        error.to_string(),
        "no snapshotter (known: auto, erofs, overlay, copy) is called: `erofs-next`"
    );
}

#[test]
fn on_an_overlay_the_choice_is_to_copy() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /\nd /work"]);
    let (state, target) = (lab.dir("state"), lab.dir("target"));
    Overlay.mount(&lab.layers, &state, &target).unwrap();
    let work = target.join("work");
    assert_eq!(choose("auto", &work).unwrap().name(), "copy");
    for name in ["erofs", "overlay"] {
        let error = choose(name, &work).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{}", chain(&error));
    }
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    // And there a copy works.
    let inner = Lab::new(&["d /\nf /f copied"]);
    for name in ["state", "target"] {
        fs::create_dir(work.join(name)).unwrap();
    }
    Copy.mount(&inner.layers, &work.join("state"), &work.join("target"))
        .unwrap();
    assert_eq!(fs::read_to_string(work.join("target/f")).unwrap(), "copied");
    Copy.unmount(&work.join("state"), &work.join("target")).unwrap();
    Overlay.unmount(&state, &target).unwrap();
}

#[test]
fn paths_may_be_long_and_hold_any_character() {
    if !is_root() {
        return;
    }
    let mut lab = Lab::new(&["d /\nf /bottom x", "d /\nf /top x"]);
    let odd = format!("{}/a,b:c\\d=e f\n", "long".repeat(60));
    let dir = lab.dir(&format!("{odd}/{odd}"));
    for layer in &mut lab.layers {
        let moved = dir.join(layer.tree.file_name().unwrap());
        fs::rename(&layer.tree, &moved).unwrap();
        layer.tree = moved;
    }
    for snapshotter in both() {
        let (state, target) = (dir.join("state"), dir.join("target"));
        fs::create_dir_all(&state).unwrap();
        fs::create_dir_all(&target).unwrap();
        snapshotter.mount(&lab.layers, &state, &target).unwrap();
        assert_eq!(common::list(&target).len(), 3);
        snapshotter.unmount(&state, &target).unwrap();
        assert_eq!(common::list(&target).len(), 1);
    }
}

#[test]
fn layers_may_be_on_another_file_system_than_the_tree() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&[
        "d /\nmode / 0711\nd /d\nmode /d 0700\nf /d/f content\nx /d/f trusted.n=v\nh /d/g d/f\ns /s d",
        "implied /\nimplied /d\nd /e\nw /e/stray\nlink /e/l d/f",
    ]);
    let big = (0..3 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>();
    fs::write(lab.layers[0].tree.join("big"), &big).unwrap();
    let want = lab.tree(&Copy);
    let other = lab.dir("other");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("tmpfs"), &other, Some("tmpfs"), flags, None::<&str>).unwrap();
    let trees = both().map(|snapshotter| {
        let (state, target) = (other.join("state"), other.join("target"));
        fs::create_dir_all(&state).unwrap();
        fs::create_dir_all(&target).unwrap();
        snapshotter
            .mount(&lab.layers, &state, &target)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
        let tree = (
            common::list(&target),
            fs::read(target.join("big")).unwrap() == big,
        );
        snapshotter.unmount(&state, &target).unwrap();
        tree
    });
    nix::mount::umount(&other).unwrap();
    for (tree, same) in trees {
        assert_eq!(tree, want);
        assert!(same);
    }
}

#[test]
fn somebody_elses_overlay_at_the_target_stays() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&["d /\nf /mine x"]);
    let (state, target, other) = (lab.dir("state"), lab.dir("target"), lab.dir("other"));
    Overlay.mount(&lab.layers, &other, &target).unwrap();
    Overlay.unmount(&state, &target).unwrap();
    assert!(target.join("mine").exists());
    Overlay.unmount(&other, &target).unwrap();
    lab.assert_clean();
}
