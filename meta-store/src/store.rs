// SPDX-License-Identifier: Apache-2.0
//! The store as one object: its folders, its catalogue, its locks.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use image_spec::Digest;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::dirs::Dirs;
use crate::error::Error;
use crate::stage::{self, Stage};
use crate::{Claim, catalogue, claim, lock};

const LOCK: &std::ffi::CStr = c"lock";

/// The catalogue and the content below one work directory.
///
/// Any number of stores, in any number of processes, may be open on one directory; each method
/// takes `&self`. All calls block: they wait for other processes' transactions (30 s at most) and
/// for the disk.
#[derive(Debug)]
pub struct Store {
    pub(crate) dirs: Dirs,
    /// Names the run of the machine; content of an earlier run counts only if it had reached the
    /// disk.
    pub(crate) boot: Option<String>,
    db: Mutex<Connection>,
}

/// While it lives, no process removes a layer. Taken by a pull before it asks which layers are
/// there.
#[derive(Debug)]
pub struct Lease {
    _lock: File,
}

/// Held by the one who removes layers: there is no lease, and none is given.
pub(crate) struct Alone {
    _lock: File,
}

impl Store {
    /// Opens the store in `work_dir`, making it when missing, with mode 0700.
    ///
    /// Removes what killed processes left in staging and, unless somebody holds a lease, layers
    /// that nothing needs. What of that cannot be removed is reported by `tracing` and tried again
    /// at the next opening.
    ///
    /// # Errors
    /// `Unsafe` for a directory of another user or one that others may write to; `Corrupt` and
    /// `Newer` for a catalogue that this version cannot use, which is then left as it is; `Denied`,
    /// `ReadOnly`, `Full` and `Io` with the path.
    pub fn open(work_dir: &Path) -> Result<Store, Error> {
        let dirs = Dirs::open(work_dir)?;
        let db = catalogue::open(&dirs)?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let boot = boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        let store = Store {
            dirs,
            boot,
            db: Mutex::new(db),
        };
        for swept in [
            stage::sweep(&store.dirs),
            claim::sweep(&store.dirs),
            store.sweep(),
        ] {
            if let Err(error) = swept {
                let cause = std::error::Error::source(&error);
                tracing::warn!(%error, ?cause, "the store was not fully swept");
            }
        }
        Ok(store)
    }

    /// A fresh private directory in staging, on the same file system as the layers.
    pub fn stage(&self) -> Result<Stage, Error> {
        Stage::new(&self.dirs)
    }

    /// Waits until nobody else fetches the layer, and keeps others from it.
    ///
    /// A thread that waits for a layer it has claimed itself waits for ever. Nobody waits for two
    /// layers at once if each claims, fetches and drops one after the other.
    pub fn claim(&self, diff_id: &Digest) -> Result<Claim, Error> {
        loop {
            if let Some(claim) = Claim::attempt(&self.dirs, diff_id, true)? {
                return Ok(claim);
            }
        }
    }

    /// As [`claim`](Store::claim), but answers `None` at once when somebody else has the layer, or
    /// had it a moment ago.
    pub fn try_claim(&self, diff_id: &Digest) -> Result<Option<Claim>, Error> {
        Claim::attempt(&self.dirs, diff_id, false)
    }

    /// Keeps layers from being removed. Waits while another process is about to remove some, which
    /// takes a moment.
    pub fn lease(&self) -> Result<Lease, Error> {
        let failed = |source| Error::io("cannot lease the store", &self.dirs.path, source);
        let file = lock::open(&self.dirs.root, LOCK).map_err(failed)?;
        lock::shared(&file).map_err(failed)?;
        Ok(Lease { _lock: file })
    }

    /// The right to remove layers, if it is free now.
    pub(crate) fn alone(&self) -> Result<Option<Alone>, Error> {
        let failed = |source| Error::io("cannot lock the store", &self.dirs.path, source);
        let file = lock::open(&self.dirs.root, LOCK).map_err(failed)?;
        Ok(lock::try_exclusive(&file)
            .map_err(failed)?
            .then_some(Alone { _lock: file }))
    }

    pub(crate) fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        act(&self.db.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs one transaction that has the catalogue for itself; an error undoes it.
    pub(crate) fn write<T>(
        &self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let failed = self.sql("cannot write to the catalogue");
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let done = act(&tx)?;
        tx.commit().map_err(&failed)?;
        Ok(done)
    }

    pub(crate) fn sql(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
        move |source| Error::sql(doing, &self.dirs.catalogue(), source)
    }
}

/// Seconds since 1970 by the guest's clock; only orders records, decides no trust.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
