// SPDX-License-Identifier: Apache-2.0
//! What was published, and what of it outlives the machine's next start.

use nix::unistd::syncfs;

use crate::Store;
use crate::error::Error;

const FLUSH: &str = "cannot record what was flushed";
const TABLES: [&str; 2] = ["layers", "merged"];

impl Store {
    /// Flushes the published layers and merged images to disk, after which they outlive the
    /// machine's next start.
    ///
    /// One `syncfs(2)` for all of them: it may take seconds, and nothing but a restart depends on
    /// it.
    pub fn sync(&self) -> Result<(), Error> {
        let Some(boot) = &self.boot else { return Ok(()) };
        let last = |table: &str| {
            let sql = format!("SELECT max(id) FROM {table} WHERE boot = ?1");
            self.read(|db| {
                db.query_row(&sql, [boot], |row| row.get(0))
                    .map_err(self.sql(FLUSH))
            })
        };
        // Read before the flush: what is published meanwhile may miss it.
        let last: [Option<i64>; 2] = [last(TABLES[0])?, last(TABLES[1])?];
        if last == [None, None] {
            return Ok(());
        }
        self.flush()?;
        self.write(|tx| {
            for (table, last) in TABLES.iter().zip(last) {
                let sql = format!("UPDATE {table} SET boot = NULL WHERE boot = ?1 AND id <= ?2");
                tx.execute(&sql, (boot, last)).map_err(self.sql(FLUSH))?;
            }
            Ok(())
        })
    }

    pub(crate) fn flush(&self) -> Result<(), Error> {
        syncfs(&self.dirs.layers)
            .map_err(|errno| Error::io("cannot flush the layers", &self.dirs.path, errno))
    }
}
