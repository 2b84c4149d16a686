// SPDX-License-Identifier: Apache-2.0
//! A layout as a folder.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_spec::{Digest, MAX_MANIFEST};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::extent::Extent;
use super::index::{self, Indexed};
use super::source;
use crate::{Error, ErrorKind};

/// An OCI image layout in a folder.
///
/// The folder's own path may have symbolic links; inside, they are refused, and so is everything
/// else that is no regular file. What is read is verified like a registry's answers.
#[derive(Clone, Debug)]
pub struct Layout {
    place: Arc<Folder>,
}

impl Layout {
    /// Opens the folder and reads its marker `oci-layout`. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without folder or marker, [`Io`](ErrorKind::Io),
    /// [`Document`](ErrorKind::Document) for a marker of another version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let named = |error: Error| error.doing(|| format!("layout `{}`", path.display()));
        let folder = Folder::at(path.clone()).map_err(named)?;
        folder.marker().map_err(named)?;
        Ok(Self {
            place: Arc::new(folder),
        })
    }
}

source!(Layout);

/// An open folder, below which nothing but regular files is opened.
#[derive(Debug)]
pub(super) struct Folder {
    root: OwnedFd,
    path: PathBuf,
}

impl Folder {
    pub(super) fn at(path: PathBuf) -> Result<Self, Error> {
        let root = OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_DIRECTORY.bits())
            .open(&path)
            .map_err(|cause| Error::io("the folder cannot be opened", cause))?;
        Ok(Self {
            root: root.into(),
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn marker(&self) -> Result<(), Error> {
        match self.open(&[image_spec::Layout::FILE]) {
            Ok(marker) => index::check_marker(&marker.read(index::MAX_MARKER)?),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            Err(_) if self.open(&["manifest.json"]).is_ok() => Err(Error::unsupported(
                "folder in Docker's format, with `manifest.json` and no `oci-layout`",
            )
            .hinting("name it as `dir:`")),
            Err(error) => Err(
                Error::new(ErrorKind::NotFound, "not an image layout: no file `oci-layout`").because(error),
            ),
        }
    }

    /// Opens a regular file by its path, one step at a time, never through a link.
    pub(super) fn open(&self, steps: &[&str]) -> Result<Extent, Error> {
        let name = steps.join("/");
        let fail = |errno: Errno| match errno {
            Errno::ELOOP | Errno::ENOTDIR => odd(&name),
            errno => Error::io(format!("`{name}` cannot be opened"), io::Error::from(errno)),
        };
        let mut folder = None::<OwnedFd>;
        let Some((file, folders)) = steps.split_last() else {
            return Err(odd(&name));
        };
        let step = |at: &Option<OwnedFd>, step: &str, flags: OFlag| {
            openat(
                at.as_ref().unwrap_or(&self.root),
                step,
                flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW,
                Mode::empty(),
            )
            .map_err(fail)
        };
        for part in folders {
            folder = Some(step(&folder, part, OFlag::O_DIRECTORY | OFlag::O_PATH)?);
        }
        // Without O_NONBLOCK a pipe would keep us waiting for its writer.
        regular(
            File::from(step(&folder, file, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?),
            &name,
        )
    }
}

impl Indexed for Folder {
    fn index(&self) -> Result<Vec<u8>, Error> {
        self.open(&["index.json"])?.read(MAX_MANIFEST)
    }

    fn find(&self, digest: &Digest) -> Result<Extent, Error> {
        self.open(&["blobs", digest.algorithm().as_str(), &digest.hex()])
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layout `{}`", self.path.display())
    }
}

/// The whole of an open file, if it is a regular one.
pub(super) fn regular(file: File, name: &str) -> Result<Extent, Error> {
    let metadata = file
        .metadata()
        .map_err(|cause| Error::io(format!("`{name}` cannot be examined"), cause))?;
    match metadata.is_file() {
        true => Ok(Extent::new(Arc::new(file), 0, metadata.len())),
        false => Err(odd(name)),
    }
}

fn odd(name: &str) -> Error {
    Error::new(ErrorKind::BadResponse, format!("not a regular file: `{name}`"))
}
