// SPDX-License-Identifier: Apache-2.0
//! What a tree takes on disk.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use crate::dirs::is;

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
/// Bytes of a block in `st_blocks`, whatever the file system.
const BLOCK: u64 = 512;

/// Bytes that the file system has allocated for a directory and all below it; a file of several
/// names counts once, what is mounted there or closed to this user not at all.
///
/// The tree is one that nobody changes. One directory is open at a time, so depth costs no
/// descriptors.
pub(crate) fn measure(parent: impl AsFd, name: &CStr) -> nix::Result<u64> {
    let mut dir = openat(parent, name, DIRECTORY, Mode::empty())?;
    let top = fstat(&dir)?;
    let mut sum = Sum {
        device: top.st_dev,
        linked: HashSet::new(),
        bytes: 0,
    };
    sum.add(&top);
    // The directories that are still to be entered, for each level down to the open one.
    let mut levels = vec![sum.add_entries(&dir)?];
    while let Some(waiting) = levels.last_mut() {
        match waiting.pop() {
            Some(name) => match openat(&dir, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(below) => {
                    levels.push(sum.add_entries(&below)?);
                    dir = below;
                }
                Err(Errno::EACCES) => {}
                Err(errno) => return Err(errno),
            },
            None => {
                levels.pop();
                if !levels.is_empty() {
                    dir = openat(&dir, c"..", DIRECTORY, Mode::empty())?;
                }
            }
        }
    }
    Ok(sum.bytes)
}

/// Bytes that the file system has allocated for one file.
pub(crate) fn allocated(stat: &FileStat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK)
}

struct Sum {
    device: u64,
    linked: HashSet<u64>,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, stat: &FileStat) {
        self.bytes = self.bytes.saturating_add(allocated(stat));
    }

    /// Adds what the directory holds; answers the directories among it.
    fn add_entries(&mut self, dir: &OwnedFd) -> nix::Result<Vec<CString>> {
        // A descriptor of its own, as reading moves it.
        let own = match openat(dir, c".", DIRECTORY, Mode::empty()) {
            Err(Errno::EACCES) => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut below = Vec::new();
        for entry in Dir::from_fd(own)?.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if stat.st_dev != self.device {
                continue;
            }
            if is(&stat, SFlag::S_IFDIR) {
                self.add(&stat);
                below.push(name.to_owned());
            } else if stat.st_nlink < 2 || self.linked.insert(stat.st_ino) {
                self.add(&stat);
            }
        }
        Ok(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::mkdirat;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    fn of(dir: &Path, name: &CStr) -> u64 {
        measure(File::open(dir).unwrap(), name).unwrap()
    }

    fn blocks(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * BLOCK
    }

    #[test]
    fn files_count_by_their_blocks_and_links_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(tree.join("a/file"), tree.join("a/b/same")).unwrap();
        File::create(tree.join("holes"))
            .unwrap()
            .set_len(1 << 30)
            .unwrap();
        symlink("/etc", tree.join("link")).unwrap();
        let want: u64 = ["", "a", "a/b", "a/file", "holes", "link"]
            .map(|name| blocks(&tree.join(name)))
            .iter()
            .sum();
        assert!((100_000..1 << 20).contains(&want), "{want}");
        assert_eq!(of(dir.path(), c"tree"), want);
    }

    #[test]
    fn depth_and_width_do_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = OwnedFd::from(File::open(&tree).unwrap());
        // Deeper than a process may have files open, longer than a path may be.
        for _ in 0..1100 {
            mkdirat(&at, c"deep", Mode::S_IRWXU).unwrap();
            at = openat(&at, c"deep", DIRECTORY, Mode::empty()).unwrap();
        }
        mkdirat(&at, c"last", Mode::S_IRWXU).unwrap();
        for number in 0..20 {
            fs::create_dir(tree.join(number.to_string())).unwrap();
        }
        fs::set_permissions(tree.join("7"), fs::Permissions::from_mode(0o000)).unwrap();
        let each = blocks(&tree.join("8"));
        assert_eq!(
            of(dir.path(), c"tree"),
            blocks(&tree) + each * 1121,
            "each directory below is as large as a fresh one"
        );
        crate::remove::remove_tree(File::open(dir.path()).unwrap(), c"tree").unwrap();
    }
}
