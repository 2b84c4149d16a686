// SPDX-License-Identifier: Apache-2.0
//! Removes a half-made tree, however deep it is and whatever its modes are.
//!
//! Every step is relative to an open folder and follows no link, as the tree was filled by an image.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes everything in the folder, not the folder.
///
/// A folder below has its own folders moved up beside it before it is removed: so two levels are open at any
/// time, and depth costs neither stack nor descriptors.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    let top = rustix::fs::open(dir, FOLDER, Mode::empty())?;
    let mut next: u64 = 0;
    loop {
        let mut found = false;
        for entry in Dir::read_from(&top)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_self(name) {
                continue;
            }
            found = true;
            match rustix::fs::unlinkat(&top, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => {
                    lift(&open(&top, name)?, &top, &mut next)?;
                    rustix::fs::unlinkat(&top, name, AtFlags::REMOVEDIR)?;
                }
                other => other?,
            }
        }
        if !found {
            return Ok(());
        }
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a folder for change, also one whose mode forbids it to its owner.
fn open(parent: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let open = || rustix::fs::openat(parent, name, FOLDER, Mode::empty());
    let folder = match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    // Entries cannot be removed from a folder without write permission, root excepted.
    rustix::fs::fchmod(&folder, Mode::RWXU)?;
    Ok(folder)
}

/// Removes the folder's files and moves its folders up.
fn lift(folder: &OwnedFd, top: impl AsFd, next: &mut u64) -> io::Result<()> {
    let top = top.as_fd();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_self(name) {
            continue;
        }
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => move_up(folder, name, top, next)?,
            other => other?,
        }
    }
    Ok(())
}

fn move_up(folder: &OwnedFd, name: &CStr, top: impl AsFd, next: &mut u64) -> io::Result<()> {
    let top = top.as_fd();
    loop {
        *next += 1;
        // An image may hold the same name; the next number is free then.
        match rustix::fs::renameat(folder, name, top, format!(".lifted-{next}")) {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            other => return Ok(other?),
        }
    }
}

fn is_self(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn depth_modes_links_and_reserved_names_do_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, canary) = (dir.path().join("tree"), dir.path().join("canary"));
        fs::create_dir(&tree).unwrap();
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("bird"), "sings").unwrap();
        symlink(&canary, tree.join("link")).unwrap();
        fs::create_dir_all(tree.join(".lifted-1/.lifted-2/x")).unwrap();
        fs::create_dir_all(tree.join("closed/inner")).unwrap();
        fs::set_permissions(tree.join("closed/inner"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        // Deeper than a process may have files open, longer than a path may be.
        let mut at = rustix::fs::open(&tree, FOLDER, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "deep", FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        empty(&tree).unwrap();
        assert_eq!(fs::read_dir(&tree).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(canary.join("bird")).unwrap(), "sings");
    }
}
