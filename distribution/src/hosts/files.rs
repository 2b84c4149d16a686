// SPDX-License-Identifier: Apache-2.0
//! Configuration from a disk: bounded in size and number, and every failure with its path.

use std::fs::File;
use std::io::{ErrorKind as Io, Read};
use std::path::{Path, PathBuf};

use super::Registries;
use super::registries::MAX_FILE;
use crate::{Error, ErrorKind};

/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// A whole file.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let failed = |cause| Error::io(format!("cannot read `{}`", path.display()), cause);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        let message = format!("longer than {most} bytes: `{}`", path.display());
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    Ok(bytes)
}

/// A whole file of text.
pub(crate) fn text(path: &Path, most: u64) -> Result<String, Error> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| Error::new(ErrorKind::Invalid, format!("not UTF-8: `{}`", path.display())))
}

/// What a folder holds, in the order of names; nothing if there is no folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |cause| Error::io(format!("cannot read `{}`", folder.display()), cause);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == Io::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        if paths.len() == MAX_ENTRIES {
            let message = format!("more than {MAX_ENTRIES} entries: `{}`", folder.display());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

impl Registries {
    /// Reads a file and its drop-ins: those whose names end in `.conf`, in the order of names. A
    /// folder that does not exist has none. Blocks.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse) with the file's path, [`NotFound`](ErrorKind::NotFound) and
    /// [`Io`](ErrorKind::Io) for what cannot be read.
    pub fn load(file: Option<&Path>, drop_ins: Option<&Path>) -> Result<Self, Error> {
        let mut files: Vec<PathBuf> = file.iter().map(|path| path.to_path_buf()).collect();
        if let Some(folder) = drop_ins {
            let conf = |path: &PathBuf| path.extension().is_some_and(|end| end == "conf") && path.is_file();
            files.extend(entries(folder)?.into_iter().filter(conf));
        }
        let mut all = Self::default();
        for path in files {
            let parsed = Self::parse(&text(&path, MAX_FILE)?);
            all.merge(parsed.map_err(|error| error.doing(|| format!("`{}`", path.display())))?);
        }
        Ok(all)
    }
}
