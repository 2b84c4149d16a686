// SPDX-License-Identifier: Apache-2.0
//! The client: what every request shares.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[cfg(feature = "credential-helpers")]
use distribution::CredentialHelpers;
use distribution::{
    AuthFile, Credential, Credentials, Hosts, MirrorLimits, Parallel, Proxies, Registries, Retry,
};
use image_spec::Platform;
use meta_store::Store;
use signature::Policy;
use tokio::sync::Semaphore;

use crate::ImageName;
use crate::authfiles;
use crate::error::{Action, Error, ErrorKind, Fault};
use crate::progress::Progress;
use crate::threads::blocking;

/// Where the store lies unless another place is named; the same as that of image-rs.
pub const DEFAULT_WORK_DIR: &str = "/var/lib/image-client";

/// Layers of one client that are fetched at once: enough to fill a link while one layer is mostly waiting for the
/// disk, and few enough for the memory goal.
const LAYERS_AT_ONCE: usize = 3;

/// Pulls images into one store. Cheap to clone; any number of requests may run at once, also with other processes
/// on the same store.
///
/// Requests must run inside a Tokio runtime with the time and I/O drivers enabled. Dropping a request's future
/// cancels it: connections close, blocking threads end at their next read, what was begun is removed.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    work_dir: PathBuf,
    store: Mutex<Option<Arc<Store>>>,
    pub(crate) policy: Option<Policy>,
    pub(crate) network: distribution::Client,
    pub(crate) platform: Platform,
    pub(crate) snapshotter: String,
    /// A place for each layer that may be on its way at once.
    pub(crate) slots: Arc<Semaphore>,
}

impl Client {
    /// A client with the store at [`DEFAULT_WORK_DIR`], this machine's platform, and no policy yet.
    pub fn builder() -> Builder {
        Builder {
            work_dir: PathBuf::from(DEFAULT_WORK_DIR),
            policy: None,
            network: distribution::Client::builder(),
            platform: Platform::host(),
            snapshotter: "auto".to_owned(),
            layers_at_once: LAYERS_AT_ONCE,
        }
    }
}

impl Shared {
    /// The store, opened when first needed: looking at an image and unpacking it need none.
    pub(crate) async fn store(self: &Arc<Self>) -> Result<Arc<Store>, Fault> {
        let shared = Arc::clone(self);
        blocking(move || {
            let mut store = shared.store.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(store) = &*store {
                return Ok(Arc::clone(store));
            }
            let opened = Arc::new(Store::open(&shared.work_dir)?);
            *store = Some(Arc::clone(&opened));
            Ok(opened)
        })
        .await
    }

    pub(crate) fn work_dir(&self) -> &Path {
        &self.work_dir
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("work_dir", &self.work_dir)
            .finish_non_exhaustive()
    }
}

/// What a [`Client`] is made of.
#[derive(Debug)]
pub struct Builder {
    work_dir: PathBuf,
    policy: Option<Policy>,
    network: distribution::ClientBuilder,
    platform: Platform,
    snapshotter: String,
    layers_at_once: usize,
}

