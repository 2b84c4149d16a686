// SPDX-License-Identifier: Apache-2.0
//! Folders named by the user: made when absent, given back when the work fails.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Fault;

/// The absolute path of a folder that need not exist yet.
pub(crate) fn absolute(folder: &Path) -> Result<PathBuf, Fault> {
    // The deepest part that exists decides where the path really leads; the rest is appended as it is.
    let full =
        std::path::absolute(folder).map_err(|e| Fault::io(format!("find `{}`", folder.display()), e))?;
    let mut known = full.as_path();
    let mut rest: Vec<&OsStr> = Vec::new();
    loop {
        match fs::canonicalize(known) {
            Ok(mut real) => {
                real.extend(rest.iter().rev());
                return Ok(real);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (known.parent(), known.file_name()) else {
                    return Err(Fault::io(format!("find `{}`", folder.display()), e));
                };
                rest.push(name);
                known = parent;
            }
            Err(e) => return Err(Fault::io(format!("find `{}`", folder.display()), e)),
        }
    }
}

/// Whether a folder holds nothing.
pub(crate) fn is_empty(dir: &Path) -> Result<bool, Fault> {
    let mut entries =
        fs::read_dir(dir).map_err(|e| Fault::io(format!("read folder `{}`", dir.display()), e))?;
    Ok(entries.next().is_none())
}

/// Folders made on the way, removed again unless kept.
#[derive(Debug, Default)]
pub(crate) struct NewFolders {
    dirs: Vec<PathBuf>,
}

impl NewFolders {
    /// Makes a folder and what is missing above it.
    pub(crate) fn make(&mut self, path: &Path) -> Result<(), Fault> {
        let mut missing = Vec::new();
        for dir in path.ancestors() {
            match fs::symlink_metadata(dir) {
                Ok(_) => break,
                Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(dir),
                Err(e) => return Err(Fault::io(format!("look at folder `{}`", dir.display()), e)),
            }
        }
        for dir in missing.into_iter().rev() {
            match fs::create_dir(dir) {
                Ok(()) => self.dirs.push(dir.to_path_buf()),
                // Someone else was faster; it is theirs then.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Fault::io(format!("make folder `{}`", dir.display()), e)),
            }
        }
        Ok(())
    }

    /// Leaves the folders where they are.
    pub(crate) fn keep(mut self) {
        self.dirs.clear();
    }
}

impl Drop for NewFolders {
    fn drop(&mut self) {
        for dir in self.dirs.iter().rev() {
            // Only while empty: what others put there is not ours to remove.
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_removed_unless_kept_and_never_what_others_made() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        let mut made = NewFolders::default();
        made.make(&deep).unwrap();
        drop(made);
        assert!(!dir.path().join("a").exists());

        let mut made = NewFolders::default();
        made.make(&deep).unwrap();
        fs::write(dir.path().join("a/theirs"), "").unwrap();
        drop(made);
        assert!(dir.path().join("a/theirs").exists() && !dir.path().join("a/b").exists());

        let mut made = NewFolders::default();
        made.make(&deep).unwrap();
        made.keep();
        assert!(deep.exists());
    }

    #[test]
    fn a_path_is_made_absolute_through_links_also_when_its_end_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink("real", real.join("link")).unwrap();
        assert_eq!(absolute(&real.join("link/x/y")).unwrap(), real.join("real/x/y"));
        assert_eq!(absolute(&real.join("link")).unwrap(), real.join("real"));
    }
}
