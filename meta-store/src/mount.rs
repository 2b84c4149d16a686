// SPDX-License-Identifier: Apache-2.0
//! Mounts: which bundle uses which layers, and where its writable state lies.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use image_spec::{Digest, MAX_LAYERS};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::dirs::{c_name, fresh_dir};
use crate::error::{Error, ErrorKind};
use crate::layer::{count, digest};
use crate::store::now;
use crate::{Form, Store, remove};

/// Bytes of a random name: two 64-bit numbers in hexadecimal.
const NAME: usize = 32;
const READ: &str = "cannot read a mount's record";
const WRITE: &str = "cannot record a mount";
const SELECT: &str = "SELECT id, bundle, snapshotter, image, created, form FROM mounts";

/// A bundle's use of layers, from [`Store::begin_mount`] to [`Store::end_mount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRecord {
    /// A random name.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// The snapshotter that mounts it.
    pub snapshotter: String,
    /// The image's name.
    pub image: String,
    /// The form in which it uses its layers.
    pub form: Form,
    /// The layers' diff ids, bottom first.
    pub layers: Vec<Digest>,
    /// A directory of mode 0700 for what the snapshotter keeps: upper, work.
    pub state: PathBuf,
    /// When it began, in seconds since 1970.
    pub created: u64,
}

impl Store {
    /// Records that a bundle is about to be mounted, and makes its state directory. From here on
    /// its layers stay in this form.
    ///
    /// # Errors
    /// `Exists` when the bundle has a mount, also one that failed halfway:
    /// [`end_mount`](Store::end_mount) comes first. `Missing` when a layer is not in the store in this form;
    /// `Invalid` for more than 500 layers.
    pub fn begin_mount(
        &self,
        bundle: &Path,
        snapshotter: &str,
        form: Form,
        layers: &[Digest],
        image: &str,
    ) -> Result<MountRecord, Error> {
        if layers.len() > MAX_LAYERS {
            return Err(Error::new(
                ErrorKind::Invalid,
                "too many layers to mount",
                layers.len(),
            ));
        }
        let bundle = resolve(bundle)?;
        let _lease = self.lease()?;
        let mut made = None;
        let done = self.write(|tx| {
            if self.find_mount(tx, &bundle)?.is_some() {
                return Err(Error::new(
                    ErrorKind::Exists,
                    "the bundle has a mount already",
                    bundle.display(),
                ));
            }
            for diff_id in layers {
                self.require_layer(tx, diff_id, Some(form))?;
            }
            let id = fresh_dir(&self.dirs.mounts)
                .map_err(|errno| Error::io(WRITE, &self.dirs.state(""), errno))?;
            made = Some(id.clone());
            let mount = MountRecord {
                state: self.dirs.state(&id),
                id,
                bundle: bundle.clone(),
                snapshotter: snapshotter.to_owned(),
                image: image.to_owned(),
                form,
                layers: layers.to_vec(),
                created: u64::try_from(now()).unwrap_or(0),
            };
            self.insert_mount(tx, &mount)?;
            Ok(mount)
        });
        if let (Err(_), Some(id)) = (&done, &made) {
            // Empty still; should it stay, the next opening removes it.
            let _ = unlinkat(&self.dirs.mounts, id.as_str(), UnlinkatFlags::RemoveDir);
        }
        done
    }

    /// All mounts, by bundle.
    pub fn mounts(&self) -> Result<Vec<MountRecord>, Error> {
        self.read(|db| {
            let mut statement = db
                .prepare(&format!("{SELECT} ORDER BY bundle"))
                .map_err(self.sql(READ))?;
            let rows = statement
                .query_map([], |row| self.mount(row))
                .map_err(self.sql(READ))?;
            rows.map(|mount| self.with_layers(db, mount.map_err(self.sql(READ))?))
                .collect()
        })
    }

    /// The mount of a bundle.
    pub fn mount_of(&self, bundle: &Path) -> Result<Option<MountRecord>, Error> {
        let bundle = resolve(bundle)?;
        self.read(|db| self.find_mount(db, &bundle))
    }

