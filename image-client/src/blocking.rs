// SPDX-License-Identifier: Apache-2.0
//! The client for programs without an async runtime: each request returns when it is done.
//!
//! ```
//! use image_client::ImageName;
//!
//! # let dir = tempfile::tempdir()?;
//! # let image = fixture::Image::parse("f /hello 0644 0:0 \"world\"").build();
//! # fixture::write_layout(&dir.path().join("image"), &[("latest", &image)])?;
//! # let layout = dir.path().join("image");
//! let client = image_client::Client::builder().dangerous().accept_any_image().build()?;
//! let client = image_client::blocking::Client::new(client)?;
//! let image: ImageName = format!("oci-layout:{}:latest", layout.display()).parse()?;
//! let done = client.unpack(image, dir.path().join("rootfs"))?;
//! assert_eq!(std::fs::read_to_string(done.dir.join("hello"))?, "world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io::Write;
use std::path::Path;

use distribution::Listing;
use image_spec::{Descriptor, Digest};
use tokio::runtime::{self, Runtime};

use crate::error::{Action, Error, Fault};
use crate::{ImageName, Inspected, Pulled, RawManifest, Removed, Request, Stored, Unpacked};

/// A [`Client`](crate::Client) with a runtime of its own. Any number of threads may use it at once.
///
/// It must not be used, nor dropped, inside an async runtime: that panics.
#[derive(Debug)]
pub struct Client {
    inner: crate::Client,
    runtime: Runtime,
}

impl Client {
    /// Wraps a client.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) when the runtime cannot be made.
    pub fn new(inner: crate::Client) -> Result<Self, Error> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|cause| Error::new(Action::Configure, "", Fault::io("make a runtime", cause)))?;
        Ok(Self { inner, runtime })
    }

    /// See [`Client::pull`](crate::Client::pull).
    ///
    /// # Errors
    /// As there.
    pub fn pull(&self, request: impl Into<Request>, bundle: impl AsRef<Path>) -> Result<Pulled, Error> {
        self.runtime.block_on(self.inner.pull(request, bundle))
    }

    /// See [`Client::unpack`](crate::Client::unpack).
    ///
    /// # Errors
    /// As there.
    pub fn unpack(&self, request: impl Into<Request>, dir: impl AsRef<Path>) -> Result<Unpacked, Error> {
        self.runtime.block_on(self.inner.unpack(request, dir))
    }

    /// See [`Client::inspect`](crate::Client::inspect).
    ///
    /// # Errors
    /// As there.
    pub fn inspect(&self, request: impl Into<Request>) -> Result<Inspected, Error> {
        self.runtime.block_on(self.inner.inspect(request))
    }

    /// See [`Client::manifest`](crate::Client::manifest).
    ///
    /// # Errors
    /// As there.
    pub fn manifest(&self, request: impl Into<Request>) -> Result<RawManifest, Error> {
        self.runtime.block_on(self.inner.manifest(request))
    }

    /// Writes a blob, and returns its size in bytes. See [`Client::blob`](crate::Client::blob).
    ///
    /// # Errors
    /// As there, and [`ErrorKind::Io`](crate::ErrorKind::Io) when it cannot be written. What was written by then is unproven.
    pub fn blob(
        &self,
        request: impl Into<Request>,
        digest: &Digest,
        mut to: impl Write,
    ) -> Result<u64, Error> {
        let request = request.into();
        let image = request.image.clone();
        self.runtime.block_on(async {
            let mut blob = self.inner.blob(request, digest).await?;
            while let Some(bytes) = blob.chunk().await? {
                to.write_all(&bytes)
                    .map_err(|cause| Error::new(Action::Blob, &image, Fault::io("write it", cause)))?;
            }
            Ok(blob.size())
        })
    }

    /// See [`Client::tags`](crate::Client::tags).
    ///
    /// # Errors
    /// As there.
    pub fn tags(&self, request: impl Into<Request>, listing: &Listing) -> Result<Vec<String>, Error> {
        self.runtime.block_on(self.inner.tags(request, listing))
    }

    /// See [`Client::referrers`](crate::Client::referrers).
    ///
    /// # Errors
    /// As there.
    pub fn referrers(
        &self,
        request: impl Into<Request>,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        self.runtime
            .block_on(self.inner.referrers(request, artifact_type))
    }

    /// See [`Client::images`](crate::Client::images).
    ///
    /// # Errors
    /// As there.
    pub fn images(&self) -> Result<Vec<Stored>, Error> {
        self.runtime.block_on(self.inner.images())
    }

    /// See [`Client::disk_bytes`](crate::Client::disk_bytes).
    ///
    /// # Errors
    /// As there.
    pub fn disk_bytes(&self) -> Result<u64, Error> {
        self.runtime.block_on(self.inner.disk_bytes())
    }

    /// See [`Client::remove`](crate::Client::remove).
    ///
    /// # Errors
    /// As there.
    pub fn remove(&self, image: &ImageName) -> Result<Removed, Error> {
        self.runtime.block_on(self.inner.remove(image))
    }

    /// See [`Client::unmount`](crate::Client::unmount).
    ///
    /// # Errors
    /// As there.
    pub fn unmount(&self, bundle: impl AsRef<Path>) -> Result<(), Error> {
        self.runtime.block_on(self.inner.unmount(bundle))
    }
}
