// SPDX-License-Identifier: Apache-2.0
//! The work directory, staging and layers.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use common::{id, layer, list, publish, tamper};
use meta_store::{ErrorKind, Form, NewLayer, Store};
use tempfile::tempdir;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn work_dir_is_made_with_its_parents_and_private() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("a/b/store");
    let store = Store::open(&work_dir).unwrap();
    let stage = store.stage().unwrap();
    for path in ["", "layers", "merged", "staging", "mounts", "claims"] {
        assert_eq!(mode(&work_dir.join(path)), 0o700, "{path}");
    }
    assert_eq!(mode(stage.path()), 0o700);
    assert_eq!(mode(&work_dir.join("catalogue.db")), 0o600);
}

#[test]
fn work_dir_mode_is_tightened_only_where_it_is_ours() {
    let table = [
        ("empty", 0o755, None, Ok(0o700)),
        ("a store", 0o750, Some("catalogue.db"), Ok(0o700)),
        ("root of a file system", 0o755, Some("lost+found"), Ok(0o755)),
        ("a new tmpfs, writable by all", 0o1777, None, Ok(0o700)),
        (
            "in use and writable by all",
            0o1777,
            Some("other"),
            Err(ErrorKind::Unsafe),
        ),
        (
            "a store writable by a group",
            0o770,
            Some("catalogue.db"),
            Err(ErrorKind::Unsafe),
        ),
    ];
    for (name, before, entry, want) in table {
        let dir = tempdir().unwrap();
        let work_dir = dir.path().join("store");
        fs::create_dir(&work_dir).unwrap();
        if let Some(entry) = entry {
            fs::write(work_dir.join(entry), "").unwrap();
        }
        fs::set_permissions(&work_dir, Permissions::from_mode(before)).unwrap();
        let got = Store::open(&work_dir)
            .map(|_| mode(&work_dir))
            .map_err(|error| error.kind());
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn work_dir_that_is_no_directory_or_holds_links_for_folders_is_refused() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().contains("file`")),
        (ErrorKind::Unsafe, true),
        "{error}"
    );

    let elsewhere = dir.path().join("elsewhere");
    let work_dir = dir.path().join("store");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir(&work_dir).unwrap();
    symlink(&elsewhere, work_dir.join("layers")).unwrap();
    let error = Store::open(&work_dir).unwrap_err();
    assert!(error.to_string().ends_with("store/layers`"), "{error}");
}

#[test]
fn work_dir_of_others_is_refused_with_its_path() {
    if !nix::unistd::geteuid().is_root() {
        let error = Store::open(Path::new("/proc/1/fd/store")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        return;
    }
    // For file access this thread is somebody without rights; others are not affected.
    std::thread::spawn(|| {
        let dir = tempdir().unwrap();
        let path = dir.path().join("store");
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
        let error = Store::open(&path).unwrap_err();
        nix::unistd::setfsuid(nix::unistd::Uid::from_raw(0));
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(
            error.to_string(),
            format!("cannot open the work directory: `{}`", path.display())
        );
        assert!(error.hint().unwrap().contains("owner"));
    })
    .join()
    .unwrap();
}

#[test]
fn published_layer_is_found_in_every_handle_and_after_reopening() {
    let dir = tempdir().unwrap();
    let (store, other) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
    let record = publish(&store, "a");
    assert_eq!(record.diff_id, id("a"));
    assert_eq!(record.notes, b"a");
    assert!(record.tree.is_absolute() && record.tree.ends_with(format!("sha256-{}/tree", id("a").hex())));
    assert_eq!(fs::read_to_string(record.tree.join("word")).unwrap(), "a");
    assert_eq!(other.layer(&id("a"), Form::Tree).unwrap(), Some(record.clone()));
    drop((store, other));
    assert_eq!(
        Store::open(dir.path())
            .unwrap()
            .layer(&id("a"), Form::Tree)
            .unwrap(),
        Some(record)
    );
    assert_eq!(
        list(dir.path(), "staging"),
        [""; 0],
        "publishing leaves nothing in staging"
    );
}

#[test]
fn twin_is_discarded_and_the_older_layer_stays() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = publish(&store, "a");
    let stage = store.stage().unwrap();
    fs::create_dir(stage.path().join("tree")).unwrap();
    fs::write(stage.path().join("tree/word"), "other").unwrap();
    let twin = NewLayer {
        notes: b"other".to_vec(),
        ..layer("a")
    };
    assert_eq!(store.publish(stage, twin).unwrap(), first);
    assert_eq!(fs::read_to_string(first.tree.join("word")).unwrap(), "a");
    assert_eq!(list(dir.path(), "staging"), [""; 0]);
}

