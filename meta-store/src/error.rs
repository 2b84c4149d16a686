// SPDX-License-Identifier: Apache-2.0
//! The one error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

/// What went wrong, with which file, image or layer; the cause is behind
/// [`source`](StdError::source).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    doing: &'static str,
    subject: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of failure a caller may want to tell apart.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The operating system denies access to the work directory.
    Denied,
    /// The work directory lies on a file system that cannot be written to.
    ReadOnly,
    /// The file system of the work directory, or a quota on it, is full.
    Full,
    /// What is on disk is damaged, or was not written by this crate.
    Corrupt,
    /// The catalogue was written by a newer version; it was not touched.
    Newer,
    /// The work directory is no place for a store: others may write to it, or it is not a
    /// directory.
    Unsafe,
    /// Another process holds what is needed, or a mount is still in place.
    Busy,
    /// There is a record of that name already.
    Exists,
    /// A layer or a mount that the call names is not in the store.
    Missing,
    /// The caller's record contradicts itself or is out of bounds.
    Invalid,
    /// Any other failure of the operating system or the database.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, doing: &'static str, subject: impl fmt::Display) -> Self {
        Error {
            kind,
            doing,
            subject: subject.to_string(),
            source: None,
        }
    }

    pub(crate) fn caused(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => ErrorKind::Busy,
            io::ErrorKind::NotADirectory => ErrorKind::Unsafe,
            _ => ErrorKind::Io,
        };
        Error::new(kind, doing, path.display()).caused(source)
    }

    pub(crate) fn sql(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        use rusqlite::Error as Sql;
        let kind = match &source {
            Sql::SqliteFailure(cause, _) => match cause.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig => {
                    ErrorKind::Corrupt
                }
                ErrorCode::DiskFull => ErrorKind::Full,
                ErrorCode::ReadOnly => ErrorKind::ReadOnly,
                ErrorCode::CannotOpen | ErrorCode::PermissionDenied => ErrorKind::Denied,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Busy,
                _ => ErrorKind::Io,
            },
            // A column that does not hold what this crate writes into it.
            Sql::FromSqlConversionFailure(..)
            | Sql::IntegralValueOutOfRange(..)
            | Sql::InvalidColumnType(..) => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Error::new(kind, doing, path.display()).caused(source)
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do about it, when there is something.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.kind {
            ErrorKind::Denied => "run as the owner of the work directory, or choose another one",
            ErrorKind::ReadOnly => "choose a work directory on a writable file system",
            ErrorKind::Full => "remove images that are no longer needed, or choose a larger file system",
            ErrorKind::Corrupt => {
                "move `catalogue.db*` away to start an empty store; images are then pulled again"
            }
            ErrorKind::Newer => "use the newer version of this program, or another work directory",
            ErrorKind::Unsafe => "choose a directory that only its owner can write to",
            ErrorKind::Busy => "wait for the other process, or unmount what is still mounted",
            ErrorKind::Exists | ErrorKind::Missing | ErrorKind::Invalid | ErrorKind::Io => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.doing, self.subject)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn errno_decides_the_kind() {
        let table = [
            (Errno::EACCES, ErrorKind::Denied),
            (Errno::EPERM, ErrorKind::Denied),
            (Errno::EROFS, ErrorKind::ReadOnly),
            (Errno::ENOSPC, ErrorKind::Full),
            (Errno::EDQUOT, ErrorKind::Full),
            (Errno::EBUSY, ErrorKind::Busy),
            (Errno::EXDEV, ErrorKind::Busy),
            (Errno::ENOTDIR, ErrorKind::Unsafe),
            (Errno::EIO, ErrorKind::Io),
        ];
        for (errno, kind) in table {
            assert_eq!(
                Error::io("cannot write", Path::new("/x"), errno).kind(),
                kind,
                "{errno}"
            );
        }
    }

    #[test]
    fn sqlite_code_decides_the_kind() {
        let table = [
            (rusqlite::ffi::SQLITE_CORRUPT, ErrorKind::Corrupt),
            (rusqlite::ffi::SQLITE_NOTADB, ErrorKind::Corrupt),
            (rusqlite::ffi::SQLITE_FULL, ErrorKind::Full),
            (rusqlite::ffi::SQLITE_READONLY, ErrorKind::ReadOnly),
            (rusqlite::ffi::SQLITE_CANTOPEN, ErrorKind::Denied),
            (rusqlite::ffi::SQLITE_BUSY, ErrorKind::Busy),
            (rusqlite::ffi::SQLITE_IOERR, ErrorKind::Io),
        ];
        for (code, kind) in table {
            let cause = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = Error::sql("cannot write", Path::new("/x/catalogue.db"), cause);
            assert_eq!(error.kind(), kind, "{code}");
            assert_eq!(error.to_string(), "cannot write: `/x/catalogue.db`");
            assert!(error.source().is_some());
        }
    }
}
