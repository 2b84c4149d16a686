// SPDX-License-Identifier: Apache-2.0
//! Making room: images go that nobody has asked for in a while, and the layers with them.
//!
//! What is needed is found anew each time, from images, mounts and leases; nothing counts references.

use rusqlite::Row;

use crate::error::Error;
use crate::layer::bounded;
use crate::store::now;
use crate::{Store, collect};

const GC: &str = "cannot make room in the store";

/// What [`Store::gc`] may remove besides what nothing needs. By default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gc {
    /// Images that nobody has asked for in so many seconds.
    pub unused_for: Option<u64>,
    /// Until the store takes at most so many bytes on disk, the images that were asked for longest ago.
    pub max_bytes: Option<u64>,
}

/// What [`Store::gc`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The names of the images that were removed.
    pub images: Vec<String>,
    /// Bytes on disk that came free.
    pub freed: u64,
    /// Bytes on disk that the store takes now.
    pub bytes: u64,
    /// Layers that nothing needs were left, because somebody held a lease.
    pub deferred: bool,
}

impl Store {
    /// Removes folders without a record, layers that nothing needs, and images as `gc` says, the one
    /// first that was asked for longest ago. Pinned images and those that a bundle uses stay. Layers that
    /// an interrupted pull has brought stay for a day, so that it can go on.
    ///
    /// With more bytes on disk than asked for it ends well if nothing more may go: see
    /// [`Collected::bytes`].
    pub fn gc(&self, gc: &Gc) -> Result<Collected, Error> {
        let before = self.disk_use()?.total;
        self.sweep()?;
        let mut collected = Collected {
            deferred: self.collect()?.deferred,
            bytes: self.disk_use()?.total,
            ..Collected::default()
        };
        for (image, last_used) in self.idle()? {
            let since = u64::try_from(now().saturating_sub(last_used)).unwrap_or(0);
            let old = gc.unused_for.is_some_and(|limit| since >= limit);
            // Where layers stay for others' sake, removing more images gains nothing.
            let large = gc.max_bytes.is_some_and(|max| collected.bytes > max) && !collected.deferred;
            if !old && !large {
                break;
            }
            if !self.remove_idle(&image, last_used)? {
                continue;
            }
            collected.deferred |= self.collect()?.deferred;
            collected.bytes = self.disk_use()?.total;
            collected.images.push(image);
        }
        collected.freed = before.saturating_sub(collected.bytes);
        Ok(collected)
    }

    /// Images that may go, with the time when they were asked for, the earliest first.
    fn idle(&self) -> Result<Vec<(String, i64)>, Error> {
        self.read(|db| {
            let sql = "SELECT name, last_used FROM images
                       WHERE pinned = 0 AND NOT EXISTS (SELECT 1 FROM mounts WHERE mounts.image = images.name)
                       ORDER BY last_used, created, name";
            let mut statement = db.prepare(sql).map_err(self.sql(GC))?;
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let rows = statement.query_map([], read);
            rows.and_then(Iterator::collect).map_err(self.sql(GC))
        })
    }

    /// Removes an image's record if it is as idle as it was found; false if it is not.
    fn remove_idle(&self, image: &str, last_used: i64) -> Result<bool, Error> {
        self.write(|tx| {
            let sql = "SELECT EXISTS (SELECT 1 FROM images WHERE name = ?1 AND last_used = ?2 AND pinned = 0)
                          AND NOT EXISTS (SELECT 1 FROM mounts WHERE image = ?1)";
            let idle: bool = tx
                .query_row(sql, (image, last_used), |row| row.get(0))
                .map_err(self.sql(GC))?;
            if idle {
                collect::release(self, tx, image)?;
                tx.execute("DELETE FROM images WHERE name = ?1", [image])
                    .map_err(self.sql(GC))?;
            }
            Ok(idle)
        })
    }

    /// Keeps an image from [`gc`](Store::gc), or no longer; false if there is no image of that name.
    pub fn pin(&self, name: &str, pinned: bool) -> Result<bool, Error> {
        self.write(|tx| {
            let sql = "UPDATE images SET pinned = ?2 WHERE name = ?1";
            let found = tx.execute(sql, (name, bounded(pinned.into())));
            found.map(|rows| rows > 0).map_err(self.sql(GC))
        })
    }
}
