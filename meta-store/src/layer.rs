// SPDX-License-Identifier: Apache-2.0
//! Layers: one tree per diff id and form, recorded when it is complete.

use std::path::PathBuf;

use image_spec::Digest;
use nix::sys::stat::SFlag;
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::dirs::layer_name;
use crate::error::{Error, ErrorKind};
use crate::measure::measure;
use crate::store::now;
use crate::{Form, Stage, Store, place};

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
    /// What the tree is.
    pub form: Form,
    /// Digest of the blob that the tar came in.
    pub blob_digest: Digest,
    /// The tree's directory, absolute.
    pub tree: PathBuf,
    /// Bytes of the tar.
    pub bytes: u64,
    /// Entries of the tar.
    pub entries: u64,
    /// What the unpacker noted, as given to [`Store::publish`].
    pub notes: Vec<u8>,
    /// Bytes that the tree takes on disk, where that is known: an unpacked tree is measured when
    /// [`Store::disk_use`] is first asked.
    pub disk_bytes: Option<u64>,
}

/// A layer about to be published.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// Digest of the layer's tar, computed while it was unpacked.
    pub diff_id: Digest,
    /// What the tree is.
    pub form: Form,
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
    /// The layer in this form, if the store holds its record and its tree.
    ///
    /// A record without its tree, or one whose tree had not reached the disk when the machine went
    /// down, is removed and counts as absent. The tree's content is not read again.
    pub fn layer(&self, diff_id: &Digest, form: Form) -> Result<Option<LayerRecord>, Error> {
        match self.read(|db| self.find_layer(db, diff_id, form))? {
            Some((record, boot)) if self.is_sound(diff_id, form, boot.as_deref()) => Ok(Some(record)),
            Some(_) => self.write(|tx| {
                // Looked at again: another process may have published it since.
                match self.find_layer(tx, diff_id, form)? {
                    Some((record, boot)) if self.is_sound(diff_id, form, boot.as_deref()) => Ok(Some(record)),
                    _ => self.forget(tx, diff_id, form).map(|()| None),
                }
            }),
            None => Ok(None),
        }
    }

    /// Moves the stage's tree to its place and records the layer, in one step for all who look.
    ///
    /// If the layer is there already in this form, the stage is discarded and the older one answered. Nothing is
    /// flushed to disk: until [`sync`](Store::sync) the layer counts for this run of the machine
    /// only.
    ///
    /// # Errors
    /// `Invalid` when `tree` is no single name, is not a directory of the stage, or the notes are
    /// too long.
    pub fn publish(&self, stage: Stage, layer: NewLayer) -> Result<LayerRecord, Error> {
        if layer.notes.len() > MAX_NOTES {
            let bytes = layer.notes.len();
            return Err(Error::new(
                ErrorKind::Invalid,
                "the notes of a layer are too long",
                bytes,
            ));
        }
        let tree = place::checked(&stage, &layer.tree, SFlag::S_IFDIR)?;
        let (diff_id, form) = (layer.diff_id, layer.form);
        let name = layer_name(&diff_id, form);
        let failed = |errno| Error::io(PUBLISH, &self.dirs.path.join("layers").join(&name), errno);
        // A few files are measured now; to walk a large tree would hold the pull up.
        let disk_bytes = match form {
            Form::Erofs => Some(measure(stage.dir(), &tree).map_err(failed)?),
            Form::Tree => None,
        };
        let _lease = self.lease()?;
        // Without a boot id nobody could tell later whether the tree had reached the disk.
        if self.boot.is_none() {
            self.flush()?;
        }
        let mut moved = false;
        let done = self.write(|tx| {
            if let Some((record, boot)) = self.find_layer(tx, &diff_id, form)?
                && self.is_sound(&diff_id, form, boot.as_deref())
            {
                return Ok(record);
            }
            self.forget(tx, &diff_id, form)?;
            let record = LayerRecord {
                diff_id,
                form,
                blob_digest: layer.blob_digest,
                tree: self.dirs.tree(&diff_id, form),
                bytes: layer.bytes,
                entries: layer.entries,
                notes: layer.notes,
                disk_bytes,
            };
            self.insert_layer(tx, &record)?;
            // What stands in the layer's place has no sound record; it is removed with the stage.
            place::place(&stage, &tree, &self.dirs.layers, &name, c"tree").map_err(failed)?;
            moved = true;
            Ok(record)
        });
        if done.is_err() && moved {
            place::take_back(&stage, &self.dirs.layers, &name);
        }
        done
    }

    /// Whether a recorded layer can be believed.
    pub(crate) fn is_sound(&self, diff_id: &Digest, form: Form, boot: Option<&str>) -> bool {
        self.is_of_this_boot(boot) && self.dirs.has_tree(diff_id, form)
    }

    /// Whether what this boot wrote is on disk: it was flushed, or there was no restart since.
    pub(crate) fn is_of_this_boot(&self, boot: Option<&str>) -> bool {
        boot.is_none() || boot == self.boot.as_deref()
    }

    fn forget(&self, db: &Connection, diff_id: &Digest, form: Form) -> Result<(), Error> {
        let sql = "DELETE FROM layers WHERE diff_id = ?1 AND form = ?2";
        db.execute(sql, (diff_id.to_string(), form.as_str()))
            .map_err(self.sql(WRITE))
            .map(drop)
    }

    /// The record and the boot that wrote it, as they stand in the catalogue.
    fn find_layer(
        &self,
        db: &Connection,
        diff_id: &Digest,
        form: Form,
    ) -> Result<Option<(LayerRecord, Option<String>)>, Error> {
        let sql = "SELECT blob_digest, bytes, entries, notes, disk_bytes, boot FROM layers
                   WHERE diff_id = ?1 AND form = ?2";
        let read = |row: &Row<'_>| {
            let record = LayerRecord {
                diff_id: *diff_id,
                form,
                blob_digest: digest(row, 0)?,
                tree: self.dirs.tree(diff_id, form),
                bytes: count(row, 1)?,
                entries: count(row, 2)?,
                notes: row.get(3)?,
                disk_bytes: row.get::<_, Option<i64>>(4)?.map(|_| count(row, 4)).transpose()?,
            };
            Ok((record, row.get(5)?))
        };
        db.query_row(sql, (diff_id.to_string(), form.as_str()), read)
            .optional()
            .map_err(self.sql(READ))
    }

    fn insert_layer(&self, db: &Connection, layer: &LayerRecord) -> Result<(), Error> {
        let sql = "INSERT INTO layers
                   (diff_id, form, blob_digest, bytes, entries, notes, disk_bytes, boot, created)
                   VALUES (:diff_id, :form, :blob_digest, :bytes, :entries, :notes, :disk_bytes, :boot, :created)";
        let values = named_params! {
            ":diff_id": layer.diff_id.to_string(),
            ":form": layer.form.as_str(),
            ":blob_digest": layer.blob_digest.to_string(),
            ":bytes": bounded(layer.bytes),
            ":entries": bounded(layer.entries),
            ":notes": layer.notes,
            ":disk_bytes": layer.disk_bytes.map(bounded),
            ":boot": self.boot,
            ":created": now(),
        };
        db.execute(sql, values).map_err(self.sql(WRITE)).map(drop)
    }
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
