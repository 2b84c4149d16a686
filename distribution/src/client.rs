// SPDX-License-Identifier: Apache-2.0
//! What all registries of one program share: connections, tokens, trust.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use image_spec::Reference;

#[cfg(feature = "credential-helpers")]
use crate::auth::{CredentialHelpers, Helpers};
use crate::auth::{Keyring, Sessions, named};
use crate::fetch::Lanes;
use crate::foreign::WithForeign;
use crate::http::{Http, Origin, Trust};
use crate::{AuthFile, Credential, Credentials, Error, Parallel, Registry, Retry, Source};

/// Time for each step to a connection: name and TCP together, then TLS.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a registry may be silent: before its response, and in the middle of a body.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Where Docker Hub's registry really is.
const HUB_HOST: &str = "registry-1.docker.io";

/// A client of any number of registries. Clones share everything.
///
/// It must be used inside a tokio runtime with time and I/O enabled.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) http: Http,
    pub(crate) sessions: Sessions,
    pub(crate) lanes: Lanes,
    /// Where blobs may come from that a manifest says are elsewhere.
    pub(crate) foreign: HashSet<Origin>,
    plain: HashSet<Origin>,
    realms: BTreeMap<String, BTreeSet<String>>,
}

/// Settings of a [`Client`]. Hosts are written as in a reference: `docker.io`, `localhost:5000`,
/// `[::1]:5000`.
#[derive(Debug)]
pub struct ClientBuilder {
    pems: Vec<Vec<u8>>,
    system_roots: bool,
    plain: Vec<String>,
    foreign: Vec<String>,
    keyring: Keyring,
    realms: BTreeMap<String, BTreeSet<String>>,
    connect: Duration,
    idle: Duration,
    retry: Retry,
    parallel: Parallel,
}

impl Client {
    /// Begins with the system's certificate authorities, no plain HTTP and no credential.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            pems: Vec::new(),
            system_roots: true,
            plain: Vec::new(),
            foreign: Vec::new(),
            keyring: Keyring::default(),
            realms: BTreeMap::new(),
            connect: CONNECT_TIMEOUT,
            idle: IDLE_TIMEOUT,
            retry: Retry::default(),
            parallel: Parallel::default(),
        }
    }

    /// The repository that `reference` names, on its registry. Nothing is asked yet, and no
    /// credential is looked for before the registry wants one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a host that no URL can hold.
    pub fn registry(&self, reference: &Reference) -> Result<Registry, Error> {
        let (host, repository) = (reference.registry(), reference.repository());
        let origin = self.origin(host)?;
        let session = self.shared.sessions.open(&origin, host, repository);
        let realms = self.shared.realms.get(&named(host)).cloned().unwrap_or_default();
        Ok(Registry::new(
            Arc::clone(&self.shared),
            origin,
            reference.name(),
            repository.to_owned(),
            session,
            realms,
        ))
    }

    /// The same source, which also gives blobs that it lacks itself and whose descriptors name
    /// other places for them, on hosts allowed by [`foreign_host`](ClientBuilder::foreign_host).
    pub fn with_foreign(&self, source: Arc<dyn Source>) -> Arc<dyn Source> {
        Arc::new(WithForeign::new(source, Arc::clone(&self.shared)))
    }

    fn origin(&self, host: &str) -> Result<Origin, Error> {
        let plain = origin(host, true)?;
        if self.shared.plain.contains(&plain) {
            Ok(plain)
        } else {
            origin(host, false)
        }
    }
}

impl ClientBuilder {
    /// Trusts the certificate authorities in this PEM text, too.
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.pems.push(pem);
        self
    }

    /// Trusts no authority but those given.
    #[must_use]
    pub fn without_system_roots(mut self) -> Self {
        self.system_roots = false;
        self
    }

    /// Speaks HTTP without TLS to this host and port, 80 unless written: anybody on the way can
    /// read the credentials and change whatever is not pulled by digest.
    #[must_use]
    pub fn plain_http(mut self, host: &str) -> Self {
        self.plain.push(host.to_owned());
        self
    }

    /// Lets blobs that a manifest says are elsewhere be fetched from this host and port, 443 unless
    /// written: over TLS, without credentials, and checked like all others. See
    /// [`with_foreign`](Client::with_foreign).
    #[must_use]
    pub fn foreign_host(mut self, host: &str) -> Self {
        self.foreign.push(host.to_owned());
        self
    }

    /// The credential for a registry. It goes before all others.
    #[must_use]
    pub fn credential(mut self, host: &str, credential: Credential) -> Self {
        self.keyring.give(host, credential);
        self
    }

    /// Somebody to ask for credentials, before any auth file. Several are asked in this order.
    #[must_use]
    pub fn credentials(mut self, supplier: Arc<dyn Credentials>) -> Self {
        self.keyring.ask_supplier(supplier);
        self
    }

    /// Credentials for whatever registries the file names. Of several files the first one counts
    /// that has a credential for the repository.
    #[must_use]
    pub fn auth_file(mut self, file: AuthFile) -> Self {
        self.keyring.read(file);
        self
    }

    /// Runs the helper programs that auth files name. Without this, what they keep is passed over
    /// and a refusal says so.
    #[cfg(feature = "credential-helpers")]
    #[must_use]
    pub fn credential_helpers(mut self, helpers: CredentialHelpers) -> Self {
        self.keyring.run_helpers(Helpers::new(helpers));
        self
    }

    /// Lets a registry's token server at `realm_host` see the registry's credential. Servers on
    /// the registry's host, below or above it, and those known of large registries need no
    /// mention; all others are asked for a token without the credential.
    #[must_use]
    pub fn token_server(mut self, host: &str, realm_host: &str) -> Self {
        self.realms
            .entry(named(host))
            .or_default()
            .insert(realm_host.to_ascii_lowercase());
        self
    }

    /// Replaces [`CONNECT_TIMEOUT`].
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect = limit;
        self
    }

    /// Replaces [`IDLE_TIMEOUT`]. There is no limit on the time of a whole blob.
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.idle = limit;
        self
    }

    /// How what fails for the moment is met.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How large blobs are divided.
    #[must_use]
    pub fn parallel(mut self, parallel: Parallel) -> Self {
        self.parallel = parallel;
        self
    }

    /// Reads the certificates. Opens no connection.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a text that is no certificate or no host.
    pub fn build(self) -> Result<Client, Error> {
        let plain = self
            .plain
            .iter()
            .map(|host| origin(host, true))
            .collect::<Result<HashSet<_>, _>>()?;
        let foreign = self
            .foreign
            .iter()
            .map(|host| Origin::new(host, false))
            .collect::<Result<HashSet<_>, _>>()?;
        let trust = Trust::new(&self.pems, self.system_roots)?;
        let http = Http::new(trust, plain.clone(), self.connect, self.idle, self.retry);
        let Self {
            keyring,
            realms,
            parallel,
            ..
        } = self;
        let sessions = Sessions::new(keyring);
        Ok(Client {
            shared: Arc::new(Shared {
                http,
                sessions,
                lanes: Lanes::new(parallel),
                foreign,
                plain,
                realms,
            }),
        })
    }
}

/// The origin of a registry by its name in references.
fn origin(host: &str, plain: bool) -> Result<Origin, Error> {
    match named(host).as_str() {
        "docker.io" => Origin::new(HUB_HOST, plain),
        host => Origin::new(host, plain),
    }
}
