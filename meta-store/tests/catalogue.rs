// SPDX-License-Identifier: Apache-2.0
//! The database file: made, migrated, and refused untouched when it is not ours to use.

mod common;

use std::fs;
use std::path::Path;

use common::{chain, chain_id, devices, id, image, keep, publish, tamper};
use meta_store::{Error, ErrorKind, Form, Store};
use rusqlite::Connection;
use tempfile::tempdir;

fn refusal(work_dir: &Path) -> Error {
    let before = fs::read(work_dir.join("catalogue.db")).unwrap();
    let error = Store::open(work_dir).unwrap_err();
    assert_eq!(
        fs::read(work_dir.join("catalogue.db")).unwrap(),
        before,
        "the file must stay as it is"
    );
    assert!(error.to_string().ends_with("catalogue.db`"), "{error}");
    assert!(error.hint().is_some());
    error
}

/// A work directory with one image, closed.
fn filled(work_dir: &Path) {
    let store = Store::open(work_dir).unwrap();
    publish(&store, "a");
    store.put_image(&image("x", &["a"])).unwrap();
}

#[test]
fn catalogue_of_schema_1_is_opened_and_read() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    drop(Store::open(&work_dir).unwrap());
    fs::remove_file(work_dir.join("catalogue.db")).unwrap();
    Connection::open(work_dir.join("catalogue.db"))
        .unwrap()
        .execute_batch(include_str!("v1.sql"))
        .unwrap();
    for text in ["lower", "upper"] {
        fs::create_dir_all(work_dir.join(format!("layers/sha256-{}/tree", id(text).hex()))).unwrap();
    }
    let store = Store::open(&work_dir).unwrap();
    let image = store.image("docker.io/library/busybox:latest").unwrap().unwrap();
    assert_eq!(
        (image.top.as_slice(), image.manifest.as_slice()),
        (&b"the index"[..], &b"the manifest"[..])
    );
    assert_eq!(
        (image.size, image.created, image.last_used),
        (4096, 1790000002, 1790000003)
    );
    let layer = store.layer(&id("lower"), Form::Tree).unwrap().unwrap();
    assert_eq!(
        (layer.bytes, layer.entries, layer.notes.as_slice()),
        (10240, 3, &[1][..])
    );
    let mount = store.mount_of(Path::new("/run/bundle")).unwrap().unwrap();
    assert_eq!(mount.layers, [id("lower"), id("upper")]);
    assert_eq!((layer.form, mount.form), (Form::Tree, Form::Tree));
    assert_eq!(store.layer(&id("lower"), Form::Erofs).unwrap(), None);
    keep(&store, "lower");
    assert!(
        store.layer(&id("lower"), Form::Tree).unwrap().is_some(),
        "both forms are there"
    );
    let used = store.disk_use().unwrap();
    assert_eq!(used.images[&image.name], used.total);
    assert!(store.remove_image(&image.name).unwrap().found);
    store.end_mount(Path::new("/run/bundle")).unwrap();
    for form in [Form::Tree, Form::Erofs] {
        assert_eq!(store.layer(&id("lower"), form).unwrap(), None);
    }
    let version = Connection::open(work_dir.join("catalogue.db"))
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    assert_eq!(version.unwrap(), 3);
}

