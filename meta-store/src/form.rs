// SPDX-License-Identifier: Apache-2.0
//! The forms in which a layer is kept.

use std::ffi::CStr;

use rusqlite::Row;
use rusqlite::types::Type;

/// How the content of a layer lies in its directory.
///
/// A layer may be kept in several forms at once; each is fetched, recorded and removed for itself.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The unpacked tree: what overlayfs stacks and what can be copied.
    Tree,
    /// The archive itself and an EROFS index of it: the files `tar` and `index`, and `sparse` where
    /// the archive has sparse files.
    Erofs,
}

impl Form {
    const ALL: [Form; 2] = [Form::Tree, Form::Erofs];

    /// The word in the catalogue.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Form::Tree => "tree",
            Form::Erofs => "erofs",
        }
    }

    /// What the form adds to the name of a layer's directory.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Form::Tree => "",
            Form::Erofs => ".erofs",
        }
    }

    /// Files without which a directory does not hold the form.
    pub(crate) fn files(self) -> &'static [&'static CStr] {
        match self {
            Form::Tree => &[],
            Form::Erofs => &[c"tar", c"index"],
        }
    }

    pub(crate) fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Form> {
        let word: String = row.get(column)?;
        let known = Form::ALL.into_iter().find(|form| form.as_str() == word);
        known.ok_or(rusqlite::Error::InvalidColumnType(column, word, Type::Text))
    }
}
