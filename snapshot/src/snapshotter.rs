// SPDX-License-Identifier: Apache-2.0
use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;

/// What a snapshotter wants layers to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Unpacked trees: [`Layer::tree`].
    Trees,
    /// File system images: [`Layer::image`], one for each layer or one for all of them.
    Images {
        /// Whether images may have blocks of 512 bytes; else they must have blocks of 4096.
        small_blocks: bool,
    },
}

/// An EROFS image: the metadata of a tree, whose file data is in other files.
///
/// The kernel reads `index` and `devices` as long as the image is mounted: nothing may change them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Absolute path of the file with the superblock. What is mounted from a path once is taken to be
    /// the same image whenever the path is named again, so a path may not be reused for another one.
    pub index: PathBuf,
    /// The image's extra devices, in the order of its device table.
    pub devices: Vec<Device>,
}

/// A part of a file which an image uses as a device: all of it from `offset` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Absolute path of the file.
    pub file: PathBuf,
    /// Where the device begins in the file, in bytes, a multiple of 512.
    pub offset: u64,
}

/// One unpacked layer: where its tree is, and what the tree alone cannot say.
///
/// Paths in the lists are relative to the tree's root, without leading or trailing slash; the root is
/// the empty path.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// Absolute path of the tree in overlay form: a whiteout is a character device 0:0, an opaque
    /// directory has the extended attribute `trusted.overlay.opaque` = `y`. Not looked at by
    /// snapshotters that take the layer's image.
    pub tree: PathBuf,
    /// The same tree as a file system image. The `erofs` snapshotter mounts it; the others need the tree.
    pub image: Option<Image>,
    /// Directories that no entry of the layer names; their metadata is a stand-in for that of the
    /// directory below.
    pub implied: Vec<Vec<u8>>,
    /// Directories that hold at least one whiteout.
    pub whiteouts: Vec<Vec<u8>>,
    /// Hard links (name, target) to files of lower layers, in archive order; the tree does not hold them.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// The layer hides everything below it.
    pub opaque_root: bool,
}

/// A mounted tree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mounted {
    /// Which snapshotter made it, and must be asked to unmount it.
    pub snapshotter: &'static str,
    /// Where the tree is.
    pub target: PathBuf,
}

/// A way to present layers as one tree.
///
/// All ways give the same tree for the same layers: types, modes, owners, sizes, times, attributes,
/// contents and hard links.
pub trait Snapshotter: Send + Sync + fmt::Debug {
    /// The name by which [`choose`](crate::choose) knows it.
    fn name(&self) -> &'static str;

    /// What the layers that it mounts are best given as.
    fn form(&self) -> Form {
        Form::Trees
    }

    /// Presents the layers, bottom first, as one writable tree at `target`, an existing empty directory.
    ///
    /// `state` is an existing empty directory which belongs to this mount until
    /// [`unmount`](Self::unmount).
    ///
    /// # Errors
    /// Nothing is left in `state` or at `target` after an error.
    fn mount(&self, layers: &[Layer], state: &Path, target: &Path) -> Result<Mounted, Error>;

    /// Removes the tree at `target` and everything in `state`, which becomes empty.
    ///
    /// Does nothing, successfully, when there is nothing to remove, so it also cleans up after a crash.
    ///
    /// # Errors
    /// The operating system refused to unmount or to remove.
    fn unmount(&self, state: &Path, target: &Path) -> Result<(), Error>;

    /// Bytes of storage that this mount uses on top of its layers.
    ///
    /// # Errors
    /// The state cannot be read.
    fn usage(&self, state: &Path) -> Result<u64, Error>;
}
