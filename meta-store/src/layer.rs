// SPDX-License-Identifier: Apache-2.0
//! Layers: one unpacked tree per diff id, recorded when it is complete.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use image_spec::Digest;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::syncfs;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::dirs::{c_name, file_name, is};
use crate::error::{Error, ErrorKind};
use crate::store::now;
use crate::{Stage, Store, remove};

/// Bytes of a layer's notes: names of directories and hard links that mounting needs, far fewer
/// than its entries.
pub(crate) const MAX_NOTES: usize = 16 << 20;
const READ: &str = "cannot read a layer's record";
const WRITE: &str = "cannot record a layer";
const PUBLISH: &str = "cannot publish a layer";

/// A layer that the store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRecord {
    /// Digest of the layer's tar, which is what the tree was made from.
    pub diff_id: Digest,
    /// Digest of the blob that the tar came in.
    pub blob_digest: Digest,
    /// The tree, absolute.
    pub tree: PathBuf,
    /// Bytes of the tar.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// What the unpacker noted, as given to [`Store::publish`].
    pub notes: Vec<u8>,
}

/// A layer about to be published.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// Digest of the layer's tar, computed while it was unpacked.
    pub diff_id: Digest,
    /// Digest of the blob, verified while it was read.
    pub blob_digest: Digest,
    /// Bytes of the tar.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// The unpacker's notes, at most 16 MiB.
    pub notes: Vec<u8>,
    /// The tree's directory: one name inside the stage.
    pub tree: String,
}

impl Store {
    /// The layer, if the store holds its record and its tree.
    ///
    /// A record without its tree, or one whose tree had not reached the disk when the machine went
    /// down, is removed and counts as absent. The tree's content is not read again.
    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, Error> {
        match self.read(|db| self.find_layer(db, diff_id))? {
            Some((record, boot)) if self.is_sound(diff_id, boot.as_deref()) => Ok(Some(record)),
            Some(_) => self.write(|tx| {
                // Looked at again: another process may have published it since.
                match self.find_layer(tx, diff_id)? {
                    Some((record, boot)) if self.is_sound(diff_id, boot.as_deref()) => Ok(Some(record)),
                    _ => self.forget(tx, diff_id).map(|()| None),
                }
            }),
            None => Ok(None),
        }
    }

    /// Moves the stage's tree to its place and records the layer, in one step for all who look.
    ///
    /// If the layer is there already, the stage is discarded and the older one answered. Nothing is
    /// flushed to disk: until [`sync`](Store::sync) the layer counts for this run of the machine
    /// only.
    ///
    /// # Errors
    /// `Invalid` when `tree` is no single name, is not a directory of the stage, or the notes are
    /// too long.
    pub fn publish(&self, stage: Stage, layer: NewLayer) -> Result<LayerRecord, Error> {
        let tree = checked_tree(&stage, &layer)?;
        let _lease = self.lease()?;
        // Without a boot id nobody could tell later whether the tree had reached the disk.
        if self.boot.is_none() {
            self.flush()?;
        }
        let mut moved = false;
        let done = self.write(|tx| {
            if let Some((record, boot)) = self.find_layer(tx, &layer.diff_id)?
                && self.is_sound(&layer.diff_id, boot.as_deref())
            {
                return Ok(record);
            }
            self.forget(tx, &layer.diff_id)?;
            self.insert_layer(tx, &layer)?;
            self.place(&stage, &tree, &layer.diff_id)?;
            moved = true;
            Ok(LayerRecord {
                tree: self.dirs.tree(&layer.diff_id),
                diff_id: layer.diff_id,
                blob_digest: layer.blob_digest,
                bytes: layer.bytes,
                entries: layer.entries,
                notes: layer.notes.clone(),
            })
        });
        if done.is_err() && moved {
            // The record did not get in: the tree goes with the stage. Should that fail, the next
            // sweep finds it.
            let _ = renameat(
                &self.dirs.layers,
                file_name(&layer.diff_id).as_str(),
                stage.dir(),
                c"unrecorded",
            );
        }
        done
    }

    /// Flushes the published layers to disk, after which they outlive the machine's next start.
    ///
    /// One `syncfs(2)` for all of them: it may take seconds, and nothing but a restart depends on
    /// it.
    pub fn sync(&self) -> Result<(), Error> {
        let Some(boot) = &self.boot else { return Ok(()) };
        let last: Option<i64> = self.read(|db| {
            db.query_row("SELECT max(id) FROM layers WHERE boot = ?1", [boot], |row| {
                row.get(0)
            })
            .map_err(self.sql(READ))
        })?;
        let Some(last) = last else { return Ok(()) };
        self.flush()?;
        self.write(|tx| {
            let sql = "UPDATE layers SET boot = NULL WHERE boot = ?1 AND id <= ?2";
            tx.execute(sql, (boot, last)).map_err(self.sql(WRITE)).map(drop)
        })
    }

