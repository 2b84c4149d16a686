// SPDX-License-Identifier: Apache-2.0
//! What everything in the work directory takes on disk.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;

use crate::Store;
use crate::dirs::CATALOGUE;
use crate::error::Error;
use crate::measure::{allocated, measure};

const READ: &str = "cannot measure the work directory";

/// Numbers of things, and bytes on disk as the file system has allocated them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Images, by their names.
    pub images: u64,
    /// Layers, each form of one counted.
    pub layers: u64,
    /// Bundles, mounted or left by a process that died.
    pub bundles: u64,
    /// Bytes of layers and of what was merged of them.
    pub layers_bytes: u64,
    /// Of these, bytes of layers that no image names: what an interrupted pull has brought, or what stays
    /// for a bundle.
    pub unnamed_bytes: u64,
    /// Bytes of what bundles have written.
    pub bundles_bytes: u64,
    /// Bytes of what pulls are writing now.
    pub staging_bytes: u64,
    /// Bytes of the catalogue.
    pub catalogue_bytes: u64,
}

impl Store {
    /// Measures the work directory. Folders that change meanwhile are counted as they are met.
    pub fn usage(&self) -> Result<Usage, Error> {
        let layers_bytes = self.disk_use()?.total;
        let number = |sql: &str| {
            self.read(|db| {
                let number = db.query_row(sql, [], |row| crate::layer::count(row, 0));
                number.map_err(self.sql(READ))
            })
        };
        let unnamed = "SELECT coalesce(sum(disk_bytes), 0) FROM layers
                       WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE image_layers.diff_id = layers.diff_id)";
        let catalogue = [c"catalogue.db", c"catalogue.db-wal", c"catalogue.db-shm"];
        debug_assert_eq!(catalogue[0].to_bytes(), CATALOGUE.as_bytes());
        Ok(Usage {
            images: number("SELECT count(*) FROM images")?,
            layers: number("SELECT count(*) FROM layers")?,
            bundles: number("SELECT count(*) FROM mounts")?,
            layers_bytes,
            unnamed_bytes: number(unnamed)?,
            bundles_bytes: self.below(c"mounts")?,
            staging_bytes: self.below(c"staging")?,
            catalogue_bytes: catalogue.iter().map(|name| self.file(name)).sum(),
        })
    }

    fn below(&self, name: &CStr) -> Result<u64, Error> {
        match measure(self.dirs.root.as_fd(), name) {
            // Something went while it was walked: the rest would be measured as badly.
            Ok(bytes) => Ok(bytes),
            Err(Errno::ENOENT) => Ok(0),
            Err(errno) => Err(Error::io(READ, &self.dirs.path, errno)),
        }
    }

    fn file(&self, name: &CStr) -> u64 {
        let stat = fstatat(&self.dirs.root, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.map_or(0, |stat| allocated(&stat))
    }
}
