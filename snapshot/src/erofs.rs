// SPDX-License-Identifier: Apache-2.0
//! Layers that are EROFS images, under the kernel's overlay file system.
mod check;
pub(crate) mod images;
mod kernel;
mod loops;
mod probe;
mod share;
mod tiny;

use std::path::Path;

use crate::overlay::{self, How};
use crate::snapshotter::{Form, Layer, Mounted, Snapshotter};
use crate::stack::{Stack, open_tree};
use crate::{Error, Overlay};

use kernel::Way;

/// Mounts images of layers and stacks them by overlayfs; nothing is copied, and no file is ever made.
///
/// An image may be that of one layer, or of many, merged. Layers without an image are stacked by their
/// trees. Each image is mounted below `state`, and once only for all bundles of this mount namespace,
/// so that they have its files in memory together.
///
/// The kernel reads an image from its files, or from loop devices over them. [`probe`](Self::probe)
/// finds out; the default is what the oldest kernel takes, loop devices and blocks of 4096 bytes.
/// Images whose devices begin within their files always take loop devices. With these, an image takes
/// one open file for each of its devices while it is being mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erofs {
    by_file: bool,
    small_blocks: bool,
    direct: bool,
}

impl Erofs {
    /// Tries to mount a small image in `dir`, an existing directory on the file system that images will
    /// be on: from files with blocks of 512 bytes, else from loop devices with blocks of 512 bytes, else
    /// with blocks of 4096.
    ///
    /// # Errors
    /// `Unsupported` if this kernel does none of it there, with the reason of each; also
    /// `NotPermitted`, `NoSpace`.
    pub fn probe(dir: &Path) -> Result<Self, Error> {
        probe::probe(dir)
    }

    /// Whether to read images past the page cache of their files, where that can be done in units of 512
    /// bytes. Off unless asked for.
    ///
    /// What is read then is in memory once and not twice; the second copy is one that the kernel drops
    /// when it needs room. But nothing is read ahead from one file of the image to the next, and what
    /// has just been written must first reach the disk: reading a tree takes up to three times as long.
    #[must_use]
    pub fn direct(mut self, direct: bool) -> Self {
        self.direct = direct;
        self
    }

    fn ways(self) -> &'static [Way] {
        if self.by_file {
            // Images may come to be on another file system than was tried.
            &[Way::File, Way::Loop]
        } else {
            &[Way::Loop]
        }
    }

    fn mount_by(
        self,
        ways: &[Way],
        how: How<'_>,
        layers: &[Layer],
        state: &Path,
        target: &Path,
    ) -> Result<Mounted, Error> {
        overlay::mount(self.name(), how, state, target, |state| {
            let roots = layers.iter().enumerate().map(|(number, layer)| {
                let Some(image) = &layer.image else {
                    return open_tree(layer);
                };
                let loose = kernel::mount(image, ways, self.direct)?;
                images::attach(state, number, &loose.mount)
            });
            Stack::with_roots(layers, roots.collect::<Result<_, _>>()?)
        })
    }
}

impl Snapshotter for Erofs {
    fn name(&self) -> &'static str {
        "erofs"
    }

    fn form(&self) -> Form {
        Form::Images {
            small_blocks: self.small_blocks,
        }
    }

    fn mount(&self, layers: &[Layer], state: &Path, target: &Path) -> Result<Mounted, Error> {
        self.mount_by(self.ways(), How::BUNDLE, layers, state, target)
    }

    fn unmount(&self, state: &Path, target: &Path) -> Result<(), Error> {
        // The state of both is laid out alike, and whatever is there is removed.
        Overlay.unmount(state, target)
    }

    fn usage(&self, state: &Path) -> Result<u64, Error> {
        Overlay.usage(state)
    }
}
