// SPDX-License-Identifier: Apache-2.0
//! Clear bytes: recognising and opening encrypted layers.
//!
//! Layers are encrypted as ocicrypt does: the media type ends in `+encrypted`, and annotations of
//! the layer's descriptor hold its key, wrapped for each recipient. This version recognises such
//! layers and refuses them by name, before any byte of them is fetched. A layer whose media type
//! and annotations do not agree is refused, too: one of them has been changed.
//!
//! ```
//! use crypt::{Protection, Scheme, check_all, protection};
//! use image_spec::{Descriptor, Digest};
//!
//! let media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted".parse()?;
//! let mut layer = Descriptor::new(media_type, Digest::sha256(b"ciphertext"), 10);
//! layer.annotations.insert("org.opencontainers.image.enc.keys.jwe".into(), "e30=".into());
//! assert_eq!(protection(&layer)?, Protection::Encrypted(vec![Scheme::Jwe]));
//! let error = check_all(&[layer]).unwrap_err().to_string();
//! assert!(error.starts_with("layer 1 of 1 is encrypted, which is not supported"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod error;
mod scheme;

pub use check::{Protection, check, check_all, protection};
pub use error::{Error, ErrorKind};
pub use scheme::Scheme;
