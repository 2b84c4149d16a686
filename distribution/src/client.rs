// SPDX-License-Identifier: Apache-2.0
//! What all registries of one program share: connections, tokens, trust.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "credential-helpers")]
use crate::auth::{CredentialHelpers, Helpers};
use crate::auth::{Keyring, Session, Sessions, named};
use crate::fetch::Lanes;
use crate::foreign::WithForeign;
use crate::hosts::{Hosts, MirrorLimits, Registries, Resting};
use crate::http::{Http, Origin, Pace, Proxies, Roots, Trust};
use crate::{AuthFile, Credential, Credentials, Error, Parallel, Retry, Source};

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
    pub(crate) registries: Registries,
    pub(crate) hosts: Hosts,
    pub(crate) roots: Roots,
    pub(crate) mirrors: MirrorLimits,
    pub(crate) resting: Resting,
    pub(crate) obey_insecure: bool,
    pub(crate) plain: HashSet<Origin>,
    /// Of places that get no credential.
    anonymous: Sessions,
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
    registries: Registries,
    hosts: Hosts,
    mirrors: MirrorLimits,
    proxies: Proxies,
    obey_insecure: bool,
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
            registries: Registries::default(),
            hosts: Hosts::default(),
            mirrors: MirrorLimits::default(),
            proxies: Proxies::default(),
            obey_insecure: false,
        }
    }

    /// The same source, which also gives blobs that it lacks itself and whose descriptors name
    /// other places for them, on hosts allowed by [`foreign_host`](ClientBuilder::foreign_host).
    pub fn with_foreign(&self, source: Arc<dyn Source>) -> Arc<dyn Source> {
        Arc::new(WithForeign::new(source, Arc::clone(&self.shared)))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Shared {
    pub(crate) fn session(
        &self,
        origin: &Origin,
        host: &str,
        repository: &str,
        anonymous: bool,
    ) -> Arc<Session> {
        let sessions = if anonymous {
            &self.anonymous
        } else {
            &self.sessions
        };
        sessions.open(origin, host, repository)
    }

    pub(crate) fn realms(&self, host: &str) -> BTreeSet<String> {
        self.realms.get(&named(host)).cloned().unwrap_or_default()
    }

    pub(crate) fn origin(&self, host: &str) -> Result<Origin, Error> {
        let plain = origin(host, true)?;
        if self.plain.contains(&plain) {
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

    /// What `registries.conf` says of registries and their mirrors.
    #[must_use]
    pub fn registries(mut self, registries: Registries) -> Self {
        self.registries = registries;
        self
    }

    /// Mirrors and certificates by host.
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// How long mirrors are waited for.
    #[must_use]
    pub fn mirror_limits(mut self, limits: MirrorLimits) -> Self {
        self.mirrors = limits;
        self
    }

    /// How connections leave; directly unless set.
    #[must_use]
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Obeys configurations that call a host insecure (`insecure = true` in `registries.conf`,
    /// `skip_verify = true` in `hosts.toml`) or name it by `http://`: such a host is asked over
    /// TLS with whatever certificate it shows, and if that fails without TLS. Anybody on the way
    /// can read the credentials and change whatever is not pulled by digest.
    ///
    /// Without this, hosts called insecure have to show a good certificate, and a host that
    /// `hosts.toml` names by `http://` is asked for nothing but what a digest proves, without
    /// credentials, unless it is on the loopback.
    #[must_use]
    pub fn obey_insecure(mut self) -> Self {
        self.obey_insecure = true;
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
        let roots = Roots::new(&self.pems, self.system_roots)?;
        let trust = Arc::new(Trust::new(&roots, None, true)?);
        let pace = Pace {
            connect: self.connect,
            idle: self.idle,
            retry: self.retry,
        };
        Ok(Client {
            shared: Arc::new(Shared {
                http: Http::new(trust, self.proxies, plain.clone(), pace),
                sessions: Sessions::new(self.keyring),
                anonymous: Sessions::new(Keyring::default()),
                lanes: Lanes::new(self.parallel),
                foreign,
                registries: self.registries,
                hosts: self.hosts,
                roots,
                mirrors: self.mirrors,
                resting: Resting::new(self.mirrors.rest),
                obey_insecure: self.obey_insecure,
                plain,
                realms: self.realms,
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