#[test]
fn catalogue_of_schema_2_is_opened_and_read() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    drop(Store::open(&work_dir).unwrap());
    fs::remove_file(work_dir.join("catalogue.db")).unwrap();
    Connection::open(work_dir.join("catalogue.db"))
        .unwrap()
        .execute_batch(include_str!("v2.sql"))
        .unwrap();
    for text in ["lower", "upper"] {
        let layers = work_dir.join("layers");
        fs::create_dir_all(layers.join(format!("sha256-{}/tree", id(text).hex()))).unwrap();
        let kept = layers.join(format!("sha256-{}.erofs/tree", id(text).hex()));
        fs::create_dir_all(&kept).unwrap();
        fs::write(kept.join("tar"), text).unwrap();
        fs::write(kept.join("index"), "").unwrap();
    }
    let merged = work_dir.join("merged/ffeeddccbbaa99887766554433221100");
    fs::create_dir(&merged).unwrap();
    fs::write(merged.join("image"), "merged").unwrap();
    let store = Store::open(&work_dir).unwrap();
    let merged = store
        .merged(&chain_id(&["lower", "upper"]), 512)
        .unwrap()
        .unwrap();
    assert_eq!(fs::read_to_string(&merged.image).unwrap(), "merged");
    assert_eq!(merged.devices, devices(&store, &["lower", "upper"]));
    let mount = store.mount_of(Path::new("/run/bundle")).unwrap().unwrap();
    assert_eq!((mount.form, mount.snapshotter.as_str()), (Form::Erofs, "erofs"));
    let sizes =
        [Form::Tree, Form::Erofs].map(|form| store.layer(&id("lower"), form).unwrap().unwrap().disk_bytes);
    assert_eq!(sizes, [Some(12288), Some(18432)]);
    let image = "docker.io/library/busybox:latest";
    assert_eq!(store.remove_image(image).unwrap().layers, 2, "the trees");
    store.end_mount(Path::new("/run/bundle")).unwrap();
    assert_eq!(common::list(&work_dir, "layers"), [""; 0]);
    assert_eq!(common::list(&work_dir, "merged"), [""; 0]);
}

#[test]
fn newer_schema_is_refused_untouched() {
    let dir = tempdir().unwrap();
    filled(dir.path());
    tamper(dir.path(), "PRAGMA user_version = 4711");
    let error = refusal(dir.path());
    assert_eq!(error.kind(), ErrorKind::Newer);
    assert!(chain(&error).ends_with("schema 4711"), "{}", chain(&error));
}

#[test]
fn file_that_is_no_sound_catalogue_is_refused_untouched() {
    type Harm = fn(&Path);
    let table: [(&str, Harm); 9] = [
        ("text", |db| {
            fs::write(
                db,
                "this is no database, but it is long enough to look like one".repeat(99),
            )
            .unwrap()
        }),
        ("zeros", |db| fs::write(db, vec![0; 8192]).unwrap()),
        ("cut to nothing", |db| fs::write(db, "").unwrap()),
        ("cut in half", |db| {
            let bytes = fs::read(db).unwrap();
            fs::write(db, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a page overwritten", |db| {
            let mut bytes = fs::read(db).unwrap();
            bytes[4096..8192].fill(0x5a);
            fs::write(db, bytes).unwrap();
        }),
        ("another program's", |db| {
            fs::remove_file(db).unwrap();
            Connection::open(db)
                .unwrap()
                .execute_batch("CREATE TABLE notes (text)")
                .unwrap();
        }),
        ("a table missing", |db| {
            Connection::open(db)
                .unwrap()
                .execute_batch("DROP TABLE image_layers")
                .unwrap();
        }),
        ("a trigger added", |db| {
            let sql = "CREATE TRIGGER t AFTER INSERT ON layers BEGIN UPDATE images SET size = 0; END";
            Connection::open(db).unwrap().execute_batch(sql).unwrap();
        }),
        ("a view in a table's place", |db| {
            let sql = "ALTER TABLE images RENAME TO hidden; CREATE VIEW images AS SELECT * FROM hidden";
            Connection::open(db).unwrap().execute_batch(sql).unwrap();
        }),
    ];
    for (name, harm) in table {
        let dir = tempdir().unwrap();
        filled(dir.path());
        harm(&dir.path().join("catalogue.db"));
        let error = refusal(dir.path());
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {}", chain(&error));
        assert!(error.hint().unwrap().contains("catalogue.db"), "{name}");
    }
}

#[test]
fn hint_for_a_damaged_catalogue_works() {
    let dir = tempdir().unwrap();
    filled(dir.path());
    fs::write(dir.path().join("catalogue.db"), "damaged").unwrap();
    assert_eq!(refusal(dir.path()).kind(), ErrorKind::Corrupt);
    fs::rename(dir.path().join("catalogue.db"), dir.path().join("old.db")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.images().unwrap(), []);
    assert_eq!(
        common::list(dir.path(), "layers"),
        [""; 0],
        "layers without a record are removed"
    );
}

#[test]
fn link_for_a_catalogue_is_refused() {
    let dir = tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    filled(&one);
    drop(Store::open(&two).unwrap());
    fs::remove_file(two.join("catalogue.db")).unwrap();
    std::os::unix::fs::symlink(one.join("catalogue.db"), two.join("catalogue.db")).unwrap();
    let error = Store::open(&two).unwrap_err();
    assert!(error.to_string().ends_with("two/catalogue.db`"), "{error}");
}

#[test]
fn store_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Store>();
    shared::<meta_store::Stage>();
    shared::<meta_store::Lease>();
    shared::<meta_store::Claim>();
}

