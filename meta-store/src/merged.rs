// SPDX-License-Identifier: Apache-2.0
//! Merged images: one EROFS image over the layers of an image, whose data is in files of the layers.
//!
//! A merged image is made again from its layers at any time, so nothing keeps it but them: it goes
//! with the first of its layers that goes. A mounted bundle keeps its layers, and so this.

use std::path::{Path, PathBuf};

use image_spec::{Digest, MAX_LAYERS};
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::dirs::{c_name, fresh_name, is_file};
use crate::error::{Error, ErrorKind};
use crate::layer::{bounded, count, digest};
use crate::measure::allocated;
use crate::mount::random_name;
use crate::store::now;
use crate::{Form, Stage, Store, place};

/// What the number of a device, 16 bits, can count.
const MAX_DEVICES: usize = u16::MAX as usize;
const READ: &str = "cannot read a merged image's record";
const WRITE: &str = "cannot record a merged image";
const PUBLISH: &str = "cannot publish a merged image";

/// A merged image that the store holds, with all its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedRecord {
    /// The image's file, absolute, in a directory whose name is never used again.
    pub image: PathBuf,
    /// What the kernel is given with it, in this order.
    pub devices: Vec<Device>,
    /// Bytes that the file takes on disk.
    pub disk_bytes: u64,
}

/// A part of a layer's file that is a device of a merged image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// A file in the directory of a layer of the form [`Form::Erofs`], absolute.
    pub file: PathBuf,
    /// Where the device begins in it, in bytes.
    pub offset: u64,
}

/// A merged image about to be published.
#[derive(Clone, Debug)]
pub struct NewMerged {
    /// The chain id of the layers.
    pub chain_id: Digest,
    /// Bytes of a block of the image.
    pub block_size: u32,
    /// The diff ids of the layers it was made of, all in the store as [`Form::Erofs`].
    pub layers: Vec<Digest>,
    /// The image's file: one name inside the stage.
    pub file: String,
    /// Its devices: files of these layers, at most 65535.
    pub devices: Vec<Device>,
}

/// A record as it stands in the catalogue. What nobody can have written is none: it is forgotten and
/// made again, as there is nothing in it that cannot be.
struct Entry {
    id: i64,
    values: Option<Values>,
}

struct Values {
    name: String,
    boot: Option<String>,
    disk_bytes: u64,
}

impl Store {
    /// The merged image of these layers with blocks of this size, if the store holds it and all
    /// that it is made of.
    pub fn merged(&self, chain_id: &Digest, block_size: u32) -> Result<Option<MergedRecord>, Error> {
        let found = |db: &Connection| {
            let entry = self.find_merged(db, chain_id, block_size)?;
            let sound = entry.as_ref().map(|entry| self.if_sound(db, entry)).transpose()?;
            Ok((sound.flatten(), entry.map(|entry| entry.id)))
        };
        match self.read(found)? {
            (None, Some(_)) => self.write(|tx| match found(tx)? {
                (None, Some(id)) => self.forget_merged(tx, id).map(|()| None),
                (sound, _) => Ok(sound),
            }),
            (sound, _) => Ok(sound),
        }
    }

    /// Moves the stage's file to its place and records the merged image, in one step for all who
    /// look.
    ///
    /// If there is one already, the stage is discarded and the older one answered. As with layers,
    /// it counts for this run of the machine only until [`sync`](Store::sync).
    ///
    /// # Errors
    /// `Invalid` when `file` is no file of the stage or a device is not a file of one of the layers;
    /// `Missing` when a layer is not in the store as [`Form::Erofs`].
    pub fn publish_merged(&self, stage: Stage, merged: &NewMerged) -> Result<MergedRecord, Error> {
        let file = place::checked(&stage, &merged.file, SFlag::S_IFREG)?;
        let devices = self.checked_devices(merged)?;
        let name = fresh_name();
        let failed = |errno| Error::io(PUBLISH, &self.dirs.image(&name), errno);
        let stat = fstatat(stage.dir(), file.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).map_err(failed)?;
        let record = MergedRecord {
            image: self.dirs.image(&name),
            devices: merged.devices.clone(),
            disk_bytes: allocated(&stat),
        };
        let _lease = self.lease()?;
        // Without a boot id nobody could tell later whether the image had reached the disk.
        if self.boot.is_none() {
            self.flush()?;
        }
        let mut moved = false;
        let done = self.write(|tx| {
            if let Some(entry) = self.find_merged(tx, &merged.chain_id, merged.block_size)? {
                match self.if_sound(tx, &entry)? {
                    Some(older) => return Ok(older),
                    None => self.forget_merged(tx, entry.id)?,
                }
            }
            self.insert_merged(tx, merged, &name, record.disk_bytes, &devices)?;
            place::place(&stage, &file, &self.dirs.merged, &name, c"image").map_err(failed)?;
            moved = true;
            Ok(record)
        });
        if done.is_err() && moved {
            place::take_back(&stage, &self.dirs.merged, &name);
        }
        done
    }

