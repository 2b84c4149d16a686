// SPDX-License-Identifier: Apache-2.0
//! An image of one layer: the layer's index is that image, unless it speaks of lower layers.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use image_spec::{Algorithm, Hasher};
use memchr::memmem;

use super::format::{SUPER_OFFSET, UUID, name};
use super::read::Index;
use super::{Blocks, Device, INDEX, Merged, SPARSE, Source, TAR};
use crate::Error;
use crate::metadata::OPAQUE_XATTR;

/// Copies the index of a layer that has nothing to say to lower ones. None where it has, and where the
/// kept files are not as they were written: what is wrong with them is found by who reads them.
pub(super) fn copy(layer: &Source<'_>, out: &Path) -> Result<Option<Merged>, Error> {
    if !layer.notes.whiteouts.is_empty() || !layer.notes.links.is_empty() {
        return Ok(None);
    }
    let Ok(bytes) = fs::read(layer.dir.join(INDEX)) else {
        return Ok(None);
    };
    let Ok(index) = Index::new(&bytes) else {
        return Ok(None);
    };
    // What hides something in a lower layer, in an attribute's name without the part that is a number.
    let opaque = OPAQUE_XATTR.trim_start_matches("trusted.").as_bytes();
    let files: Vec<PathBuf> = [TAR, SPARSE].map(|name| layer.dir.join(name)).into();
    let Some(files) = files.get(..index.devices().len()) else {
        return Ok(None);
    };
    let is_there = |(file, blocks): (&PathBuf, u32)| {
        let bytes = u64::from(blocks) * Blocks::Small.bytes() as u64;
        fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() == bytes)
    };
    let as_written = files.iter().zip(index.devices()).all(is_there) && is_own(&bytes);
    if !as_written || memmem::find(&bytes, opaque).is_some() {
        return Ok(None);
    }
    let mut create = OpenOptions::new();
    create.write(true).create_new(true).mode(0o600);
    let written = create.open(out).and_then(|mut file| file.write_all(&bytes));
    written.map_err(|e| Error::io("write the EROFS image", e))?;
    let device = |file: &PathBuf| Device {
        file: file.clone(),
        offset: 0,
    };
    Ok(Some(Merged {
        devices: files.iter().map(device).collect(),
        inodes: index.inodes(),
        bytes: bytes.len() as u64,
    }))
}

/// Whether the image's UUID is made of the rest of the image, as the writer makes it.
fn is_own(image: &[u8]) -> bool {
    let start = SUPER_OFFSET as usize;
    // Without the checksum, which covers the UUID, and without that itself.
    let parts = [
        image.get(..start + 4),
        Some(&[0; 4][..]),
        image.get(start + 8..start + UUID),
        Some(&[0; 16][..]),
        image.get(start + UUID + 16..),
    ];
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for part in parts {
        let Some(part) = part else { return false };
        hasher.update(part);
    }
    let mut own = [0; UUID + 16];
    name(&mut own, 0, hasher.finish().bytes());
    image.get(start + UUID..start + UUID + 16) == own.get(UUID..)
}