/// A store whose catalogue is of schema 1, with a layer's folder.
fn of_schema_1(work_dir: &Path) {
    drop(Store::open(work_dir).unwrap());
    fs::remove_file(work_dir.join("catalogue.db")).unwrap();
    let db = Connection::open(work_dir.join("catalogue.db")).unwrap();
    db.execute_batch(include_str!("v1.sql")).unwrap();
    for text in ["lower", "upper"] {
        fs::create_dir_all(work_dir.join(format!("layers/sha256-{}/tree", id(text).hex()))).unwrap();
    }
}

/// All that a catalogue holds, as text.
fn dump(catalogue: &Path) -> Vec<String> {
    let db = Connection::open(catalogue).unwrap();
    let mut all = Vec::new();
    for table in ["images", "layers", "image_layers", "mounts", "mount_layers"] {
        let mut statement = db
            .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
            .unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cell = |at| format!("{:?}", row.get_ref(at).unwrap());
            all.push(format!(
                "{table}: {:?}",
                (0..columns).map(cell).collect::<Vec<_>>()
            ));
        }
    }
    all
}

#[test]
fn a_migration_can_be_undone() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    of_schema_1(&work_dir);
    let catalogue = work_dir.join("catalogue.db");
    let before = dump(&catalogue);
    let store = Store::open(&work_dir).unwrap();
    assert_eq!(common::list(&work_dir, "backups"), ["1"]);
    let error = Store::rollback(&work_dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "while it is open");
    let lease = store.lease().unwrap();
    assert_eq!(Store::rollback(&work_dir).unwrap_err().kind(), ErrorKind::Busy);
    drop((lease, store));
    assert_eq!(Store::rollback(&work_dir).unwrap(), 1);
    assert_eq!(dump(&catalogue), before);
    assert!(!work_dir.join("catalogue.db-wal").exists());
    assert_eq!(Store::rollback(&work_dir).unwrap_err().kind(), ErrorKind::Missing);
    // And forth again.
    let store = Store::open(&work_dir).unwrap();
    assert!(store.layer(&id("lower"), Form::Tree).unwrap().is_some());
}

#[test]
fn of_backups_the_last_five_stay() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    for _ in 0..7 {
        let _ = fs::remove_dir_all(work_dir.join("layers"));
        of_schema_1(&work_dir);
        drop(Store::open(&work_dir).unwrap());
    }
    assert_eq!(common::list(&work_dir, "backups"), ["3", "4", "5", "6", "7"]);
}

#[test]
fn a_damaged_backup_is_not_gone_back_to() {
    let dir = tempdir().unwrap();
    let work_dir = dir.path().join("store");
    of_schema_1(&work_dir);
    drop(Store::open(&work_dir).unwrap());
    for content in ["", "no database at all"] {
        fs::write(work_dir.join("backups/1"), content).unwrap();
        let error = Store::rollback(&work_dir).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", chain(&error));
        assert!(Store::open(&work_dir).is_ok(), "the catalogue is as it was");
    }
    assert_eq!(common::list(&work_dir, "backups"), ["1"]);
}
