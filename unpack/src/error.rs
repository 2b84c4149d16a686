// SPDX-License-Identifier: Apache-2.0
use std::{fmt, io};

/// Why a layer could not be unpacked, and at which entry.
#[derive(Debug)]
pub struct Error {
    entry: Option<Vec<u8>>,
    kind: ErrorKind,
    source: Option<io::Error>,
}

/// The classes of failure that a caller may want to tell apart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The compressed bytes could not be read; the source of the error says why.
    Read,
    /// The compressed bytes are not what the codec expects.
    Codec(&'static str),
    /// The bytes are no valid tar archive: what is wrong.
    Archive(&'static str),
    /// An entry asks for something that no layer may do: what.
    Refused(&'static str),
    /// A limit is exceeded: its name in [`Limits`](crate::Limits) and its value.
    Limit(&'static str, u64),
    /// The file system holds no extended attribute of this name, on any file.
    Xattr(Vec<u8>),
    /// A kept layer's index is not as it was written: what of it.
    Damaged(&'static str),
    /// The file system refused an operation: which.
    Io(&'static str),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Error {
            entry: None,
            kind,
            source: None,
        }
    }

    pub(crate) fn archive(what: &'static str) -> Self {
        Self::new(ErrorKind::Archive(what))
    }

    pub(crate) fn refused(what: &'static str) -> Self {
        Self::new(ErrorKind::Refused(what))
    }

    pub(crate) fn limit(name: &'static str, value: u64) -> Self {
        Self::new(ErrorKind::Limit(name, value))
    }

    pub(crate) fn io(doing: &'static str, source: impl Into<io::Error>) -> Self {
        Error {
            entry: None,
            kind: ErrorKind::Io(doing),
            source: Some(source.into()),
        }
    }

    pub(crate) fn with_source(kind: ErrorKind, source: io::Error) -> Self {
        Error {
            entry: None,
            kind,
            source: Some(source),
        }
    }

    /// Names the entry, unless an inner place has done so already.
    pub(crate) fn at(mut self, entry: &[u8]) -> Self {
        self.entry.get_or_insert_with(|| entry.to_vec());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The name of the entry at fault as the archive spells it, where there is one.
    pub fn entry(&self) -> Option<&[u8]> {
        self.entry.as_deref()
    }

    /// The error of the operating system or of the reader, where there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.entry {
            write!(f, "entry `{}`: ", entry.escape_ascii())?;
        }
        match &self.kind {
            ErrorKind::Read => f.write_str("cannot read the layer's bytes"),
            ErrorKind::Codec(codec) => write!(f, "cannot decompress {codec}"),
            ErrorKind::Archive(what) => write!(f, "malformed archive: {what}"),
            ErrorKind::Refused(what) => f.write_str(what),
            ErrorKind::Limit(name, value) => write!(f, "limit `{name}` exceeded: {value}"),
            ErrorKind::Xattr(name) => write!(
                f,
                "the file system cannot hold an extended attribute, use one that can (ext4, XFS, Btrfs, tmpfs): \
                 `{}`",
                name.escape_ascii()
            ),
            ErrorKind::Damaged(what) => write!(f, "the index of a kept layer is damaged: {what}"),
            ErrorKind::Io(doing) => write!(f, "cannot {doing}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
