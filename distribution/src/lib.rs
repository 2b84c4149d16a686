// SPDX-License-Identifier: Apache-2.0
//! Bytes in: images from registries, OCI layouts and archives, as a [`Source`].
//!
//! A source gives documents as received, capped and hashed, and blobs as streams that end well
//! only if size and digest hold. What the bytes mean is for others; who may be believed, too.
//!
//! ```
//! use distribution::{Layout, Target, config, resolve};
//! use image_spec::{Descriptor, Dialect, Manifest, MediaType, Platform};
//!
//! # let dir = tempfile::tempdir()?;
//! # let put = |bytes: &[u8]| {
//! #     let name = format!("blobs/sha256/{}", image_spec::Digest::sha256(bytes).hex());
//! #     std::fs::write(dir.path().join(name), bytes)
//! # };
//! # std::fs::create_dir_all(dir.path().join("blobs/sha256"))?;
//! # std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
//! # let described = Descriptor::of(MediaType::Config(Dialect::Oci), b"{}");
//! # let manifest = Manifest::new(Dialect::Oci, described, Vec::new()).to_vec();
//! # let entry = Descriptor::of(MediaType::Manifest(Dialect::Oci), &manifest);
//! # put(&manifest)?;
//! # put(b"{}")?;
//! # std::fs::write(dir.path().join("index.json"), image_spec::Index::new(Dialect::Oci, vec![entry]).to_vec())?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let source = Layout::open(dir.path())?;
//! let image = resolve(&source, &Target::Only, &Platform::host()).await?;
//! let config = config(&source, &image.manifest).await?;
//! assert_eq!(&config[..], b"{}");
//! # Ok::<(), distribution::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A registry is a source too: [`Client::registry`] makes one from a reference. Where else its images
//! may come from, [`Registries`], [`Hosts`] and [`Proxies`] say.

mod auth;
mod authfile;
mod blob;
mod client;
mod credential;
mod error;
mod failure;
mod fetch;
mod foreign;
mod hosts;
mod http;
mod local;
mod registry;
mod remote;
mod resolve;
mod retry;
mod said;
mod source;

#[cfg(feature = "credential-helpers")]
pub use auth::CredentialHelpers;
pub use authfile::AuthFile;
pub use blob::Blob;
pub use client::{CONNECT_TIMEOUT, Client, ClientBuilder, IDLE_TIMEOUT};
pub use credential::{Credential, Credentials, Supplied};
pub use error::{Error, ErrorKind};
pub use fetch::Parallel;
pub use hosts::{HostTls, Hosts, MirrorLimits, Registries};
pub use http::Proxies;
pub use local::{Archive, Dir, DockerArchive, Layout};
pub use registry::Registry;
pub use resolve::{Resolved, config, resolve, resolve_from};
pub use retry::Retry;
pub use source::{BoxFuture, Fetched, Listing, MAX_RANGE, Source, Target};
