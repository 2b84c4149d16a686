// SPDX-License-Identifier: Apache-2.0
//! A layout as one tar file.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_spec::{Digest, MAX_MANIFEST};

use super::extent::{Extent, open};
use super::index::{self, Indexed};
use super::members::Members;
use super::scan::{Span, scan};
use super::source;
use crate::{Error, ErrorKind};

/// An OCI image layout in an uncompressed tar file, as `skopeo copy … oci-archive:` and
/// `docker save` write it.
///
/// The file is walked once, header by header; afterwards blobs are read where they lie. Nothing
/// is ever written. Members that a layout does not have are skipped.
#[derive(Clone, Debug)]
pub struct Archive {
    place: Arc<Tar>,
}

impl Archive {
    /// Opens the file and notes where its members lie. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) without file or marker, [`Io`](ErrorKind::Io),
    /// [`BadResponse`](ErrorKind::BadResponse) for a broken or ambiguous tar file,
    /// [`TooLarge`](ErrorKind::TooLarge) for too many members,
    /// [`Unsupported`](ErrorKind::Unsupported) for a compressed file or Docker's older format.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let tar = Tar::open(path.clone())
            .map_err(|error| error.doing(|| format!("archive `{}`", path.display())))?;
        Ok(Self { place: Arc::new(tar) })
    }
}

source!(Archive);

#[derive(Debug)]
struct Tar {
    file: Arc<File>,
    path: PathBuf,
    index: Span,
    members: Members,
}

impl Tar {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let (file, size) = open(&path)?;
        let mut members = Members::default();
        scan(&file, size, |member| members.note(&member))?;
        let Some(marker) = members.marker else {
            return Err(match members.docker {
                true => {
                    Error::unsupported("archive in Docker's format, with `manifest.json` and no `oci-layout`")
                        .hinting("name it as `docker-archive:`")
                }
                false => Error::new(ErrorKind::NotFound, "not an image layout: no member `oci-layout`"),
            });
        };
        let index = members
            .index
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "not an image layout: no member `index.json`"))?;
        let tar = Self {
            file,
            path,
            index,
            members,
        };
        index::check_marker(&tar.extent(marker).read(index::MAX_MARKER)?)?;
        Ok(tar)
    }

    fn extent(&self, span: Span) -> Extent {
        Extent::new(Arc::clone(&self.file), span.at, span.size)
    }
}

impl Indexed for Tar {
    fn index(&self) -> Result<Vec<u8>, Error> {
        self.extent(self.index).read(MAX_MANIFEST)
    }

    fn find(&self, digest: &Digest) -> Result<Extent, Error> {
        match self.members.blobs.get(digest) {
            Some(span) => Ok(self.extent(*span)),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("no such blob: `{digest}`"),
            )),
        }
    }
}

impl fmt::Display for Tar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "archive `{}`", self.path.display())
    }
}
