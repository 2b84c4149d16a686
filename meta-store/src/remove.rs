// SPDX-License-Identifier: Apache-2.0
//! Deletes a tree that somebody else filled.
//!
//! Every step is relative to an open directory. Symbolic links are unlinked, never followed; a
//! mount point stops the removal with an error, because what is mounted there is not ours. Deep
//! trees cost neither stack nor descriptors: a subdirectory found below the second level is first
//! moved up next to its grandparent, so two levels are ever open.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Names read from a directory before they are deleted; bounds memory for directories of any size.
const BATCH: usize = 4096;

/// Deletes `name` in `parent`, whatever it is; that it is not there is fine.
pub(crate) fn remove_tree(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let parent = parent.as_fd();
    match open_dir(parent, name) {
        Ok(top) => {
            empty(&top)?;
            remove_empty(parent, name)?;
        }
        Err(Errno::ENOENT) => {}
        Err(Errno::ENOTDIR | Errno::ELOOP) => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?,
        Err(errno) => return Err(errno.into()),
    }
    Ok(())
}

/// Opens a directory entry, never through a link or onto another mount, and makes it one its owner
/// can change.
pub(crate) fn open_dir(parent: impl AsFd, name: &CStr) -> nix::Result<OwnedFd> {
    let parent = parent.as_fd();
    let open = |access: OFlag| {
        let how = OpenHow::new()
            .flags(access | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV,
            );
        openat2(parent, name, how)
    };
    let dir = match open(OFlag::O_RDONLY) {
        Err(Errno::EACCES) => {
            // The mode forbids reading it; a handle without access can still be given a better one.
            let handle = open(OFlag::O_PATH)?;
            let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
            fchmodat(
                nix::fcntl::AT_FDCWD,
                link.as_str(),
                Mode::S_IRWXU,
                FchmodatFlags::FollowSymlink,
            )?;
            open(OFlag::O_RDONLY)?
        }
        opened => opened?,
    };
    if fstat(&dir)?.st_mode & 0o700 != 0o700 {
        fchmod(&dir, Mode::S_IRWXU)?;
    }
    Ok(dir)
}

/// Up to [`BATCH`] names in the directory, without `.` and `..`.
pub(crate) fn names(dir: impl AsFd) -> nix::Result<Vec<CString>> {
    // A descriptor of its own, so that each call reads from the start.
    let own = openat(
        dir,
        c".",
        OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
            if names.len() == BATCH {
                break;
            }
        }
    }
    Ok(names)
}

fn empty(top: &OwnedFd) -> nix::Result<()> {
    let mut moved = 0u64;
    loop {
        let entries = names(top)?;
        if entries.is_empty() {
            return Ok(());
        }
        for entry in entries {
            if !unlink(top, &entry)? {
                hoist(top, &entry, &mut moved)?;
            }
        }
    }
}

/// Empties the directory `name` of `top` by moving its non-empty subdirectories up into `top`, and
/// removes it.
fn hoist(top: &OwnedFd, name: &CStr, moved: &mut u64) -> nix::Result<()> {
    let dir = match open_dir(top, name) {
        Err(Errno::ENOENT) => return Ok(()),
        opened => opened?,
    };
    loop {
        let entries = names(&dir)?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if !unlink(&dir, &entry)? {
                move_up(&dir, &entry, top, moved)?;
            }
        }
    }
    remove_empty(top, name)
}

fn remove_empty(parent: impl AsFd, name: &CStr) -> nix::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        done => done,
    }
}

fn move_up(from: &OwnedFd, name: &CStr, top: &OwnedFd, moved: &mut u64) -> nix::Result<()> {
    let mut opened = false;
    loop {
        *moved += 1;
        let target = format!(".up-{moved}");
        match renameat(from, name, top, target.as_str()) {
            Err(Errno::ENOENT) => return Ok(()),
            // The name is taken by an entry of the tree itself.
            Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
            // Moving a directory writes its `..`, which its mode may forbid.
            Err(Errno::EACCES) if !opened => {
                open_dir(from, name)?;
                opened = true;
            }
            done => return done,
        }
    }
}

/// Removes anything but a directory that holds something, for which it answers false.
fn unlink(dir: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(true),
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        // It was no directory: the refusal to unlink it stands.
        Err(Errno::ENOTDIR) => Err(Errno::EPERM),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    fn remove(dir: &Path, name: &CStr) -> io::Result<()> {
        remove_tree(fs::File::open(dir)?, name)
    }

    #[test]
    fn links_are_unlinked_and_what_they_name_stays() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).unwrap();
        fs::write(canary.join("bird"), "sings").unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        for link in ["tree/link", "tree/a/link", "tree/a/b/link"] {
            symlink(&canary, dir.path().join(link)).unwrap();
        }
        symlink(&canary, dir.path().join("bare")).unwrap();
        remove(dir.path(), c"tree").unwrap();
        remove(dir.path(), c"bare").unwrap();
        assert!(!tree.exists() && !dir.path().join("bare").is_symlink());
        assert_eq!(fs::read_to_string(canary.join("bird")).unwrap(), "sings");
    }

    #[test]
    fn modes_depth_and_reserved_names_do_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let mut deep = tree.clone();
        for level in 0..300 {
            deep.push(format!(".up-{level}"));
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("leaf"), "x").unwrap();
        fs::create_dir_all(tree.join("closed/inner/most")).unwrap();
        for (name, mode) in [
            ("closed/inner/most", 0o000),
            ("closed/inner", 0o555),
            ("closed", 0o000),
        ] {
            fs::set_permissions(tree.join(name), Permissions::from_mode(mode)).unwrap();
        }
        remove(dir.path(), c"tree").unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_directory_larger_than_a_batch_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("tree/wide")).unwrap();
        for number in 0..BATCH + 10 {
            fs::write(dir.path().join(format!("tree/wide/{number}")), "").unwrap();
        }
        remove(dir.path(), c"tree").unwrap();
        assert!(!dir.path().join("tree").exists());
    }

    #[test]
    fn mount_points_are_not_entered() {
        let root = fs::File::open("/").unwrap();
        assert_eq!(open_dir(&root, c"proc").unwrap_err(), Errno::EXDEV);
    }

    #[test]
    fn nothing_there_is_fine() {
        remove(tempfile::tempdir().unwrap().path(), c"tree").unwrap();
    }
}
