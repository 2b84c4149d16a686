// SPDX-License-Identifier: Apache-2.0
//! What an image is: digests, references, media types, manifests, configs and bundles,
//! each with a parser that expects a hostile author.
//!
//! The crate does no I/O. A value that exists is a good one: a [`Digest`] has the right
//! length, a [`Reference`] is in canonical form, a [`Document`] is one kind of document only.
//! What a document says beyond the specifications is kept and written back.
//!
//! ```
//! use image_spec::{Digest, Document, Platform, Reference};
//!
//! let name: Reference = "busybox".parse()?;
//! assert_eq!(name.to_string(), "docker.io/library/busybox:latest");
//!
//! let digest = Digest::sha256(b"{}");
//! let index = format!(
//!     r#"{{"schemaVersion":2,"manifests":[{{
//!         "mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"{digest}",
//!         "platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#
//! );
//! let Document::Index(index) = Document::parse(index.as_bytes(), None)? else { unreachable!() };
//! let wanted: Platform = "linux/aarch64".parse()?;
//! assert_eq!(index.select(&wanted)?.digest, digest);
//!
//! let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
//! assert_eq!(Document::parse(twice, None).unwrap_err().to_string(), "duplicate key at `manifests`");
//! # Ok::<(), image_spec::Error>(())
//! ```

mod base64;
mod config;
pub mod convert;
mod descriptor;
mod digest;
mod document;
mod error;
mod fields;
mod index;
mod json;
mod layout;
mod limits;
mod manifest;
mod media_type;
mod path;
mod platform;
mod reference;
pub mod runtime;
mod time;

pub use config::{History, ImageConfig, RootFs, RunConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub use document::Document;
pub use error::{Error, ErrorKind};
pub use index::Index;
pub use layout::Layout;
pub use limits::*;
pub use manifest::Manifest;
pub use media_type::{Compression, Dialect, LayerType, MediaType};
pub use platform::Platform;
pub use reference::Reference;
