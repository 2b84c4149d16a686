// SPDX-License-Identifier: Apache-2.0
//! Trees: a layer's bytes become files, and nothing leaves the root they are given.
//!
//! A layer streams through: its bytes are inflated, hashed for the diff_id and unpacked at the same
//! time, each on a thread of its own, through a fixed number of fixed buffers.
//!
//! ```
//! use unpack::{Codec, Layer, Root, Whiteouts};
//!
//! // A tar of no entries is two blocks of zeros.
//! let empty = [0u8; 1024];
//! let dir = tempfile::tempdir()?;
//! let root = Root::create(&dir.path().join("tree"))?;
//! let unpacked = Layer::new(&root).whiteouts(Whiteouts::Overlay).codec(Codec::Plain).unpack(&empty[..])?;
//! assert_eq!(unpacked.diff_id, image_spec::Digest::sha256(&empty));
//! assert_eq!(unpacked.entries, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every operation below the root is relative to a handle of a directory, and the kernel is told to
//! follow no link on its way. Links that lead to an entry's parents are
//! resolved by this crate in its own record of what the layer has made, never by the kernel. The
//! `tar` crate parses header blocks and writes nothing.

mod codec;
mod dirs;
pub mod erofs;
mod error;
mod extract;
mod files;
mod gzip;
mod layer;
mod limits;
mod metadata;
mod names;
mod notes;
mod pipeline;
mod root;
#[cfg(feature = "isal")]
mod sys;
mod tar;

pub use codec::Codec;
pub use error::{Error, ErrorKind};
pub use layer::{Layer, Unpacked, Whiteouts};
pub use limits::Limits;
pub use notes::Notes;
pub use root::Root;
