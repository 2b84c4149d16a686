// SPDX-License-Identifier: Apache-2.0
//! A registry in this process, on a free port of 127.0.0.1, with its own thread; dropping it stops it.
//!
//! ```
//! use fixture::{Effect, Fault, Image, Registry};
//!
//! let image = Image::parse("f /hello \"world\\n\"").build();
//! let registry = Registry::builder().bearer().credential("user", "secret").tls().start();
//! registry.push("demo", "latest", &image);
//! registry.fault(Fault::on(&image.layers[0].digest, Effect::Cut(10)).times(1));
//! assert!(registry.ca_pem().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----")));
//! assert!(registry.requests().is_empty());
//! ```

mod auth;
mod body;
mod fault;
mod raw;
mod serve;
mod state;
mod tls;
mod wire;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::image::Published;
pub use auth::Scheme;
pub use fault::{Effect, Fault};
pub use raw::RawServer;
pub use state::Request;
use state::State;

/// How a registry is protected.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    scheme: Scheme,
    credential: Option<(String, String)>,
    tls: Option<Vec<String>>,
    token_lifetime: Option<u64>,
    address: Option<IpAddr>,
}

impl Builder {
    /// Asks for the credential in every request.
    #[must_use]
    pub fn basic(mut self) -> Self {
        self.scheme = Scheme::Basic;
        self
    }

    /// Asks for a token of its own endpoint `/token`, which asks for the credential if there is one.
    #[must_use]
    pub fn bearer(mut self) -> Self {
        self.scheme = Scheme::Bearer;
        self
    }

    /// The user and password that are asked for.
    #[must_use]
    pub fn credential(mut self, user: &str, password: &str) -> Self {
        self.credential = Some((user.to_string(), password.to_string()));
        self
    }

    /// What the token endpoint says of a token's lifetime, in seconds; nothing by default.
    #[must_use]
    pub fn token_lifetime(mut self, seconds: u64) -> Self {
        self.token_lifetime = Some(seconds);
        self
    }

    /// Serves HTTPS with a certificate for `localhost` and `127.0.0.1`, by a CA of its own.
    #[must_use]
    pub fn tls(self) -> Self {
        self.tls_for(&["localhost", "127.0.0.1"])
    }

    /// Serves HTTPS with a certificate for other names.
    #[must_use]
    pub fn tls_for(mut self, names: &[&str]) -> Self {
        self.tls = Some(names.iter().map(|n| n.to_string()).collect());
        self
    }

    /// Serves on another address than 127.0.0.1.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Starts it on a free port.
    pub fn start(self) -> Registry {
        self.start_on(0)
    }

    /// Starts it on this port.
    pub fn start_on(self, port: u16) -> Registry {
        let address = self.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let listener = TcpListener::bind((address, port)).expect("a free port");
        let address = listener.local_addr().expect("the address of a bound socket");
        let (acceptor, ca) = match &self.tls {
            Some(names) => {
                let (acceptor, pem) = tls::acceptor(names);
                (Some(acceptor), Some(pem))
            }
            None => (None, None),
        };
        let base = format!("http{}://{address}", if ca.is_some() { "s" } else { "" });
        let auth = auth::Auth::new(self.scheme, self.credential, self.token_lifetime, base.clone());
        let state = Arc::new(Mutex::new(State::new(auth)));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("registry".to_string())
            .spawn(move || serve::run(listener, acceptor, shared, stopped))
            .expect("a thread for the registry");
        Registry {
            address,
            base,
            ca,
            state,
            running: Some((stop, thread)),
        }
    }
}

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    base: String,
    ca: Option<String>,
    state: Arc<Mutex<State>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Registry {
    /// An open registry without TLS.
    pub fn start() -> Self {
        Registry::builder().start()
    }

    /// A registry with authentication or TLS.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `127.0.0.1:PORT`, unless it has another address.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` or the same with https.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The full reference of `name`, for instance `demo:latest` or `demo@sha256:...`.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The certificate of the CA, where TLS is on.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Holds an image or an index under a repository and a tag; an empty tag means by digest only.
    pub fn push(&self, repository: &str, tag: &str, image: &dyn Published) {
        self.state().repository(repository).push(tag, image);
    }

    /// Serves a layout folder (or a `dir:` of skopeo) from disk, under the tags that it names.
    /// An image without a tag gets `latest`.
    pub fn serve_layout(&self, repository: &str, folder: &Path) -> std::io::Result<()> {
        self.state().repository(repository).serve(folder)
    }

    /// Serves bytes under a path outside of `/v2/`, to anyone.
    pub fn resource(&self, path: &str, bytes: impl Into<bytes::Bytes>) {
        self.state().resources.insert(path.to_string(), bytes.into());
    }

    /// Adds a fault; the first that matches a request is used.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Forgets all tokens that were given out.
    pub fn revoke_tokens(&self) {
        self.state().auth.revoke();
    }

    /// Makes the registry name another place for tokens than its own.
    pub fn set_realm(&self, realm: &str) {
        self.state().auth.realm = realm.to_string();
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    /// The paths of the requests so far whose path contains `part`.
    pub fn asked_for(&self, part: &str) -> Vec<String> {
        self.state()
            .log
            .iter()
            .filter(|r| r.path.contains(part))
            .map(|r| r.path.clone())
            .collect()
    }

    /// Empties the log.
    pub fn forget_requests(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        serve::lock(&self.state)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            // A panic of the thread has been printed; another one here would hide the test's own.
            let _ = thread.join();
        }
    }
}
