// SPDX-License-Identifier: Apache-2.0
use std::io;

use nix::errno::Errno;

/// What could not be done, with its class and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    what: String,
    kind: ErrorKind,
    source: Option<io::Error>,
}

/// The classes of failure that a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Mounting, owners, devices and `trusted` attributes need `CAP_SYS_ADMIN` and its companions.
    NotPermitted,
    /// The kernel or the file system cannot do it, or no snapshotter has that name.
    Unsupported,
    /// More layers than the kernel can stack.
    TooManyLayers,
    /// A layer's tree, image or notes hold what no unpacked layer may hold.
    Layer,
    /// A place which must be unused is in use.
    Occupied,
    /// The file system is full or a quota is used up.
    NoSpace,
    /// The image config asks for what no bundle may hold.
    Config,
    /// The image config's user or group cannot be resolved.
    User,
    /// Neither the image nor the caller names a command.
    NoCommand,
    /// Any other refusal of the operating system; the source of the error says which.
    Io,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Error {
            what: what.into(),
            kind,
            source: None,
        }
    }

    pub(crate) fn with_source(kind: ErrorKind, what: impl Into<String>, source: io::Error) -> Self {
        Error {
            what: what.into(),
            kind,
            source: Some(source),
        }
    }

    /// The class of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The failure and its cause in one line.
    pub(crate) fn in_full(&self) -> String {
        match &self.source {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// What a person may do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.kind {
            ErrorKind::NotPermitted => {
                "run as root, or with CAP_SYS_ADMIN, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_MKNOD and CAP_SETFCAP in the first user namespace"
            }
            ErrorKind::TooManyLayers => "use the `copy` snapshotter, or rebuild the image with fewer layers",
            ErrorKind::NoSpace => "free some space, or put the work directory on a larger file system",
            ErrorKind::NoCommand => "give a command, since the image has neither Entrypoint nor Cmd",
            ErrorKind::Occupied => "use a fresh directory, or remove the earlier mount or bundle first",
            _ => return None,
        })
    }
}

/// Says what was being done, and to what, when the system refuses.
pub(crate) trait Context<T> {
    /// `doing` reads after "cannot"; the value is quoted and printed last.
    fn at(self, doing: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, doing: &str, value: impl AsRef<std::ffi::OsStr>) -> Result<T, Error> {
        self.map_err(|error| {
            let source = error.into();
            let what = format!("cannot {doing}: `{}`", quoted(value.as_ref()));
            Error::with_source(classify(&source), what, source)
        })
    }
}

/// A path from an image, fit for a terminal.
pub(crate) fn quoted(value: &std::ffi::OsStr) -> String {
    value.as_encoded_bytes().escape_ascii().to_string()
}

fn classify(error: &io::Error) -> ErrorKind {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => ErrorKind::NotPermitted,
        Some(Errno::ENODEV | Errno::EOPNOTSUPP | Errno::ENOSYS) => ErrorKind::Unsupported,
        Some(Errno::ENOSPC | Errno::EDQUOT) => ErrorKind::NoSpace,
        Some(Errno::EEXIST | Errno::ENOTEMPTY) => ErrorKind::Occupied,
        _ => ErrorKind::Io,
    }
}
