// SPDX-License-Identifier: Apache-2.0
//! Mounts and runtime bundles.
mod choose;
mod copy;
mod dir;
mod error;
mod meta;
mod node;
mod overlay;
mod remove;
mod seam;
mod snapshotter;
mod stack;

pub use choose::choose;
pub use copy::Copy;
pub use error::{Error, ErrorKind};
pub use overlay::Overlay;
pub use snapshotter::{Layer, Mounted, Snapshotter};