    /// Removes the state directory with all it holds, then the record. Without a record it does
    /// nothing.
    ///
    /// The caller has unmounted before: a mount still in place under the state directory is an
    /// error of kind `Busy`, and the record stays.
    pub fn end_mount(&self, bundle: &Path) -> Result<(), Error> {
        let Some(mount) = self.mount_of(bundle)? else {
            return Ok(());
        };
        remove::remove_tree(&self.dirs.mounts, &c_name(&mount.id))
            .map_err(|source| Error::io("cannot remove a mount's state", &mount.state, source))?;
        self.write(|tx| {
            tx.execute("DELETE FROM mounts WHERE id = ?1", [&mount.id])
                .map_err(self.sql("cannot remove a mount"))
        })?;
        // Layers of an image that was removed while this bundle used them.
        self.collect().map(drop)
    }

    fn find_mount(&self, db: &Connection, bundle: &Path) -> Result<Option<MountRecord>, Error> {
        let sql = format!("{SELECT} WHERE bundle = ?1");
        let found = db
            .query_row(&sql, [bundle.as_os_str().as_bytes()], |row| self.mount(row))
            .optional();
        found
            .map_err(self.sql(READ))?
            .map(|mount| self.with_layers(db, mount))
            .transpose()
    }

    fn insert_mount(&self, db: &Connection, mount: &MountRecord) -> Result<(), Error> {
        let sql = "INSERT INTO mounts (id, bundle, snapshotter, image, created, form)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let bundle = mount.bundle.as_os_str().as_bytes();
        let values = (
            &mount.id,
            bundle,
            &mount.snapshotter,
            &mount.image,
            crate::layer::bounded(mount.created),
            mount.form.as_str(),
        );
        db.execute(sql, values).map_err(self.sql(WRITE))?;
        let sql = "INSERT INTO mount_layers (mount, position, diff_id) VALUES (?1, ?2, ?3)";
        for (position, diff_id) in (0i64..).zip(&mount.layers) {
            db.execute(sql, (&mount.id, position, diff_id.to_string()))
                .map_err(self.sql(WRITE))?;
        }
        Ok(())
    }

    fn mount(&self, row: &Row<'_>) -> rusqlite::Result<MountRecord> {
        let id = random_name(row, 0)?;
        Ok(MountRecord {
            state: self.dirs.state(&id),
            id,
            bundle: OsString::from_vec(row.get(1)?).into(),
            snapshotter: row.get(2)?,
            image: row.get(3)?,
            layers: Vec::new(),
            created: count(row, 4)?,
            form: Form::read(row, 5)?,
        })
    }

    fn with_layers(&self, db: &Connection, mut mount: MountRecord) -> Result<MountRecord, Error> {
        let sql = "SELECT diff_id FROM mount_layers WHERE mount = ?1 ORDER BY position";
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let rows = statement
            .query_map([&mount.id], |row| digest(row, 0))
            .map_err(self.sql(READ))?;
        mount.layers = rows.collect::<Result<_, _>>().map_err(self.sql(READ))?;
        Ok(mount)
    }
}

/// A name that [`fresh_dir`] or [`fresh_name`](crate::dirs::fresh_name) gave. It becomes a path: what
/// the catalogue says is checked like any text from outside.
pub(crate) fn random_name(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let name: String = row.get(column)?;
    if name.len() == NAME && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(name);
    }
    Err(rusqlite::Error::InvalidColumnType(
        column,
        name,
        rusqlite::types::Type::Text,
    ))
}

/// One text per bundle, the same before the directory is made, while it is there and after it is
/// gone: the parent without links, and the name.
fn resolve(bundle: &Path) -> Result<PathBuf, Error> {
    let failed = |source: io::Error| Error::io("cannot resolve the bundle's path", bundle, source);
    let absolute = std::path::absolute(bundle).map_err(failed)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => match parent.canonicalize() {
            Ok(parent) => Ok(parent.join(name)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(absolute),
            Err(source) => Err(failed(source)),
        },
        _ => absolute.canonicalize().map_err(failed),
    }
}
