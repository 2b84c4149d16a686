// SPDX-License-Identifier: Apache-2.0
//! The one error of this crate.

use std::fmt;

use image_spec::Digest;

use crate::scheme::Scheme;

/// Why a layer cannot be used, and which of the image's layers it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    // Boxed for its size, which every result would carry.
    digest: Box<Digest>,
    index: Option<usize>,
    count: Option<usize>,
}

/// What a caller may want to tell apart.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The layer is encrypted, which this version cannot open; the ways that its key is wrapped.
    Unsupported(Vec<Scheme>),
    /// The layer's media type says it is encrypted, and no annotation holds its wrapped key.
    NoKey,
    /// The layer has annotations of encryption, named here, and a media type without it. One of
    /// the two is not true.
    Inconsistent(String),
    /// An annotation of encryption, named here, is longer than 64 KiB or lists more than 16 keys.
    Limit(String),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, digest: Digest) -> Error {
        Error {
            kind,
            digest: Box::new(digest),
            index: None,
            count: None,
        }
    }

    pub(crate) fn at(self, index: usize, count: Option<usize>) -> Error {
        Error {
            index: Some(index),
            count,
            ..self
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The layer's digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The layer's place in the manifest, from 0, if it was given.
    pub fn index(&self) -> Option<usize> {
        self.index
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.index, self.count) {
            (Some(index), Some(count)) => write!(f, "layer {} of {count}", index + 1)?,
            (Some(index), None) => write!(f, "layer {}", index + 1)?,
            _ => write!(f, "layer")?,
        }
        match &self.kind {
            ErrorKind::Unsupported(schemes) => {
                write!(f, " is encrypted, which is not supported, its key wrapped by")?;
                for (number, scheme) in schemes.iter().enumerate() {
                    write!(f, "{} `{scheme}`", if number == 0 { "" } else { "," })?;
                }
            }
            ErrorKind::NoKey => write!(f, " is encrypted, but no annotation holds its key")?,
            ErrorKind::Inconsistent(key) => {
                write!(
                    f,
                    " has a media type that is not encrypted, but the annotation `{key}`"
                )?;
            }
            ErrorKind::Limit(key) => write!(f, " has too many or too long keys in the annotation `{key}`")?,
        }
        write!(f, ": `{}`", self.digest)
    }
}

impl std::error::Error for Error {}
