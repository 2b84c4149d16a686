// SPDX-License-Identifier: Apache-2.0
//! Images, mounts, and which layers go when they go.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{chain, id, image, list, publish, tamper};
use image_spec::Digest;
use meta_store::{ErrorKind, Form, ImageRecord, Removed, Store};
use tempfile::tempdir;

#[test]
fn image_is_read_back_as_it_was_put() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for text in ["a", "b"] {
        publish(&store, text);
    }
    let one = image("one", &["a", "b", "a"]);
    let mut two = image("two", &["b"]);
    two.top = two.manifest.clone();
    two.top_digest = two.manifest_digest;
    store.put_image(&two).unwrap();
    store.put_image(&one).unwrap();
    assert_eq!(store.image("one").unwrap(), Some(one.clone()));
    assert_eq!(store.image("two").unwrap(), Some(two.clone()));
    assert_eq!(store.image("three").unwrap(), None);
    assert_eq!(store.images().unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.image_by_digest(&one.top_digest).unwrap(), Some(one.clone()));
    assert_eq!(
        store.image_by_digest(&one.manifest_digest).unwrap(),
        Some(one.clone())
    );
    assert_eq!(store.image_by_digest(&one.config_digest).unwrap(), None);
    store.touch("one").unwrap();
    assert!(store.image("one").unwrap().unwrap().last_used > 2);
}

#[test]
fn same_digest_under_two_names_gives_the_last_used() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let old = image("same", &[]);
    let new = ImageRecord {
        name: "another".into(),
        last_used: 9,
        ..old.clone()
    };
    store.put_image(&new).unwrap();
    store.put_image(&old).unwrap();
    assert_eq!(store.image_by_digest(&old.manifest_digest).unwrap(), Some(new));
}

