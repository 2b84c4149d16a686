// SPDX-License-Identifier: Apache-2.0
//! The catalogue: one SQLite database, opened as a file that somebody else may have written.

use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::dirs::{CATALOGUE, Dirs};
use crate::error::{Error, ErrorKind};
use crate::schema::{self, State};
use crate::{backup, lock, remove};

/// How long a statement waits for another process. Transactions hold a few row writes and one
/// rename.
const BUSY: Duration = Duration::from_secs(30);
/// Bytes of one value or row: an image holds two documents of at most 4 MiB and a config of at most
/// 8 MiB, a layer its notes; see [`MAX_NOTES`](crate::layer::MAX_NOTES).
const MAX_ROW: i32 = 32 << 20;
const OPEN: &str = "cannot open the catalogue";
const DAMAGED: &str = "the catalogue is damaged or not ours";

/// Opens the catalogue, making or migrating it when needed. A file that is not a sound catalogue is
/// never replaced.
pub(crate) fn open(dirs: &Dirs) -> Result<Connection, Error> {
    let path = dirs.catalogue();
    let failed = |source| Error::io(OPEN, &path, source);
    // One opener at a time: the switch to the write-ahead log does not wait for locks as other
    // statements do.
    let gate = lock::open(&dirs.root, c"catalogue.lock").map_err(failed)?;
    lock::exclusive(&gate).map_err(failed)?;
    let fresh = make_file(dirs).map_err(|errno| failed(errno.into()))?;
    let sql = |source| Error::sql(OPEN, &path, source);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut db = Connection::open_with_flags(&path, flags).map_err(sql)?;
    guard(&db).map_err(sql)?;
    match schema::state(&db).map_err(sql)? {
        State::Known => {
            check(&db, &path)?;
            backup::before_migration(&db, dirs)?;
        }
        State::Newer(version) => {
            let cause = format!("schema {version}");
            return Err(Error::new(
                ErrorKind::Newer,
                "the catalogue is of a newer version",
                path.display(),
            )
            .caused(cause));
        }
        // Cut to nothing, it would look like a new one; then there are layers without a record.
        State::Empty if fresh || remove::names(&dirs.layers).is_ok_and(|layers| layers.is_empty()) => {}
        State::Empty => return Err(damaged(&path, "it is empty, but there are layers")),
        State::Foreign => return Err(damaged(&path, "the database has not been made by this program")),
    }
    settle(&mut db).map_err(sql)?;
    if !schema::is_exact(&db).map_err(sql)? {
        return Err(damaged(&path, "its tables differ from those of its version"));
    }
    Ok(db)
}

/// Makes the file with its mode, which the database would take from the umask. Never opens an
/// existing one: closing any handle of a database file drops the locks that this process has on it.
fn make_file(dirs: &Dirs) -> nix::Result<bool> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(&dirs.root, CATALOGUE, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(_) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The settings that SQLite advises for files from elsewhere; none of them writes.
fn guard(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW)?;
    db.pragma_update(None, "cell_size_check", true)
}

fn check(db: &Connection, path: &std::path::Path) -> Result<(), Error> {
    let verdict: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|source| Error::sql(OPEN, path, source))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(damaged(path, &verdict))
    }
}

fn settle(db: &mut Connection) -> rusqlite::Result<()> {
    // Where the file system cannot share memory between processes, SQLite answers with the mode
    // that stays.
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    // A write-ahead log is consistent without a flush at each commit; the others are not.
    db.pragma_update(None, "synchronous", if mode == "wal" { "normal" } else { "full" })?;
    db.pragma_update(None, "foreign_keys", true)?;
    schema::migrate(db)
}

fn damaged(path: &std::path::Path, cause: &str) -> Error {
    Error::new(ErrorKind::Corrupt, DAMAGED, path.display()).caused(cause)
}
