// SPDX-License-Identifier: Apache-2.0
//! Copies of the catalogue from before it was migrated, and the way back to the last of them.
//!
//! A migration changes the catalogue alone: the folders of layers stay as they were, so the copy and the
//! folders go together for as long as no layer is removed. What was recorded since the copy was made is
//! lost with the way back; records whose layer has gone meanwhile count for nothing, as ever.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::dirs::{CATALOGUE, Dirs, is_file};
use crate::error::{Error, ErrorKind};
use crate::remove::names;
use crate::schema::{self, State};
use crate::{Store, lock};

const FOLDER: &std::ffi::CStr = c"backups";
/// Copies that are kept.
const KEPT: usize = 5;
const BACKUP: &str = "cannot back the catalogue up";
const ROLLBACK: &str = "cannot go back to the catalogue's backup";

/// Copies a catalogue of an older schema, if it has something in it.
pub(crate) fn before_migration(db: &Connection, dirs: &Dirs) -> Result<(), Error> {
    let path = dirs.catalogue();
    let sql = |source| Error::sql(BACKUP, &path, source);
    let version = schema::version(db).map_err(sql)?;
    if version == 0 || !schema::is_old(version) {
        return Ok(());
    }
    let folder = dirs.path.join("backups");
    let failed = |errno: Errno| Error::io(BACKUP, &folder, errno);
    match mkdirat(&dirs.root, FOLDER, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let numbers = numbers(dirs).map_err(failed)?;
    let number = numbers.last().map_or(1, |last| last.saturating_add(1));
    let (part, whole) = (folder.join("part"), folder.join(number.to_string()));
    remove(&part).map_err(failed)?;
    // A copy of all that is committed, also of what is in the write-ahead log alone.
    db.execute("VACUUM INTO ?1", [part.to_string_lossy()])
        .map_err(sql)?;
    renameat(AT_FDCWD, &part, AT_FDCWD, &whole).map_err(failed)?;
    tracing::info!(schema = version, backup = %whole.display(), "the catalogue is migrated");
    let old = numbers.len().saturating_sub(KEPT - 1);
    for number in numbers.iter().take(old) {
        remove(&folder.join(number.to_string())).map_err(failed)?;
    }
    Ok(())
}

impl Store {
    /// Replaces the catalogue in `work_dir` by what it was before its last migration, for an older
    /// version of the program to use. Answers the schema's number. The copy is used up.
    ///
    /// # Errors
    /// `Missing` without a copy, `Busy` while anybody uses the store, `Corrupt` for a copy that is no
    /// sound catalogue. The catalogue then is as it was.
    pub fn rollback(work_dir: &Path) -> Result<u32, Error> {
        let dirs = Dirs::open(work_dir)?;
        let failed = |source: std::io::Error| Error::io(ROLLBACK, &dirs.path, source);
        let gate = lock::open(&dirs.root, c"catalogue.lock").map_err(failed)?;
        lock::exclusive(&gate).map_err(failed)?;
        let lease = lock::open(&dirs.root, c"lock").map_err(failed)?;
        if !lock::try_exclusive(&lease).map_err(failed)? {
            let cause = "somebody pulls into it or mounts from it";
            return Err(Error::new(ErrorKind::Busy, ROLLBACK, dirs.path.display()).caused(cause));
        }
        let numbers = numbers(&dirs).map_err(|errno| failed(errno.into()))?;
        let Some(last) = numbers.last() else {
            return Err(Error::new(
                ErrorKind::Missing,
                "there is no backup of the catalogue",
                dirs.path.display(),
            ));
        };
        let copy = dirs.path.join("backups").join(last.to_string());
        let version = check(&copy)?;
        // It has no log of changes then, which would belong to no other catalogue; refused while anybody has
        // it open. One that cannot be opened nobody uses.
        if let Ok(false) = alone(&dirs.catalogue()) {
            let cause = "somebody has it open";
            return Err(Error::new(ErrorKind::Busy, ROLLBACK, dirs.path.display()).caused(cause));
        }
        for suffix in ["-wal", "-shm"] {
            remove(&dirs.path.join(format!("{CATALOGUE}{suffix}"))).map_err(|errno| failed(errno.into()))?;
        }
        renameat(AT_FDCWD, &copy, &dirs.root, CATALOGUE).map_err(|errno| failed(errno.into()))?;
        Ok(version)
    }
}

/// Whether nobody else has the database open.
fn alone(catalogue: &Path) -> rusqlite::Result<bool> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(catalogue, flags)?;
    db.busy_timeout(Duration::ZERO)?;
    let mode = db.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get::<_, String>(0));
    match mode {
        Ok(mode) => Ok(mode == "delete"),
        Err(rusqlite::Error::SqliteFailure(failure, _))
            if matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The schema of a copy that is a sound catalogue.
fn check(copy: &Path) -> Result<u32, Error> {
    let sql = |source| Error::sql(ROLLBACK, copy, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(copy, flags).map_err(sql)?;
    let verdict: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(sql)?;
    match schema::state(&db).map_err(sql)? {
        State::Known if verdict == "ok" => {}
        _ => {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the backup is no sound catalogue",
                copy.display(),
            ));
        }
    }
    let version = schema::version(&db).map_err(sql)?;
    Ok(u32::try_from(version).unwrap_or(0))
}

/// The copies by their numbers, the oldest first.
fn numbers(dirs: &Dirs) -> nix::Result<Vec<u64>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let folder = match openat(&dirs.root, FOLDER, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        opened => opened?,
    };
    let number = |name: &CString| {
        let number = name.to_str().ok()?.parse().ok()?;
        is_file(&folder, name).then_some(number)
    };
    let mut numbers: Vec<u64> = names(&folder)?.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn remove(path: &PathBuf) -> nix::Result<()> {
    match unlinkat(AT_FDCWD, path, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}
