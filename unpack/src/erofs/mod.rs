// SPDX-License-Identifier: Apache-2.0
//! Layers as EROFS images: the tar stays as it is, and an index of it is what the kernel mounts.
//!
//! [`Layer::keep`](crate::Layer::keep) writes a layer's archive to a file and, while it streams past,
//! learns what is in it; at its end it writes an index, an EROFS image of metadata alone. The data of
//! files stays where it is in the archive, which is a second device of the image. [`merge()`] puts the
//! indexes of an image's layers together, whiteouts applied: one file system with one device for each
//! layer. All metadata that reaches the kernel is this module's own; nothing of a registry's is.
//!
//! The same archive and the same version of the writer give the same bytes: names are sorted,
//! attributes too, and nothing depends on time or place. The version is the image's volume name.
//!
//! What the images hold, and what the layout looks like, is in `docs/formats.md`.

mod acl;
mod alone;
mod changes;
mod format;
mod keep;
mod layout;
mod merge;
mod nodes;
mod read;
mod tree;
mod walk;
mod write;
mod xattrs;

pub(crate) use keep::keep;
pub use merge::{Merged, Source, merge};

use std::path::PathBuf;

/// The name of a kept layer's archive: its bytes, and zeros behind them so that every block which the
/// kernel reads is whole.
pub const TAR: &str = "tar";
/// The name of a kept layer's index, an EROFS image in [`Blocks::Small`].
pub const INDEX: &str = "index";
/// The name of the file with the contents of a kept layer's sparse files; there only if it has some.
pub const SPARSE: &str = "sparse";

/// The size of an image's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocks {
    /// 512 bytes, as in a tar. Linux 6.4 and newer.
    Small,
    /// 4096 bytes, the only size that older kernels know where memory has pages of that size. Data
    /// begins at multiples of 512 all the same: an archive is then up to eight devices, each with
    /// another beginning.
    Page,
}

impl Blocks {
    const fn bytes(self) -> usize {
        match self {
            Blocks::Small => 512,
            Blocks::Page => 4096,
        }
    }
}

/// A file, or what follows an offset in it, that is a device of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The file's path.
    pub file: PathBuf,
    /// Where the device begins in it: a multiple of 512 bytes below 4096, and 0 with [`Blocks::Small`].
    pub offset: u64,
}