#[test]
fn record_without_its_tree_is_absent_and_can_be_published_again() {
    type Loss = fn(&Path);
    let table: [(&str, Loss); 3] = [
        ("layer gone", |tree| {
            fs::remove_dir_all(tree.parent().unwrap()).unwrap()
        }),
        ("tree gone", |tree| fs::remove_dir_all(tree).unwrap()),
        ("tree is a link", |tree| {
            let elsewhere = tree.with_file_name("elsewhere");
            fs::rename(tree, &elsewhere).unwrap();
            symlink(&elsewhere, tree).unwrap();
        }),
    ];
    for (name, lose) in table {
        let dir = tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        lose(&publish(&store, "a").tree);
        assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None, "{name}");
        let again = publish(&store, "a");
        assert_eq!(
            store.layer(&id("a"), Form::Tree).unwrap(),
            Some(again.clone()),
            "{name}"
        );
        assert_eq!(
            fs::read_to_string(again.tree.join("word")).unwrap(),
            "a",
            "{name}"
        );
        assert_eq!(
            list(dir.path(), &format!("layers/sha256-{}", id("a").hex())),
            ["tree"],
            "{name}"
        );
    }
}

#[test]
fn layer_of_an_earlier_boot_counts_only_after_sync() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "flushed");
    store.sync().unwrap();
    publish(&store, "lost");
    drop(store);
    tamper(
        dir.path(),
        "UPDATE layers SET boot = 'an earlier one' WHERE boot IS NOT NULL",
    );
    let store = Store::open(dir.path()).unwrap();
    assert!(store.layer(&id("flushed"), Form::Tree).unwrap().is_some());
    assert_eq!(store.layer(&id("lost"), Form::Tree).unwrap(), None);
    assert_eq!(
        list(dir.path(), "layers"),
        [format!("sha256-{}", id("flushed").hex())],
        "its tree is swept"
    );
}

#[test]
fn only_a_directory_of_the_stage_becomes_a_layer() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    for tree in [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "../../outside",
        "/etc",
        "lock",
        "placed",
        "replaced",
        "tree/",
    ] {
        let stage = store.stage().unwrap();
        let error = store
            .publish(
                stage,
                NewLayer {
                    tree: tree.into(),
                    ..layer("a")
                },
            )
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{tree}");
    }
    type Make = fn(&Path);
    let table: [(&str, Make); 3] = [
        ("nothing", |_| {}),
        ("link", |tree| symlink("../../outside", tree).unwrap()),
        ("file", |tree| fs::write(tree, "").unwrap()),
    ];
    for (name, make) in table {
        let stage = store.stage().unwrap();
        make(&stage.path().join("tree"));
        let error = store.publish(stage, layer("a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
    assert_eq!(list(dir.path(), "layers"), [""; 0]);
    assert_eq!(list(dir.path(), "staging"), [""; 0]);
}

#[test]
fn notes_have_a_bound() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for (bytes, fits) in [(16 << 20, true), ((16 << 20) + 1, false)] {
        let stage = store.stage().unwrap();
        fs::create_dir(stage.path().join("tree")).unwrap();
        let done = store.publish(
            stage,
            NewLayer {
                notes: vec![0; bytes],
                ..layer("a")
            },
        );
        assert_eq!(done.is_ok(), fits, "{bytes}");
    }
    assert_eq!(
        store.layer(&id("a"), Form::Tree).unwrap().unwrap().notes.len(),
        16 << 20
    );
}

#[test]
fn tree_keeps_its_mode() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let stage = store.stage().unwrap();
    let tree = stage.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::set_permissions(&tree, Permissions::from_mode(0o555)).unwrap();
    assert_eq!(mode(&store.publish(stage, layer("a")).unwrap().tree), 0o555);
}

