// SPDX-License-Identifier: Apache-2.0
//! Where an image comes from: other registries in place of the one in its name, how each is
//! believed, and in what order they are asked.
//!
//! What is read here changes where bytes come from and never what they are called: an image keeps
//! the name that the user gave, for the policy and the store.

mod certs;
mod containerd;
mod files;
mod folders;
mod prefix;
mod registries;
mod relay;
mod rest;
mod route;
mod short;

use std::sync::Arc;

use hyper::header::HeaderMap;

use crate::http::Origin;

pub use self::certs::HostTls;
pub use self::folders::Hosts;
pub use self::registries::Registries;
pub(crate) use self::relay::Relay;
pub use self::rest::MirrorLimits;
pub(crate) use self::rest::Resting;
pub(crate) use self::route::{Mirror, Serves};

/// One place that may have a repository, as the configuration puts it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// As in a reference: credentials and certificates go by it.
    pub(crate) host: String,
    /// Where the host is, if not where its name says.
    pub(crate) origin: Option<Origin>,
    pub(crate) repository: String,
    /// What stands before the repository in a URL's path.
    pub(crate) base: String,
    /// Whose repository it is, for mirrors of several registries: the query `ns`.
    pub(crate) namespace: Option<String>,
    pub(crate) serves: Serves,
    /// In place of the host's.
    pub(crate) tls: Option<Arc<HostTls>>,
    pub(crate) headers: HeaderMap,
    /// The configuration allows what anybody can listen to and change.
    pub(crate) insecure: bool,
}

impl Place {
    /// A repository on the registry of its name.
    pub(crate) fn plainly(host: &str, repository: &str) -> Self {
        Self {
            host: host.to_owned(),
            origin: None,
            repository: repository.to_owned(),
            base: "/v2".to_owned(),
            namespace: None,
            serves: Serves::ALL,
            tls: None,
            headers: HeaderMap::new(),
            insecure: false,
        }
    }
}
