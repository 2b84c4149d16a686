// SPDX-License-Identifier: Apache-2.0
//! Pulls container images: finds them in registries, layouts and archives, asks the policy, unpacks their layers
//! into a store that all pulls share, mounts them and writes the bundle that a runtime starts.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use image_client::{Client, ImageName, Policy};
//!
//! let client = Client::builder()
//!     .work_dir("/var/lib/image-client")
//!     .policy(Policy::load("/etc/containers/policy.json".as_ref())?)
//!     .build()?;
//! let image: ImageName = "docker.io/library/busybox:1.36".parse()?;
//! let pulled = client.pull(image, "/run/bundles/one").await?;
//! println!("{} is mounted at {}", pulled.image.manifest_digest, pulled.rootfs.display());
//! # Ok(())
//! # }
//! ```
//!
//! A pull goes one way: name, resolved documents, the policy's admission, plan, layers, mount. The policy is asked
//! each time, also for what is in the store; no layer is requested before it has answered, and only an admitted
//! image can be planned. A layer is published when its blob's digest and its archive's diff_id both hold.
//!
//! Programs without an async runtime use [`blocking::Client`].
//!
//! Without a store and without a mount, an image can be unpacked into a folder:
//!
//! ```
//! use image_client::{Client, ImageName};
//!
//! # let dir = tempfile::tempdir()?;
//! # let image = fixture::Image::parse("f /hello 0644 0:0 \"world\"").build();
//! # fixture::write_layout(&dir.path().join("image"), &[("latest", &image)])?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let layout = dir.path().join("image");
//! let image: ImageName = format!("oci-layout:{}:latest", layout.display()).parse()?;
//! let client = Client::builder().dangerous().accept_any_image().build()?;
//! let done = client.unpack(image, dir.path().join("rootfs")).await?;
//! assert_eq!(std::fs::read_to_string(done.dir.join("hello"))?, "world");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authfiles;
pub mod blocking;
mod bridge;
mod client;
mod error;
mod faults;
mod find;
mod flat;
mod folder;
mod inspect;
mod layers;
mod lookup;
mod manage;
mod mount;
mod name;
mod plan;
mod progress;
mod pull;
mod remove;
mod report;
mod short;
mod source;
mod space;
mod stack;
mod tend;
mod threads;

pub use client::{Builder, Client, DEFAULT_WORK_DIR, Dangerous, Request};
#[cfg(feature = "credential-helpers")]
pub use distribution::CredentialHelpers;
pub use distribution::{
    AuthFile, BoxFuture, Credential, Credentials, HostTls, Hosts, Listing, MirrorLimits, Parallel, Proxies,
    Registries, Retry, Supplied,
};
pub use error::{Action, Error, ErrorKind, LayerAt};
pub use image_spec::{Descriptor, Digest, ImageConfig, Platform, Reference};
pub use lookup::{Blob, RawManifest};
pub use manage::{Removed, Stored};
pub use name::{Entry, ImageName, NameError};
pub use progress::{Event, LayerStage, Progress, Stage};
pub use report::{Admission, Fetched, Inspected, LayerReport, PolicySays, Pulled, Timings, Unpacked};
pub use signature::{ErrorKind as PolicyErrorKind, Policy};
pub use tend::{Collected, Keep, Mounted, Usage};
