// SPDX-License-Identifier: Apache-2.0
//! From unpacked layers to something that runs: mounts and OCI runtime bundles.
//!
//! A [`Snapshotter`] presents layers, each a tree of its own that is never changed, as one writable
//! tree: [`Overlay`] by the kernel's overlayfs, [`Erofs`] by the same over layers that are file system
//! images, [`Copy`](struct@Copy) by a copy where neither can be had; [`choose`] finds out which. All give
//! the same tree, down to nanoseconds, attributes and hard links.
//! [`bundle`] then writes the `config.json` that a runtime starts.
//!
//! Everything below a layer, a state directory or a root filesystem is reached by handle through no
//! link, whatever the image holds.
//!
//! ```
//! use snapshot::{Layer, choose};
//! # if !nix::unistd::geteuid().is_root() { return Ok(()); }
//! let work = tempfile::tempdir()?;
//! let [tree, state, target] = ["tree", "state", "target"].map(|name| work.path().join(name));
//! for dir in [&tree, &state, &target] {
//!     std::fs::create_dir(dir)?;
//! }
//! std::fs::write(tree.join("hello"), "from the layer")?;
//!
//! let snapshotter = choose("auto", work.path())?;
//! snapshotter.mount(&[Layer { tree, ..Layer::default() }], &state, &target)?;
//! assert_eq!(std::fs::read_to_string(target.join("hello"))?, "from the layer");
//! snapshotter.unmount(&state, &target)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bundle;
mod choose;
mod context;
mod copy;
mod dir;
mod erofs;
mod error;
mod meta;
mod node;
mod overlay;
mod remove;
mod scratch;
mod seam;
mod sheet;
mod snapshotter;
mod stack;
mod sys;

pub use choose::{by_name, choose};
pub use copy::Copy;
pub use erofs::Erofs;
pub use error::{Error, ErrorKind};
pub use overlay::Overlay;
pub use snapshotter::{Device, Form, Image, Layer, Mounted, Snapshotter};
