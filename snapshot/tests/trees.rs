// SPDX-License-Identifier: Apache-2.0
//! Every snapshotter shows the same tree, and it is the right one.
mod common;

use common::{Lab, check, is_root};
use snapshot::{Copy, Overlay, Snapshotter};

#[test]
fn every_kind_of_inode_keeps_all_metadata() {
    check(
        &["d /
           mode / 0711
           own / 3:4
           x / user.root=yes
           d /d
           mode /d 1777
           own /d 3000000:4000000000
           x /d user.note=dir
           f /d/f hello
           own /d/f 1:2
           mode /d/f 4755
           x /d/f user.note=file
           x /d/f trusted.note=kept
           h /d/g d/f
           s /d/s ../anywhere
           own /d/s 5:6
           x /d/s trusted.note=link
           p /d/p
           c /d/c
           mode /d/c 666
           own /d/c 0:5
           f /empty "],
        "d d/c d/f d/g d/p d/s empty",
        &[
            ("", "dir 711 3:4 1000000.000000000 user.root=yes"),
            ("d", "dir 1777 3000000:4000000000"),
            ("d/f", "file \"hello\" 4755 1:2"),
            ("d/f", "trusted.note=kept user.note=file"),
            ("d/g", "= d/f"),
            ("d/s", "symlink -> ../anywhere 777 5:6"),
            ("d/s", "trusted.note=link"),
            ("d/p", "fifo 640"),
            ("d/c", "char 1281 666 0:5"),
            ("empty", "file \"\" 644"),
        ],
    );
}

#[test]
fn capabilities_survive() {
    if !is_root() {
        return;
    }
    let lab = Lab::new(&[
        "d /\nf /ping program\nown /ping 7:8",
        "d /\nd /bin\nlink /bin/ping ping",
    ]);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = lab.layers[0].tree.join("ping");
    rustix::fs::lsetxattr(
        &file,
        c"security.capability",
        &capability,
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    for tree in [lab.tree(&Overlay), lab.tree(&Copy)] {
        assert!(
            tree["ping"].contains("security.capability=\\x01\\x00\\x00\\x02"),
            "{}",
            tree["ping"]
        );
        assert!(
            tree["bin/ping"].contains("security.capability="),
            "{}",
            tree["bin/ping"]
        );
    }
}

#[test]
fn upper_layers_win() {
    check(
        &[
            "d /\nd /a\nmode /a 0700\nf /a/x lower\nf /a/y lower",
            "d /\nd /a\nmode /a 0750\nf /a/x upper\nf /a/z upper",
        ],
        "a a/x a/y a/z",
        &[
            ("a", "dir 750"),
            ("a/x", "upper"),
            ("a/y", "lower"),
            ("a/z", "upper"),
        ],
    );
}

#[test]
fn kinds_replace_each_other() {
    check(
        &[
            "d /\nd /dir\nf /dir/inner x\nf /file x\ns /link dir\nd /dir2\nf /dir2/inner x",
            "d /\nf /dir now-a-file\nd /file\nf /file/inner new\nd /link\nf /link/inner new\ns /dir2 file",
        ],
        "dir dir2 file file/inner link link/inner",
        &[
            ("dir", "now-a-file"),
            ("file/inner", "new"),
            ("link", "dir 755"),
            ("dir2", "symlink -> file"),
        ],
    );
}

#[test]
fn a_directory_below_a_file_does_not_shine_through() {
    check(
        &[
            "d /\nd /p\nf /p/deep hidden",
            "d /\nf /p blocks",
            "d /\nd /p\nf /p/new new",
        ],
        "p p/new",
        &[],
    );
}

#[test]
fn whiteouts_hide_files_and_trees() {
    check(
        &[
            "d /\nf /gone x\nd /tree\nd /tree/sub\nf /tree/sub/f x\nf /stays x",
            "d /\nw /gone\nw /tree",
        ],
        "stays",
        &[],
    );
}

#[test]
fn opaque_directories_hide_what_is_in_them() {
    check(
        &[
            "d /\nd /d\nf /d/old x\nd /d/sub\nf /d/sub/old x",
            "d /\nd /d\no /d\nf /d/new x\nd /d/sub",
        ],
        "d d/new d/sub",
        &[],
    );
}

#[test]
fn an_opaque_root_hides_all_lower_layers() {
    check(
        &[
            "d /\nmode / 0700\nf /old x",
            "d /\nmode / 0711\nopaque-root\nf /new x",
            "implied /\nf /newest x",
        ],
        "new newest",
        &[("", "dir 711")],
    );
}

#[test]
fn a_stray_whiteout_is_not_listed() {
    check(
        &[
            "d /\nd /other",
            "d /\nd /only\nmode /only 0701\nown /only 9:9\nx /only user.n=v\nf /only/f x\nw /only/never",
        ],
        "only only/f other",
        &[("only", "dir 701 9:9 1000001.000001001 user.n=v")],
    );
    check(
        &["d /\nd /a\nd /a/b\nmode /a/b 0710\nw /a/b/c\nw /a/x"],
        "a a/b",
        &[("a/b", "dir 710")],
    );
    // Below an opaque directory there is nothing to merge with, whatever the layers below have.
    check(&["d /\nd /d\nf /d/f x", "d /\nd /d\no /d\nw /d/f"], "d", &[]);
}

#[test]
fn directories_that_only_hold_whiteouts_are_there_to_hide_not_to_be() {
    let hollow = "d /\nimplied /a\nimplied /a/b\nw /a/b/gone\nimplied /o\no /o";
    // Nothing below: nothing to see.
    check(&["d /\nf /f x", hollow], "f", &[]);
    // They hide in what is below, whose metadata stays.
    check(
        &[
            "d /\nd /a\nmode /a 0700\nd /a/b\nmode /a/b 0711\nf /a/b/gone x\nf /a/b/kept x\nd /o\nmode /o 0701\nf /o/gone x",
            hollow,
        ],
        "a a/b a/b/kept o",
        &[("a", "dir 700"), ("a/b", "dir 711"), ("o", "dir 701")],
    );
    // What is no directory stays what it is.
    check(
        &["d /\nf /a file\ns /o elsewhere", hollow],
        "a o",
        &[("a", "\"file\""), ("o", "symlink -> elsewhere")],
    );
    check(
        &["d /\nd /a\nf /a/b file", hollow, "d /\nimplied /a\nf /a/c x"],
        "a a/b a/c",
        &[],
    );
    // Something beside the whiteout makes a directory of it.
    check(&["d /", "d /\nimplied /a\nw /a/gone\nf /a/new x"], "a a/new", &[]);
}

#[test]
fn implied_directories_show_the_metadata_of_the_layer_below() {
    check(
        &[
            "d /\nmode / 0705\nd /a\nmode /a 0700\nown /a 1:1\nx /a user.n=v\nd /a/b\nmode /a/b 0711\nown /a/b 2:2",
            "implied /\nimplied /a\nimplied /a/b\nf /a/b/new x",
            "implied /\nimplied /a\nf /a/newer x",
        ],
        "a a/b a/b/new a/newer",
        &[
            ("", "dir 705"),
            ("a", "dir 700 1:1 1000002.000002002 user.n=v"),
            ("a/b", "dir 711 2:2"),
        ],
    );
}

#[test]
fn implied_directories_that_nothing_names_are_plain() {
    check(
        &["implied /\nimplied /a\nd /a/x", "implied /\nimplied /a\nf /a/y z"],
        "a a/x a/y",
        &[("", "dir 755 0:0 0.000000000")],
    );
}

#[test]
fn an_implied_directory_does_not_take_after_a_hidden_one() {
    check(
        &[
            "d /\nd /a\nmode /a 0700",
            "d /\nw /a",
            "d /\nimplied /a\nf /a/x y",
        ],
        "a a/x",
        &[("a", "dir 755")],
    );
}

#[test]
fn an_opaque_mark_alone_keeps_the_directory_and_its_metadata() {
    check(
        &[
            "d /\nd /a\nmode /a 0700\nf /a/old x",
            "d /\nimplied /a\no /a\nf /a/new x",
        ],
        "a a/new",
        &[("a", "dir 700")],
    );
}

#[test]
fn an_image_without_layers_is_an_empty_tree() {
    check(&[], "", &[("", "dir 755 0:0 0.000000000")]);
}

#[test]
fn holes_and_large_files_are_copied() {
    if !is_root() {
        return;
    }
    use std::os::unix::fs::{FileExt, MetadataExt};
    let lab = Lab::new(&["d /"]);
    let source = std::fs::File::create(lab.layers[0].tree.join("sparse")).unwrap();
    source.set_len(1 << 30).unwrap();
    source.write_all_at(b"start", 0).unwrap();
    source.write_all_at(b"middle", 512 << 20).unwrap();
    let (state, target) = (lab.dir("state"), lab.dir("target"));
    Copy.mount(&lab.layers, &state, &target).unwrap();
    let copy = std::fs::File::open(target.join("sparse")).unwrap();
    let meta = copy.metadata().unwrap();
    assert_eq!(meta.len(), 1 << 30);
    assert!(
        meta.blocks() * 512 < 1 << 20,
        "holes were filled: {} blocks",
        meta.blocks()
    );
    let mut buffer = [0; 6];
    copy.read_exact_at(&mut buffer, 512 << 20).unwrap();
    assert_eq!(&buffer, b"middle");
    Copy.unmount(&state, &target).unwrap();
}

#[test]
fn five_hundred_layers_mount_and_more_are_refused_by_name() {
    if !is_root() {
        return;
    }
    let scripts = (0..501)
        .map(|number| format!("d /\nf /f{number} x\nf /last {number}"))
        .collect::<Vec<_>>();
    let scripts = scripts.iter().map(String::as_str).collect::<Vec<_>>();
    let lab = Lab::new(&scripts[..500]);
    let overlay = lab.tree(&Overlay);
    assert_eq!(overlay.len(), 502);
    assert!(overlay["last"].contains("499"));
    assert_eq!(lab.tree(&Copy), overlay);

    let lab = Lab::new(&scripts);
    let error = Overlay
        .mount(&lab.layers, &lab.dir("state"), &lab.dir("target"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "overlay stacks at most 500 layers, this image needs: 501"
    );
    assert!(error.hint().unwrap().contains("copy"));
    lab.assert_clean();
    assert_eq!(lab.tree(&Copy).len(), 503);
}
