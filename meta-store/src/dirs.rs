// SPDX-License-Identifier: Apache-2.0
//! The work directory: its folders, opened once and used by handle.

use std::ffi::{CStr, CString, OsStr};
use std::fs::DirBuilder;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use image_spec::Digest;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::geteuid;

use crate::Form;
use crate::error::{Error, ErrorKind};
use crate::remove::names;

pub(crate) const CATALOGUE: &str = "catalogue.db";
const OPEN: &str = "cannot open the work directory";
const DIRECTORY: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

#[derive(Debug)]
pub(crate) struct Dirs {
    /// Canonical and absolute, so that recorded paths mean the same in every process.
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
    pub(crate) layers: OwnedFd,
    pub(crate) merged: OwnedFd,
    pub(crate) staging: OwnedFd,
    pub(crate) mounts: OwnedFd,
    pub(crate) claims: OwnedFd,
}

impl Dirs {
    pub(crate) fn open(work_dir: &Path) -> Result<Dirs, Error> {
        let failed = |source: io::Error| Error::io(OPEN, work_dir, source);
        if let Some(parent) = work_dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(work_dir) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(failed(source)),
            _ => {}
        }
        let path = work_dir.canonicalize().map_err(failed)?;
        let root = open(&path, OFlag::O_RDONLY | DIRECTORY, Mode::empty()).map_err(|e| failed(e.into()))?;
        close_to_others(&root, &path)?;
        let folder = |name: &CStr| {
            let failed =
                |errno: Errno| Error::io(OPEN, &path.join(OsStr::from_bytes(name.to_bytes())), errno);
            match mkdirat(&root, name, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
            openat(&root, name, OFlag::O_RDONLY | DIRECTORY, Mode::empty()).map_err(failed)
        };
        Ok(Dirs {
            layers: folder(c"layers")?,
            merged: folder(c"merged")?,
            staging: folder(c"staging")?,
            mounts: folder(c"mounts")?,
            claims: folder(c"claims")?,
            root,
            path,
        })
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        self.path.join(CATALOGUE)
    }

    pub(crate) fn tree(&self, diff_id: &Digest, form: Form) -> PathBuf {
        self.path
            .join("layers")
            .join(layer_name(diff_id, form))
            .join("tree")
    }

    /// The file of a merged image.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.path.join("merged").join(name).join("image")
    }

    pub(crate) fn state(&self, id: &str) -> PathBuf {
        self.path.join("mounts").join(id)
    }

    /// Whether the layer's tree is there: a directory, reached through directories only, with the
    /// files that the form cannot do without.
    pub(crate) fn has_tree(&self, diff_id: &Digest, form: Form) -> bool {
        self.open_tree(diff_id, form)
            .is_ok_and(|tree| form.files().iter().all(|file| is_file(&tree, file)))
    }

    /// A handle to the layer's tree, to look below it only.
    pub(crate) fn open_tree(&self, diff_id: &Digest, form: Form) -> nix::Result<OwnedFd> {
        let layer = self.open_layer(diff_id, form)?;
        openat(&layer, c"tree", OFlag::O_PATH | DIRECTORY, Mode::empty())
    }

    /// A handle to the directory that holds the layer's tree.
    pub(crate) fn open_layer(&self, diff_id: &Digest, form: Form) -> nix::Result<OwnedFd> {
        let name = layer_name(diff_id, form);
        openat(
            &self.layers,
            name.as_str(),
            OFlag::O_PATH | DIRECTORY,
            Mode::empty(),
        )
    }

    /// Whether the merged image is there: a file, reached through directories only.
    pub(crate) fn has_image(&self, name: &str) -> bool {
        openat(&self.merged, name, OFlag::O_PATH | DIRECTORY, Mode::empty())
            .is_ok_and(|dir| is_file(&dir, c"image"))
    }
}

/// Refuses a directory that other users can change, and closes it to them where it is ours alone.
fn close_to_others(root: &OwnedFd, path: &Path) -> Result<(), Error> {
    let failed = |errno: Errno| Error::io(OPEN, path, errno);
    let stat = fstat(root).map_err(failed)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Error::new(
            ErrorKind::Unsafe,
            "the work directory belongs to another user",
            path.display(),
        ));
    }
    let list = || names(root).map_err(failed);
    let entries = list()?;
    let others_write = stat.st_mode & 0o022 != 0;
    let unsafe_to_use = || {
        let what = "the work directory is writable by other users";
        Err(Error::new(ErrorKind::Unsafe, what, path.display()))
    };
    if others_write && !entries.is_empty() {
        return unsafe_to_use();
    }
    if stat.st_mode & 0o077 == 0 {
        return Ok(());
    }
    // A directory with other content may be the root of a file system, or a mistake: its mode is
    // not ours to change. The folders made inside it are private in any case.
    if !entries.is_empty() && !entries.iter().any(|name| name.to_bytes() == CATALOGUE.as_bytes()) {
        return Ok(());
    }
    fchmod(root, Mode::S_IRWXU).map_err(failed)?;
    // An empty one that all could write to, as a new tmpfs is, may have been used until just now.
    if others_write && !list()?.is_empty() {
        return unsafe_to_use();
    }
    Ok(())
}

/// A digest as the name of one path component.
pub(crate) fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().as_str(), digest.hex())
}

/// The name of a layer's directory.
pub(crate) fn layer_name(diff_id: &Digest, form: Form) -> String {
    file_name(diff_id) + form.suffix()
}

pub(crate) fn is_file(dir: impl AsFd, name: &CStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| is(&stat, SFlag::S_IFREG))
}

/// A name that nobody has used: 32 hexadecimal digits.
pub(crate) fn fresh_name() -> String {
    // Each `RandomState` holds fresh random keys: this is the random number that std can give.
    // Names need to be unlikely to meet, not secret; the directory around them is private.
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

/// A new directory of mode 0700 in `parent`, under a fresh name.
pub(crate) fn fresh_dir(parent: impl AsFd) -> nix::Result<String> {
    let parent = parent.as_fd();
    loop {
        let name = fresh_name();
        match mkdirat(parent, name.as_str(), Mode::S_IRWXU) {
            Ok(()) => return Ok(name),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub(crate) fn is(stat: &FileStat, kind: SFlag) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// The bytes of a name made by this crate, which holds no NUL.
pub(crate) fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}
