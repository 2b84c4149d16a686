// SPDX-License-Identifier: Apache-2.0
//! Removal of layers that nothing needs.
//!
//! A layer is needed while an image or a mount names it. One that an image has let go is removed at
//! once if no lease is held, otherwise at a later opening. One that no image has named yet is what
//! an interrupted pull has saved: it is kept for a day, so that the next attempt continues there.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use image_spec::Digest;
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use rusqlite::Connection;

use crate::dirs::{c_name, file_name};
use crate::error::Error;
use crate::image::Removed;
use crate::store::{Alone, now};
use crate::{Store, remove};

/// Seconds that a layer no image has named yet is kept: longer than retries of a pull go on, short
/// enough for tmpfs.
const KEEP: i64 = 24 * 60 * 60;
const UNNEEDED: &str = "(unwanted = 1 OR created < ?1)
    AND NOT EXISTS (SELECT 1 FROM image_layers WHERE image_layers.diff_id = layers.diff_id)
    AND NOT EXISTS (SELECT 1 FROM mount_layers WHERE mount_layers.diff_id = layers.diff_id)";
const COLLECT: &str = "cannot remove layers";

/// The image lets its layers go.
pub(crate) fn release(store: &Store, db: &Connection, image: &str) -> Result<(), Error> {
    for sql in [
        "UPDATE layers SET unwanted = 1 WHERE diff_id IN (SELECT diff_id FROM image_layers WHERE image = ?1)",
        "DELETE FROM image_layers WHERE image = ?1",
    ] {
        db.execute(sql, [image])
            .map_err(store.sql("cannot release an image's layers"))?;
    }
    Ok(())
}

impl Store {
    /// Removes layers that nothing needs, if no lease is held.
    pub(crate) fn collect(&self) -> Result<Removed, Error> {
        if let Some(alone) = self.alone()? {
            return self.collect_alone(alone);
        }
        let sql = format!("SELECT EXISTS (SELECT 1 FROM layers WHERE {UNNEEDED})");
        let deferred = self.read(|db| {
            db.query_row(&sql, [now() - KEEP], |row| row.get(0))
                .map_err(self.sql(COLLECT))
        })?;
        Ok(Removed {
            deferred,
            ..Removed::default()
        })
    }

    fn collect_alone(&self, alone: Alone) -> Result<Removed, Error> {
        let sql = format!("DELETE FROM layers WHERE {UNNEEDED} RETURNING diff_id, bytes");
        let gone: Vec<(String, i64)> = self.write(|tx| {
            let mut statement = tx.prepare(&sql).map_err(self.sql(COLLECT))?;
            let rows = statement.query_map([now() - KEEP], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.and_then(Iterator::collect).map_err(self.sql(COLLECT))
        })?;
        let mut removed = Removed::default();
        let mut names = Vec::new();
        for (diff_id, bytes) in gone {
            removed.layers += 1;
            removed.bytes = removed.bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
            names.extend(
                diff_id
                    .parse()
                    .map(|diff_id: Digest| c_name(&file_name(&diff_id))),
            );
        }
        self.discard(names, alone)?;
        Ok(removed)
    }

    /// At opening: what records and folders do not agree on, if no lease is held.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let Some(alone) = self.alone()? else { return Ok(()) };
        let known = self.write(|tx| self.forget_unsound(tx))?;
        if self.sweep_mounts()? {
            let list = |errno| Error::io("cannot list the layers", &self.dirs.path, errno);
            let mut names = remove::names(&self.dirs.layers).map_err(list)?;
            names.retain(|name| !known.contains(name));
            self.discard(names, alone)?;
        } else {
            drop(alone);
        }
        self.collect().map(drop)
    }

    /// Removes records that cannot be believed; answers the folder names of the others.
    fn forget_unsound(&self, db: &Connection) -> Result<HashSet<CString>, Error> {
        let mut statement = db
            .prepare("SELECT id, diff_id, boot FROM layers")
            .map_err(self.sql(COLLECT))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let rows: Vec<(i64, String, Option<String>)> =
            rows.and_then(Iterator::collect).map_err(self.sql(COLLECT))?;
        let mut known = HashSet::new();
        for (id, diff_id, boot) in rows {
            match diff_id.parse::<Digest>() {
                Ok(diff_id) if self.is_sound(&diff_id, boot.as_deref()) => {
                    known.insert(c_name(&file_name(&diff_id)));
                }
                _ => {
                    db.execute("DELETE FROM layers WHERE id = ?1", [id])
                        .map_err(self.sql(COLLECT))?;
                }
            }
        }
        Ok(known)
    }

    /// Removes state directories that have no record and hold nothing. False when one of them holds
    /// something: a mount whose record is lost may still use layers, so these are left alone, too.
    fn sweep_mounts(&self) -> Result<bool, Error> {
        let known: HashSet<String> = self.mounts()?.into_iter().map(|mount| mount.id).collect();
        let path = self.dirs.path.join("mounts");
        let mut clear = true;
        for name in
            remove::names(&self.dirs.mounts).map_err(|errno| Error::io("cannot list mounts", &path, errno))?
        {
            if name.to_str().is_ok_and(|name| known.contains(name)) {
                continue;
            }
            if let Err(errno) = unlinkat(&self.dirs.mounts, name.as_c_str(), UnlinkatFlags::RemoveDir) {
                let state = path.join(OsStr::from_bytes(name.to_bytes()));
                tracing::warn!(state = %state.display(), %errno, "a mount without a record is left alone");
                clear = false;
            }
        }
        Ok(clear)
    }

    /// Takes folders out of `layers` while nobody else is there, and deletes them when others may
    /// be there again.
    fn discard(&self, names: Vec<CString>, alone: Alone) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        // On a full disk there may be no room for a stage; then they are deleted where they are.
        let trash = self.stage();
        for name in names {
            let done = match &trash {
                Ok(trash) => match renameat(&self.dirs.layers, name.as_c_str(), trash.dir(), name.as_c_str())
                {
                    Err(Errno::ENOENT) => Ok(()),
                    done => done.map_err(Into::into),
                },
                Err(_) => remove::remove_tree(&self.dirs.layers, &name),
            };
            let path = || {
                self.dirs
                    .path
                    .join("layers")
                    .join(OsStr::from_bytes(name.to_bytes()))
            };
            done.map_err(|source| Error::io(COLLECT, &path(), source))?;
        }
        drop(alone);
        Ok(())
    }
}
