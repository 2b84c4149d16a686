// SPDX-License-Identifier: Apache-2.0
//! Images for tests, written as text, and a registry in this process to serve them.
//!
//! ```
//! use fixture::{Compression, Image, Registry};
//!
//! let image = Image::parse(
//!     r#"
//!     d /etc        0755 0:0
//!     f /etc/passwd 0644 0:0 "root:x:0:0::/root:/bin/sh\n"
//!     --- zstd
//!     w /etc/passwd
//!     "#,
//! )
//! .compression(Compression::Gzip) // of the layers that do not say otherwise
//! .build();
//! let registry = Registry::start();
//! registry.push("demo", "latest", &image);
//! assert_eq!(image.layers.len(), 2);
//! assert!(registry.reference("demo:latest").starts_with("127.0.0.1:"));
//! ```
//!
//! The text of a layer is explained at [`Layer::parse`]; hostile headers, digests that lie and
//! connections that break are built by [`Layer::raw`], [`Lie`] and [`Fault`]. A mistake in a
//! fixture is a mistake in the test: these functions panic with the line and the reason.

mod archive;
mod entry;
mod image;
mod index;
mod lab;
mod layout;
mod lie;
mod packing;
pub mod registry;
mod run;
mod text;
mod tree;

pub use archive::{Dialect, Header};
pub use entry::{Entry, Kind, Layer};
pub use image::{Blob, Builder, Image, Published};
pub use index::Index;
pub use lab::{erofs_tool, is_root, lab_image, skip};
pub use layout::{write_archive, write_dir, write_layout, write_saved};
pub use lie::Lie;
pub use packing::Compression;
pub use registry::{Effect, Fault, RawServer, Registry};
pub use run::crun;
pub use tree::{Listing, tree};

/// The digest of `bytes` as `sha256:<hex>`.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex(&sha2::Sha256::digest(bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
