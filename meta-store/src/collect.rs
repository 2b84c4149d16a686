// SPDX-License-Identifier: Apache-2.0
//! Removal of layers that nothing needs.
//!
//! A layer is needed while an image names it, in whichever forms it is there, or a mount names it in
//! its form. One that an image has let go is removed at once if no lease is held, otherwise at a later
//! opening. One that no image has named yet is what an interrupted pull has saved: it is kept for a
//! day, so that the next attempt continues there. With a layer go the merged images made of it.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use image_spec::Digest;
use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use rusqlite::{Connection, Params, Row};

use crate::dirs::{c_name, fresh_name, layer_name};
use crate::error::Error;
use crate::image::Removed;
use crate::layer::digest;
use crate::mount::random_name;
use crate::store::{Alone, now};
use crate::{Form, Store, remove};

/// Seconds that a layer no image has named yet is kept: longer than retries of a pull go on, short
/// enough for tmpfs.
const KEEP: i64 = 24 * 60 * 60;
const UNNEEDED: &str = "(unwanted = 1 OR created < ?1)
    AND NOT EXISTS (SELECT 1 FROM image_layers WHERE image_layers.diff_id = layers.diff_id)
    AND NOT EXISTS (SELECT 1 FROM mount_layers JOIN mounts ON mounts.id = mount_layers.mount
                    WHERE mount_layers.diff_id = layers.diff_id AND mounts.form = layers.form)";
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
        let merged = format!(
            "SELECT name FROM merged WHERE id IN (SELECT merged FROM merged_layers
             WHERE layer IN (SELECT id FROM layers WHERE {UNNEEDED}))"
        );
        let layers = format!("DELETE FROM layers WHERE {UNNEEDED} RETURNING diff_id, form, bytes");
        let kept_since = now() - KEEP;
        let (merged, layers) = self.write(|tx| {
            let name = |row: &Row<'_>| Ok(random_name(row, 0).ok().map(|name| c_name(&name)));
            // Before their records go with those of the layers.
            let merged = self.rows(tx, &merged, [kept_since], name)?;
            let read = |row: &Row<'_>| Ok((layer(row, 0).map(folder), row.get::<_, i64>(2)?));
            Ok((merged, self.rows(tx, &layers, [kept_since], read)?))
        })?;
        let mut removed = Removed::default();
        let mut gone: Vec<Gone> = merged.into_iter().flatten().map(Gone::Merged).collect();
        for (name, bytes) in layers {
            removed.layers += 1;
            removed.bytes = removed.bytes.saturating_add(u64::try_from(bytes).unwrap_or(0));
            gone.extend(name.map(Gone::Layer));
        }
        self.discard(gone, alone)?;
        Ok(removed)
    }

    /// At opening: what records and folders do not agree on, if no lease is held.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let Some(alone) = self.alone()? else { return Ok(()) };
        let known = self.write(|tx| {
            let mut known = self.forget_unsound(tx)?;
            // After the layers: what was made of those that went has gone with them.
            let merged = self.forget_unsound_merged(tx)?;
            known.extend(merged.iter().map(|name| c_name(name)));
            Ok(known)
        })?;
        if self.sweep_mounts()? {
            let list = |errno| Error::io("cannot list the layers", &self.dirs.path, errno);
            let layers = remove::names(&self.dirs.layers).map_err(list)?;
            let merged = remove::names(&self.dirs.merged).map_err(list)?;
            let unknown = |name: &CString| !known.contains(name);
            let layers = layers.into_iter().filter(unknown).map(Gone::Layer);
            let merged = merged.into_iter().filter(unknown).map(Gone::Merged);
            self.discard(layers.chain(merged).collect(), alone)?;
        } else {
            drop(alone);
        }
        self.collect().map(drop)
    }

    /// Removes records that cannot be believed; answers the folder names of the others.
    fn forget_unsound(&self, db: &Connection) -> Result<HashSet<CString>, Error> {
        let sql = "SELECT id, diff_id, form, boot FROM layers";
        let read = |row: &Row<'_>| {
            let boot: Option<String> = row.get(3)?;
            let layer = layer(row, 1).filter(|(id, form)| self.is_sound(id, *form, boot.as_deref()));
            Ok((row.get::<_, i64>(0)?, layer.map(folder)))
        };
        let mut known = HashSet::new();
        for (id, name) in self.rows(db, sql, [], read)? {
            match name {
                Some(name) => {
                    known.insert(name);
                }
                None => {
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

    /// Takes folders out of their place while nobody else is there, and deletes them when others may
    /// be there again.
    fn discard(&self, gone: Vec<Gone>, alone: Alone) -> Result<(), Error> {
        if gone.is_empty() {
            return Ok(());
        }
        // On a full disk there may be no room for a stage; then they are deleted where they are.
        let trash = self.stage();
        for gone in gone {
            let (folder, dir, name) = match &gone {
                Gone::Layer(name) => ("layers", &self.dirs.layers, name),
                Gone::Merged(name) => ("merged", &self.dirs.merged, name),
            };
            let done = match &trash {
                Ok(trash) => match renameat(dir, name.as_c_str(), trash.dir(), fresh_name().as_str()) {
                    Err(Errno::ENOENT) => Ok(()),
                    done => done.map_err(Into::into),
                },
                Err(_) => remove::remove_tree(dir, name),
            };
            let path = || {
                let name = OsStr::from_bytes(name.to_bytes());
                self.dirs.path.join(folder).join(name)
            };
            done.map_err(|source| Error::io(COLLECT, &path(), source))?;
        }
        drop(alone);
        Ok(())
    }

    fn rows<T>(
        &self,
        db: &Connection,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = db.prepare(sql).map_err(self.sql(COLLECT))?;
        let rows = statement.query_map(params, read);
        rows.and_then(Iterator::collect).map_err(self.sql(COLLECT))
    }
}

/// A folder without a record, by its name.
enum Gone {
    Layer(CString),
    Merged(CString),
}

/// The layer that two columns name, unless they hold what this crate does not write.
fn layer(row: &Row<'_>, column: usize) -> Option<(Digest, Form)> {
    Some((digest(row, column).ok()?, Form::read(row, column + 1).ok()?))
}

fn folder((diff_id, form): (Digest, Form)) -> CString {
    c_name(&layer_name(&diff_id, form))
}