#[test]
fn image_that_contradicts_itself_is_not_recorded() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "a");
    let good = || image("x", &["a"]);
    let large = vec![b' '; (4 << 20) + 1];
    let table: [(&str, ImageRecord, ErrorKind); 8] = [
        (
            "top",
            ImageRecord {
                top: b"?".to_vec(),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "manifest",
            ImageRecord {
                manifest: b"?".to_vec(),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "config",
            ImageRecord {
                config: b"?".to_vec(),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "size",
            ImageRecord {
                manifest_digest: Digest::sha256(&large),
                manifest: large,
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "no name",
            ImageRecord {
                name: String::new(),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "long name",
            ImageRecord {
                name: "x".repeat(9 << 10),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        (
            "no config",
            ImageRecord {
                config: b"{".to_vec(),
                config_digest: id("{"),
                ..good()
            },
            ErrorKind::Invalid,
        ),
        ("layer not there", image("x", &["a", "b"]), ErrorKind::Missing),
    ];
    for (name, record, kind) in table {
        assert_eq!(store.put_image(&record).unwrap_err().kind(), kind, "{name}");
    }
    assert_eq!(store.images().unwrap(), []);
}

#[test]
fn stored_documents_are_hashed_again_when_read() {
    for column in ["top", "manifest", "config"] {
        let dir = tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_image(&image("x", &[])).unwrap();
        tamper(dir.path(), &format!("UPDATE images SET {column} = X'00'"));
        let by_digest = store.image_by_digest(&image("x", &[]).manifest_digest);
        for error in [
            store.image("x").unwrap_err(),
            store.images().unwrap_err(),
            by_digest.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{column}");
            assert!(
                chain(&error).contains(&format!("`x`: the stored {column}")),
                "{}",
                chain(&error)
            );
        }
        store.put_image(&image("x", &[])).unwrap();
        assert!(store.image("x").unwrap().is_some(), "a new pull heals it");
    }
}

#[test]
fn values_that_we_never_write_are_corrupt() {
    for sql in [
        "UPDATE images SET size = -1",
        "UPDATE images SET top_digest = 'sha256:../..'",
    ] {
        let dir = tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_image(&image("x", &[])).unwrap();
        tamper(dir.path(), sql);
        assert_eq!(store.image("x").unwrap_err().kind(), ErrorKind::Corrupt, "{sql}");
        assert!(
            store.remove_image("x").unwrap().found,
            "it can be removed all the same"
        );
    }
}

#[test]
fn removal_takes_the_layers_that_no_other_image_needs() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for text in ["shared", "own", "saved"] {
        publish(&store, text);
    }
    store.put_image(&image("one", &["shared", "own"])).unwrap();
    store.put_image(&image("two", &["shared"])).unwrap();
    let removed = store.remove_image("one").unwrap();
    assert_eq!(
        removed,
        Removed {
            found: true,
            layers: 1,
            bytes: 3,
            deferred: false
        }
    );
    assert_eq!(store.layer(&id("own"), Form::Tree).unwrap(), None);
    assert!(store.layer(&id("shared"), Form::Tree).unwrap().is_some());
    assert_eq!(store.remove_image("one").unwrap(), Removed::default());
    assert_eq!(store.remove_image("two").unwrap().layers, 1);
    assert_eq!(
        list(dir.path(), "layers"),
        [format!("sha256-{}", id("saved").hex())],
        "no image had it yet"
    );
    assert_eq!(list(dir.path(), "staging"), [""; 0]);
}

#[test]
fn removal_waits_for_leases() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "a");
    store.put_image(&image("x", &["a"])).unwrap();
    let lease = Store::open(dir.path()).unwrap().lease().unwrap();
    assert_eq!(
        store.remove_image("x").unwrap(),
        Removed {
            found: true,
            deferred: true,
            ..Removed::default()
        }
    );
    assert!(store.layer(&id("a"), Form::Tree).unwrap().is_some());
    drop(Store::open(dir.path()).unwrap());
    assert!(
        store.layer(&id("a"), Form::Tree).unwrap().is_some(),
        "an opening does not remove it under the lease either"
    );
    drop(lease);
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(store.layer(&id("a"), Form::Tree).unwrap(), None);
    assert_eq!(list(dir.path(), "layers"), [""; 0]);
}

#[test]
fn name_that_moves_lets_its_old_layers_go() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    publish(&store, "old");
    publish(&store, "new");
    store.put_image(&image("x", &["old"])).unwrap();
    store.put_image(&image("x", &["new"])).unwrap();
    drop(Store::open(dir.path()).unwrap());
    assert_eq!(store.layer(&id("old"), Form::Tree).unwrap(), None);
    assert!(store.layer(&id("new"), Form::Tree).unwrap().is_some());
}

#[test]
fn mount_keeps_its_layers_until_it_ends() {
    let dir = tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    for text in ["a", "b"] {
        publish(&store, text);
    }
    store.put_image(&image("x", &["a", "b"])).unwrap();
    let bundle = dir.path().join("bundle");
    let mount = store
        .begin_mount(&bundle, "overlay", Form::Tree, &[id("a"), id("b"), id("a")], "x")
        .unwrap();
    assert_eq!(mount.layers, [id("a"), id("b"), id("a")]);
    assert_eq!(
        fs::metadata(&mount.state).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(store.mount_of(&bundle).unwrap(), Some(mount.clone()));
    assert_eq!(store.mounts().unwrap(), std::slice::from_ref(&mount));
    assert_eq!(
        store.remove_image("x").unwrap(),
        Removed {
            found: true,
            ..Removed::default()
        }
    );
    assert!(store.layer(&id("a"), Form::Tree).unwrap().is_some());

    fs::create_dir_all(mount.state.join("upper/etc")).unwrap();
    fs::write(mount.state.join("upper/etc/hosts"), "x").unwrap();
    symlink(dir.path(), mount.state.join("upper/link")).unwrap();
    store.end_mount(&bundle).unwrap();
    assert!(!mount.state.exists());
    assert_eq!(store.mounts().unwrap(), []);
    assert_eq!(
        store.layer(&id("a"), Form::Tree).unwrap(),
        None,
        "nothing needs it any more"
    );
    store.end_mount(&bundle).expect("ending twice is fine");
}

#[test]
fn bundle_has_one_mount_however_its_path_is_written() {
    let dir = tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    let mount = store
        .begin_mount(&dir.path().join("link/bundle"), "copy", Form::Tree, &[], "x")
        .unwrap();
    for path in ["real/bundle", "real/./bundle", "link/bundle/"] {
        let path = dir.path().join(path);
        let error = store
            .begin_mount(&path, "copy", Form::Tree, &[], "x")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exists, "{}", path.display());
        assert_eq!(store.mount_of(&path).unwrap().unwrap().id, mount.id);
    }
    assert_eq!(
        list(&dir.path().join("store"), "mounts"),
        [mount.id.as_str()],
        "refused ones leave no state"
    );
}

#[test]
fn mount_of_layers_that_are_not_there_is_refused() {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = store
        .begin_mount(&dir.path().join("bundle"), "copy", Form::Tree, &[id("a")], "x")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(
        error.to_string(),
        format!("a layer is not in the store: `{}`", id("a"))
    );
    let many = vec![id("a"); 501];
    let error = store
        .begin_mount(&dir.path().join("bundle"), "copy", Form::Tree, &many, "x")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(list(dir.path(), "mounts"), [""; 0]);
}

#[test]
fn state_directory_of_a_forged_record_is_never_followed() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    let store = Store::open(&work_dir).unwrap();
    let bundle = dir.path().join("bundle");
    store.begin_mount(&bundle, "copy", Form::Tree, &[], "x").unwrap();
    fs::write(dir.path().join("canary"), "sings").unwrap();
    for forged in ["..", "../..", "", "/etc", "0123456789abcdef0123456789abcde/"] {
        tamper(
            &work_dir,
            &format!("PRAGMA foreign_keys = OFF; UPDATE mounts SET id = '{forged}'"),
        );
        assert_eq!(
            store.end_mount(&bundle).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{forged}"
        );
    }
    assert!(dir.path().join("canary").exists());
}