    /// The layer and the file's name of each device.
    fn checked_devices<'a>(&self, merged: &'a NewMerged) -> Result<Vec<(Digest, &'a str)>, Error> {
        if merged.layers.len() > MAX_LAYERS || merged.devices.len() > MAX_DEVICES {
            let many = merged.layers.len().max(merged.devices.len());
            return Err(Error::new(
                ErrorKind::Invalid,
                "too many layers or devices to merge",
                many,
            ));
        }
        let trees = merged
            .layers
            .iter()
            .map(|id| (self.dirs.tree(id, Form::Erofs), *id));
        let trees: std::collections::HashMap<PathBuf, Digest> = trees.collect();
        let check = |device: &'a Device| {
            let layer = device.file.parent().and_then(|tree| trees.get(tree))?;
            let name = device.file.file_name()?.to_str()?;
            (place::is_plain(name) && device.file.symlink_metadata().is_ok_and(|file| file.is_file()))
                .then_some((*layer, name))
        };
        let refuse = |device: &Device| {
            let what = "a device is not a file of the merged layers";
            Error::new(ErrorKind::Invalid, what, device.file.display())
        };
        let checked = merged
            .devices
            .iter()
            .map(|device| check(device).ok_or_else(|| refuse(device)));
        checked.collect()
    }

    fn insert_merged(
        &self,
        db: &Connection,
        merged: &NewMerged,
        name: &str,
        disk_bytes: u64,
        devices: &[(Digest, &str)],
    ) -> Result<(), Error> {
        let failed = self.sql(WRITE);
        let sql = "INSERT INTO merged (name, chain_id, block_size, disk_bytes, boot, created)
                   VALUES (:name, :chain_id, :block_size, :disk_bytes, :boot, :created)";
        let values = named_params! {
            ":name": name,
            ":chain_id": merged.chain_id.to_string(),
            ":block_size": merged.block_size,
            ":disk_bytes": bounded(disk_bytes),
            ":boot": self.boot,
            ":created": now(),
        };
        db.execute(sql, values).map_err(&failed)?;
        let id = db.last_insert_rowid();
        let layer = "(SELECT id FROM layers WHERE diff_id = ?2 AND form = 'erofs')";
        // An image may hold a layer twice.
        let sql = format!("INSERT OR IGNORE INTO merged_layers (merged, layer) VALUES (?1, {layer})");
        for diff_id in &merged.layers {
            self.require_layer(db, diff_id, Some(Form::Erofs))?;
            db.execute(&sql, (id, diff_id.to_string())).map_err(&failed)?;
        }
        let sql = format!(
            "INSERT INTO merged_devices (merged, layer, position, file, start) VALUES (?1, {layer}, ?3, ?4, ?5)"
        );
        let mut insert = db.prepare(&sql).map_err(&failed)?;
        for ((position, device), (layer, file)) in (0i64..).zip(&merged.devices).zip(devices) {
            let values = (id, layer.to_string(), position, file, bounded(device.offset));
            insert.execute(values).map_err(&failed)?;
        }
        Ok(())
    }

    fn find_merged(
        &self,
        db: &Connection,
        chain_id: &Digest,
        block_size: u32,
    ) -> Result<Option<Entry>, Error> {
        let sql = "SELECT id, name, boot, disk_bytes FROM merged WHERE chain_id = ?1 AND block_size = ?2";
        db.query_row(sql, (chain_id.to_string(), block_size), entry)
            .optional()
            .map_err(self.sql(READ))
    }

    /// The record, if it can be believed: its file is there, and each layer and device.
    fn if_sound(&self, db: &Connection, entry: &Entry) -> Result<Option<MergedRecord>, Error> {
        let Some(values) = self.sound_values(db, entry)? else {
            return Ok(None);
        };
        let sql = "SELECT diff_id, file, start FROM merged_devices
                   JOIN layers ON layers.id = merged_devices.layer WHERE merged = ?1 ORDER BY position";
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let device = |row: &Row<'_>| {
            let read =
                || Ok::<_, rusqlite::Error>((digest(row, 0)?, row.get::<_, String>(1)?, count(row, 2)?));
            Ok(read().ok())
        };
        let rows = statement.query_map([entry.id], device).map_err(self.sql(READ))?;
        let mut devices = Vec::new();
        for found in rows {
            let Some((diff_id, file, offset)) = found.map_err(self.sql(READ))? else {
                return Ok(None);
            };
            let there = self.dirs.open_tree(&diff_id, Form::Erofs);
            let there = there.is_ok_and(|tree| place::is_plain(&file) && is_file(&tree, &c_name(&file)));
            if !there {
                return Ok(None);
            }
            devices.push(Device {
                file: self.dirs.tree(&diff_id, Form::Erofs).join(Path::new(&file)),
                offset,
            });
        }
        Ok(Some(MergedRecord {
            image: self.dirs.image(&values.name),
            devices,
            disk_bytes: values.disk_bytes,
        }))
    }

    /// What the record says, if its file is there and so is each layer.
    fn sound_values<'a>(&self, db: &Connection, entry: &'a Entry) -> Result<Option<&'a Values>, Error> {
        let there = |values: &&Values| {
            self.is_of_this_boot(values.boot.as_deref()) && self.dirs.has_image(&values.name)
        };
        let Some(values) = entry.values.as_ref().filter(there) else {
            return Ok(None);
        };
        let sql =
            "SELECT diff_id, boot FROM merged_layers JOIN layers ON layers.id = layer WHERE merged = ?1";
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let sound = |row: &Row<'_>| {
            let boot: Option<String> = row.get(1)?;
            Ok(digest(row, 0).is_ok_and(|id| self.is_sound(&id, Form::Erofs, boot.as_deref())))
        };
        let layers = statement.query_map([entry.id], sound).map_err(self.sql(READ))?;
        let layers: Vec<bool> = layers.collect::<Result<_, _>>().map_err(self.sql(READ))?;
        Ok(layers.iter().all(|sound| *sound).then_some(values))
    }

    fn forget_merged(&self, db: &Connection, id: i64) -> Result<(), Error> {
        db.execute("DELETE FROM merged WHERE id = ?1", [id])
            .map_err(self.sql(WRITE))
            .map(drop)
    }

    /// Removes records that cannot be believed; answers the folder names of the others.
    pub(crate) fn forget_unsound_merged(&self, db: &Connection) -> Result<Vec<String>, Error> {
        let sql = "SELECT id, name, boot, disk_bytes FROM merged";
        let mut statement = db.prepare(sql).map_err(self.sql(READ))?;
        let rows = statement.query_map([], entry).map_err(self.sql(READ))?;
        let entries: Vec<Entry> = rows.collect::<Result<_, _>>().map_err(self.sql(READ))?;
        let mut known = Vec::new();
        for entry in entries {
            match self.sound_values(db, &entry)? {
                Some(values) => known.push(values.name.clone()),
                None => self.forget_merged(db, entry.id)?,
            }
        }
        Ok(known)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let values = || {
        Ok::<_, rusqlite::Error>(Values {
            name: random_name(row, 1)?,
            boot: row.get(2)?,
            disk_bytes: count(row, 3)?,
        })
    };
    Ok(Entry {
        id: row.get(0)?,
        values: values().ok(),
    })
}
