// SPDX-License-Identifier: Apache-2.0
//! What a pull tells while it runs.

use std::fmt;

use image_spec::Digest;

/// Listens to a running pull or unpack.
///
/// Called from several threads at once, often (for each piece of a layer): return soon, never block.
/// `()` listens to nothing.
pub trait Progress: Send + Sync + fmt::Debug {
    /// One thing that happened.
    fn event(&self, event: &Event);
}

impl Progress for () {
    fn event(&self, _: &Event) {}
}

/// One thing that happened. Layers are counted from 0, bottom first.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The work as a whole reached this stage.
    Stage(Stage),
    /// The reference was resolved to a manifest.
    Resolved {
        /// The manifest's digest.
        manifest: Digest,
    },
    /// A layer is part of the image.
    LayerQueued {
        /// Which layer.
        index: usize,
        /// How many layers the image has.
        total: usize,
        /// Bytes of the layer's blob.
        size: u64,
        /// The blob's digest.
        digest: Digest,
    },
    /// The layer reached this stage.
    LayerStage {
        /// Which layer.
        index: usize,
        /// What is done to it now.
        stage: LayerStage,
    },
    /// Bytes of the layer's blob received so far.
    LayerBytes {
        /// Which layer.
        index: usize,
        /// All bytes so far, not the step.
        bytes: u64,
    },
    /// The layer is in its place.
    LayerDone {
        /// Which layer.
        index: usize,
        /// It was in the store already, or is a repeat of another layer of this image.
        cached: bool,
    },
}

/// The stages of the work as a whole, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Asking the source what the reference names.
    Resolving,
    /// Asking the policy.
    Admitting,
    /// Reading the config and looking for layers already here.
    Planning,
    /// Fetching and unpacking layers.
    Layers,
    /// Mounting the root filesystem and writing the bundle.
    Mounting,
    /// Everything is in place.
    Done,
}

/// The stages of one layer, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerStage {
    /// Another pull is fetching the same layer.
    Waiting,
    /// Bytes come in and are unpacked as they come.
    Fetching,
    /// All bytes are here and checked; the rest is being written.
    Finishing,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolving => "resolving",
            Self::Admitting => "asking the policy",
            Self::Planning => "planning",
            Self::Layers => "fetching layers",
            Self::Mounting => "mounting",
            Self::Done => "done",
        })
    }
}

impl fmt::Display for LayerStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Finishing => "finishing",
        })
    }
}
