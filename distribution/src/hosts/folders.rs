// SPDX-License-Identifier: Apache-2.0
//! Settings by host, from texts or from a folder of folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::certs::HostTls;
use super::containerd::{HostConfig, MAX_FILE};
use super::{Place, files};
use crate::Error;
use crate::ErrorKind;

/// The folder for hosts that have none of their own.
const DEFAULT: &str = "_default";
const FILE: &str = "hosts.toml";

/// Mirrors and certificates by registry: containerd's `hosts.toml`, and the certificates of
/// `certs.d`. Hosts are written as in references, `_default` stands for all others.
///
/// The library reads no folder unless told where one is. What is wrong with one host's files
/// spoils only that host.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    hosts: BTreeMap<String, Result<Arc<HostConfig>, String>>,
}

impl Hosts {
    /// No host.
    pub fn new() -> Self {
        Self::default()
    }

    /// The text of a host's `hosts.toml`. It cannot name files.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no such file, [`TooLarge`](ErrorKind::TooLarge)
    /// over 256 KiB.
    pub fn config(mut self, host: &str, text: &str) -> Result<Self, Error> {
        let config =
            HostConfig::parse(text, None).map_err(|error| error.doing(|| format!("hosts of `{host}`")))?;
        self.hosts.insert(key(host), Ok(Arc::new(config)));
        Ok(self)
    }

    /// Certificates for a host itself, in place of those before. Its mirrors stay.
    #[must_use]
    pub fn certificates(mut self, host: &str, tls: HostTls) -> Self {
        let config = match self.hosts.remove(&key(host)) {
            Some(Ok(config)) => HostConfig::clone(&config).with_tls(tls),
            _ => HostConfig::default().with_tls(tls),
        };
        self.hosts.insert(key(host), Ok(Arc::new(config)));
        self
    }

    /// Reads a folder of folders with the names of hosts, `HOST`, `HOST:PORT` or `HOST_PORT_`: in
    /// each its `hosts.toml`, or certificates as [`HostTls::load`] reads them. Hosts that are
    /// known already stay as they are. A folder that does not exist has none. Blocks.
    ///
    /// # Errors
    ///
    /// Only if `folder` itself cannot be read. What is wrong with a host is told when that host
    /// is asked.
    pub fn load(mut self, folder: &Path) -> Result<Self, Error> {
        for path in files::entries(folder)? {
            let Some(name) = path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|_| path.is_dir())
            else {
                continue;
            };
            let read = || {
                let file = path.join(FILE);
                if file.exists() {
                    let text = files::text(&file, MAX_FILE)?;
                    let config = HostConfig::parse(&text, Some(&path));
                    return config.map_err(|error| error.doing(|| format!("`{}`", file.display())));
                }
                HostTls::load(&path).map(|tls| HostConfig::default().with_tls(tls))
            };
            self.hosts
                .entry(key(name))
                .or_insert_with(|| read().map(Arc::new).map_err(|error: Error| error.line()));
        }
        Ok(self)
    }

    /// Adds whom to ask in place of the registry of `place`, itself last.
    pub(crate) fn expand(&self, place: Place, places: &mut Vec<Place>) -> Result<(), Error> {
        match self.of(&place.host)? {
            Some(config) => config.places(place, places),
            None => places.push(place),
        }
        Ok(())
    }

    /// The certificates for a host, whoever it stands in for.
    pub(crate) fn tls(&self, host: &str) -> Result<Option<Arc<HostTls>>, Error> {
        Ok(self.of(host)?.and_then(|config| config.tls().cloned()))
    }

    fn of(&self, host: &str) -> Result<Option<&Arc<HostConfig>>, Error> {
        let found = self.hosts.get(&key(host)).or_else(|| self.hosts.get(DEFAULT));
        let broken = |text: &String| Error::new(ErrorKind::Invalid, text.clone());
        found.map(|config| config.as_ref().map_err(broken)).transpose()
    }
}

/// The form in which hosts are compared: `host_port_` is how containerd writes a port.
fn key(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let port = host.strip_suffix('_').and_then(|rest| rest.rsplit_once('_'));
    match port {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => format!("{name}:{port}"),
        _ => host,
    }
}