#[test]
fn dropped_stage_is_gone_and_links_in_it_lead_nowhere() {
    let dir = tempdir().unwrap();
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("bird"), "sings").unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let stage = store.stage().unwrap();
    let path = stage.path().to_owned();
    fs::create_dir_all(path.join("tree/deep/er")).unwrap();
    symlink(&canary, path.join("tree/deep/er/link")).unwrap();
    drop(stage);
    assert!(!path.exists());
    assert_eq!(fs::read_to_string(canary.join("bird")).unwrap(), "sings");
}

#[test]
fn opening_sweeps_dead_entries_and_leaves_live_ones() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    let canary = dir.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("bird"), "sings").unwrap();
    let store = Store::open(&work_dir).unwrap();
    let live = store.stage().unwrap();
    let claim = store.claim(&id("claimed")).unwrap();
    publish(&store, "recorded");

    let staging = work_dir.join("staging");
    fs::create_dir_all(staging.join("no-lock/tree/x")).unwrap();
    fs::create_dir_all(staging.join("odd-mode/tree/x")).unwrap();
    fs::write(staging.join("odd-mode/lock"), "").unwrap();
    fs::set_permissions(staging.join("odd-mode/tree/x"), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(staging.join("odd-mode"), Permissions::from_mode(0o000)).unwrap();
    fs::create_dir_all(staging.join("lock-is-a-directory/lock")).unwrap();
    fs::create_dir(staging.join("lock-is-a-link")).unwrap();
    symlink(canary.join("bird"), staging.join("lock-is-a-link/lock")).unwrap();
    symlink(&canary, staging.join("link")).unwrap();
    fs::write(staging.join("file"), "").unwrap();
    fs::write(work_dir.join("claims/dead"), "").unwrap();
    fs::create_dir_all(work_dir.join("layers/stranger/tree")).unwrap();
    symlink(&canary, work_dir.join("layers/link")).unwrap();
    fs::create_dir(work_dir.join("mounts/empty")).unwrap();

    Store::open(&work_dir).unwrap();
    assert_eq!(
        list(&work_dir, "staging"),
        [live.path().file_name().unwrap().to_str().unwrap()]
    );
    assert_eq!(
        list(&work_dir, "claims"),
        [format!("sha256-{}", id("claimed").hex())]
    );
    assert_eq!(
        list(&work_dir, "layers"),
        [format!("sha256-{}", id("recorded").hex())]
    );
    assert_eq!(list(&work_dir, "mounts"), [""; 0]);
    assert_eq!(fs::read_to_string(canary.join("bird")).unwrap(), "sings");
    drop(claim);
    assert_eq!(list(&work_dir, "claims"), [""; 0]);
}

#[test]
fn unrecorded_layers_stay_while_a_lease_is_held_or_a_lost_mount_may_use_them() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fs::create_dir_all(dir.path().join("layers/stranger/tree")).unwrap();
    let lease = store.lease().unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(list(dir.path(), "layers"), ["stranger"]);
    drop(lease);
    fs::create_dir_all(dir.path().join("mounts/lost/upper")).unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(list(dir.path(), "layers"), ["stranger"]);
    assert_eq!(list(dir.path(), "mounts"), ["lost"]);
    fs::remove_dir_all(dir.path().join("mounts/lost")).unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(list(dir.path(), "layers"), [""; 0]);
}

#[test]
fn layer_of_an_interrupted_pull_is_kept_for_a_day() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "a");
    drop(Store::open(dir.path()).unwrap());
    assert!(store.layer(&id("a"), Form::Tree).unwrap().is_some());
    tamper(dir.path(), "UPDATE layers SET created = created - 86401");
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
    assert_eq!(list(dir.path(), "layers"), [""; 0]);
}