    fn flush(&self) -> Result<(), Error> {
        syncfs(&self.dirs.layers)
            .map_err(|errno| Error::io("cannot flush the layers", &self.dirs.path, errno))
    }

    /// Whether a recorded layer can be believed.
    pub(crate) fn is_sound(&self, diff_id: &Digest, boot: Option<&str>) -> bool {
        (boot.is_none() || boot == self.boot.as_deref()) && self.dirs.has_tree(diff_id)
    }

    pub(crate) fn forget(&self, db: &Connection, diff_id: &Digest) -> Result<(), Error> {
        let sql = "DELETE FROM layers WHERE diff_id = ?1";
        db.execute(sql, [diff_id.to_string()])
            .map_err(self.sql(WRITE))
            .map(drop)
    }

    /// The record and the boot that wrote it, as they stand in the catalogue.
    pub(crate) fn find_layer(
        &self,
        db: &Connection,
        diff_id: &Digest,
    ) -> Result<Option<(LayerRecord, Option<String>)>, Error> {
        let sql = "SELECT blob_digest, bytes, entries, notes, boot FROM layers WHERE diff_id = ?1";
        let read = |row: &Row<'_>| {
            let record = LayerRecord {
                diff_id: *diff_id,
                blob_digest: digest(row, 0)?,
                tree: self.dirs.tree(diff_id),
                bytes: count(row, 1)?,
                entries: count(row, 2)?,
                notes: row.get(3)?,
            };
            Ok((record, row.get(4)?))
        };
        db.query_row(sql, [diff_id.to_string()], read)
            .optional()
            .map_err(self.sql(READ))
    }

    fn insert_layer(&self, db: &Connection, layer: &NewLayer) -> Result<(), Error> {
        let sql = "INSERT INTO layers (diff_id, blob_digest, bytes, entries, notes, boot, created)
                   VALUES (:diff_id, :blob_digest, :bytes, :entries, :notes, :boot, :created)";
        let values = named_params! {
            ":diff_id": layer.diff_id.to_string(),
            ":blob_digest": layer.blob_digest.to_string(),
            ":bytes": bounded(layer.bytes),
            ":entries": bounded(layer.entries),
            ":notes": layer.notes,
            ":boot": self.boot,
            ":created": now(),
        };
        db.execute(sql, values).map_err(self.sql(WRITE)).map(drop)
    }

    /// `stage/tree` becomes `layers/<id>/tree`, by a rename of its new parent as the last step.
    fn place(&self, stage: &Stage, tree: &CStr, diff_id: &Digest) -> Result<(), Error> {
        let name = file_name(diff_id);
        let steps = || -> nix::Result<()> {
            let stage = stage.dir();
            // What stands in the layer's place has no sound record; it is removed with the stage.
            match renameat(&self.dirs.layers, name.as_str(), stage, c"replaced") {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            mkdirat(stage, c"layer", Mode::S_IRWXU)?;
            let layer = remove::open_dir(stage, c"layer")?;
            adopt(stage, tree, &layer)?;
            renameat(stage, c"layer", &self.dirs.layers, name.as_str())
        };
        steps().map_err(|errno| Error::io(PUBLISH, &self.dirs.path.join("layers").join(&name), errno))
    }
}

/// Moves a directory under another parent, which writes its `..`, whatever its own mode says.
fn adopt(from: &OwnedFd, name: &CStr, to: &OwnedFd) -> nix::Result<()> {
    match renameat(from, name, to, c"tree") {
        Err(Errno::EACCES) => {}
        done => return done,
    }
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let tree = remove::open_dir(from, name)?;
    fchmod(&tree, Mode::S_IRWXU)?;
    renameat(from, name, to, c"tree")?;
    fchmod(&tree, Mode::from_bits_truncate(stat.st_mode))
}

/// The tree's name, if it is one and a directory of the stage has it.
fn checked_tree(stage: &Stage, layer: &NewLayer) -> Result<CString, Error> {
    if layer.notes.len() > MAX_NOTES {
        return Err(Error::new(
            ErrorKind::Invalid,
            "the notes of a layer are too long",
            layer.notes.len(),
        ));
    }
    let name = c_name(&layer.tree);
    let one = matches!(
        Path::new(&layer.tree).components().collect::<Vec<_>>()[..],
        [Component::Normal(_)]
    );
    let free = !["lock", "layer", "replaced", "unrecorded"].contains(&layer.tree.as_str());
    let stat = fstatat(stage.dir(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
    if one && free && stat.is_ok_and(|stat| is(&stat, SFlag::S_IFDIR)) {
        return Ok(name);
    }
    Err(Error::new(
        ErrorKind::Invalid,
        "not a directory of the stage",
        &layer.tree,
    ))
}

/// SQLite counts in signed 64 bit.
pub(crate) fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(crate) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|source: <Digest as std::str::FromStr>::Err| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(source))
        })
}
