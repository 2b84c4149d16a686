// SPDX-License-Identifier: Apache-2.0
//! The one error of this crate.

use std::error::Error as StdError;
use std::fmt;

/// Why an image was refused, or why there is no policy to ask.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    value: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a caller may want to tell apart.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The policy does not admit the image.
    Refused,
    /// The policy asks for a kind of proof, named here, that this version cannot verify. The image
    /// is refused.
    Unsupported(&'static str),
    /// The reference holds a digest, and the bytes have another one.
    Digest,
    /// There is no policy in any of the places looked at.
    NoPolicy,
    /// The policy's text is not a policy. A policy counts as a whole or not at all.
    Malformed,
    /// The policy has more than 1 MiB.
    TooLarge,
    /// The policy's file cannot be read.
    Io,
}

/// How much of a text from outside an error repeats, in characters.
const SHOWN: usize = 200;

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        let mut shown: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        if value.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Error {
            kind,
            what: what.into(),
            value: shown,
            source: None,
        }
    }

    pub(crate) fn caused(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do about it, when there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::NoPolicy => Some(
                "name a policy with `--policy FILE`, or accept every image with `--insecure-accept-any-image`",
            ),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.what, self.value)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