impl Builder {
    /// Where layers, the catalogue and the upper layers of mounted bundles are kept. Made, mode 0700, when absent.
    pub fn work_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.work_dir = dir.into();
        self
    }

    /// What images are accepted. Without a policy nothing can be pulled.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The platform chosen from images for several, unless a request names its own.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// How layers become one root filesystem: `auto`, `erofs`, `overlay` or `copy`. `auto` is the first of them
    /// that works with the work directory; another is obeyed. Tried at each pull.
    pub fn snapshotter(mut self, name: impl Into<String>) -> Self {
        self.snapshotter = name.into();
        self
    }

    /// How many layers are fetched at once, by all requests together; at least one.
    pub fn layers_at_once(mut self, count: usize) -> Self {
        self.layers_at_once = count.max(1);
        self
    }

    /// Trusts these authorities, in PEM, besides the system's.
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.network = self.network.ca_pem(pem);
        self
    }

    /// The credential for one registry host, as in `ghcr.io` or `localhost:5000`. It goes nowhere else but to a
    /// token server that is the registry's.
    pub fn credential(mut self, host: &str, credential: Credential) -> Self {
        self.network = self.network.credential(host, credential);
        self
    }

    /// Somebody who supplies credentials when a registry asks, such as a key broker. Asked before any auth file.
    pub fn credentials(mut self, supplier: Arc<dyn Credentials>) -> Self {
        self.network = self.network.credentials(supplier);
        self
    }

    /// Credentials by registry, for hosts without one of their own here. Of several files the first one counts that
    /// has a credential for the image.
    pub fn auth_file(mut self, file: AuthFile) -> Self {
        self.network = self.network.auth_file(file);
        self
    }

    /// The auth files of this process's user, as containers-auth.json(5) has them: the one that `REGISTRY_AUTH_FILE`
    /// names and no other, or else, where they exist, `containers/auth.json` in `XDG_RUNTIME_DIR` (or in
    /// `/run/containers/UID`) and in `XDG_CONFIG_HOME` (or `~/.config`), and `config.json` in `DOCKER_CONFIG` (or
    /// `~/.docker`).
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a file that is no auth file, or that was named and cannot be read.
    pub fn system_auth_files(self) -> Result<Self, Error> {
        let files = authfiles::find().map_err(unusable)?;
        Ok(files.into_iter().fold(self, Self::auth_file))
    }

    /// Runs the programs that auth files name as keepers of credentials, when a registry asks for one. Without this,
    /// what they keep is passed over.
    #[cfg(feature = "credential-helpers")]
    pub fn credential_helpers(mut self, helpers: CredentialHelpers) -> Self {
        self.network = self.network.credential_helpers(helpers);
        self
    }

    /// Lets the token server at `realm_host` see the credential of the registry `host`. Not needed for servers on the
    /// registry's own host, below or above it, nor for those of large registries.
    pub fn token_server(mut self, host: &str, realm_host: &str) -> Self {
        self.network = self.network.token_server(host, realm_host);
        self
    }

    /// How what fails for the moment is met: no connection, a broken one, an overloaded registry.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.network = self.network.retry(retry);
        self
    }

    /// How large blobs are divided, where a single response is slow.
    pub fn parallel(mut self, parallel: Parallel) -> Self {
        self.network = self.network.parallel(parallel);
        self
    }

    /// Time for each step to a connection, instead of 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.network = self.network.connect_timeout(limit);
        self
    }

    /// Time for which a registry may be silent, instead of 60 seconds. A whole blob may take any time.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.network = self.network.idle_timeout(limit);
        self
    }

    /// Lets blobs that a manifest says are elsewhere (`urls`) come from this host: over HTTPS, without credentials,
    /// and checked like all others. No other host is ever asked for them.
    pub fn foreign_host(mut self, host: &str) -> Self {
        self.network = self.network.foreign_host(host);
        self
    }

    /// Other places for images, blocked ones, and what short names mean, by `registries.conf`. The policy sees the
    /// name that was asked for, wherever the image comes from.
    pub fn registries(mut self, registries: Registries) -> Self {
        self.network = self.network.registries(registries);
        self
    }

    /// Mirrors and certificates by host.
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.network = self.network.hosts(hosts);
        self
    }

    /// How long mirrors are waited for.
    pub fn mirror_limits(mut self, limits: MirrorLimits) -> Self {
        self.network = self.network.mirror_limits(limits);
        self
    }

    /// How connections leave; directly unless set. The environment is not looked at.
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.network = self.network.proxies(proxies);
        self
    }

    /// Options that give protection away.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Makes the client. Nothing is opened or asked yet.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] when an option, such as a certificate, cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let network = self.network.build().map_err(|e| unusable(e.into()))?;
        Ok(Client {
            shared: Arc::new(Shared {
                work_dir: self.work_dir,
                store: Mutex::new(None),
                policy: self.policy,
                network,
                platform: self.platform,
                snapshotter: self.snapshotter,
                slots: Arc::new(Semaphore::new(self.layers_at_once)),
            }),
        })
    }
}

/// An option that does not do.
fn unusable(fault: Fault) -> Error {
    Error::new(Action::Configure, "", fault.with_kind(ErrorKind::Option))
}

/// The part of the [`Builder`] that is for laboratories.
#[derive(Debug)]
pub struct Dangerous(Builder);

impl Dangerous {
    /// Accepts every image from everywhere, in place of a policy.
    pub fn accept_any_image(mut self) -> Builder {
        self.0.policy = Some(Policy::insecure_accept_anything());
        self.0
    }

    /// Speaks HTTP without TLS to this registry host: anyone on the way can read credentials and, where no digest
    /// or signature pins the image, change it.
    pub fn plain_http(mut self, host: &str) -> Builder {
        self.0.network = self.0.network.plain_http(host);
        self.0
    }

    /// Obeys configurations that call a host insecure: it is asked over TLS with whatever certificate it shows, or
    /// without TLS. Anyone on the way can read credentials and, where no digest or signature pins the image, change
    /// it.
    pub fn obey_insecure(mut self) -> Builder {
        self.0.network = self.0.network.obey_insecure();
        self.0
    }
}

/// One image asked for, and how.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) image: ImageName,
    /// What the name may stand for besides, in this order.
    pub(crate) others: Vec<ImageName>,
    pub(crate) platform: Option<Platform>,
    pub(crate) progress: Arc<dyn Progress>,
}

impl Request {
    /// The image for the client's platform, silently.
    pub fn new(image: impl Into<ImageName>) -> Self {
        Self {
            image: image.into(),
            others: Vec::new(),
            platform: None,
            progress: Arc::new(()),
        }
    }

    /// Looks for this image where a registry says that it does not have the ones before, or does not let us see
    /// them. A registry that cannot be reached ends the search: who asks must not get another's image by chance. Only
    /// pulls, unpacking and inspecting look further.
    pub fn or(mut self, image: impl Into<ImageName>) -> Self {
        self.others.push(image.into());
        self
    }

    /// Another platform than the client's.
    pub fn platform(mut self, platform: Platform) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Tells this listener what happens.
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }
}

impl From<ImageName> for Request {
    fn from(image: ImageName) -> Self {
        Self::new(image)
    }
}
