// SPDX-License-Identifier: Apache-2.0
//! The one error of the crate.

use std::fmt;

use crate::path::Path;

/// Why something was refused, where in the document, and the value that was found there.
///
/// Displays as one line, `what at path: value`; the value is shortened and its control
/// characters are escaped, because it was written by whoever wrote the document.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    what: String,
    path: String,
    value: Option<String>,
}

/// What a caller may want to tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Not JSON, not UTF-8, or text that follows no grammar of ours.
    Syntax,
    /// Two readers could see two different documents: a duplicate key, a known key in another
    /// case, an index that is also a manifest, a bare id.
    Ambiguous,
    /// A required field is absent.
    Missing,
    /// A field has another JSON type than the specification gives it.
    Type,
    /// A field has the right type and a value that is not allowed.
    Value,
    /// A named limit of this crate is exceeded.
    Limit,
    /// Two statements that must agree do not: sizes, digests, counts, media types.
    Mismatch,
    /// No entry of an index fits the platform asked for.
    NotFound,
    /// Well formed, but outside what this crate reads. Holds the name of it.
    Unsupported(String),
}

/// How much of a hostile value an error repeats, in characters.
const SHOWN: usize = 200;

impl Error {
    pub(crate) fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            path: String::new(),
            value: None,
        }
    }

    pub(crate) fn unsupported(name: impl Into<String>) -> Self {
        let name = shorten(&name.into());
        Self::new(ErrorKind::Unsupported(name), "not supported")
    }

    pub(crate) fn at(mut self, path: &Path<'_>) -> Self {
        if self.path.is_empty() {
            self.path = shorten(&path.to_string());
        }
        self
    }

    pub(crate) fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(shorten(&value.to_string()));
        self
    }

    /// The class of the error.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Where in the document, such as `layers[2].digest`; empty for the whole text.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.path.is_empty() {
            write!(f, " at `{}`", self.path)?;
        }
        match (&self.kind, &self.value) {
            (ErrorKind::Unsupported(name), _) => write!(f, ": {name}"),
            (_, Some(value)) => write!(f, ": `{value}`"),
            (_, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {}

fn shorten(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars().take(SHOWN) {
        match char {
            '\'' | '"' => out.push(char),
            other => out.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}
