// SPDX-License-Identifier: Apache-2.0
//! `hosts.toml`, as containerd reads it (its docs/hosts.md).

use std::path::Path;
use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use toml::Spanned;

use super::certs::HostTls;
use super::{Place, Serves, files};
use crate::authfile::hub;
use crate::error::clean;
use crate::http::{Origin, Url};
use crate::{Error, ErrorKind};

/// Bytes of one file.
pub(crate) const MAX_FILE: u64 = 256 << 10;
/// Mirrors in one file.
const MAX_MIRRORS: usize = 32;
/// Bytes of one certificate's file.
const MAX_PEM: u64 = 4 << 20;

/// Whom to ask in place of one registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostConfig {
    mirrors: Vec<Upstream>,
    server: Upstream,
}

#[derive(Clone, Debug)]
struct Upstream {
    /// The registry itself if none is named.
    origin: Option<Origin>,
    base: String,
    serves: Serves,
    tls: Option<Arc<HostTls>>,
    headers: HeaderMap,
    insecure: bool,
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: Ordered<Raw>,
}

/// The settings of a host; at the top of the file those of the server.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    capabilities: Option<Vec<String>>,
    ca: Option<Texts>,
    client: Option<Client>,
    skip_verify: bool,
    header: Ordered<Texts>,
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

/// A table in the order of its text, which is the order in which mirrors are asked.
struct Ordered<T>(Vec<(Spanned<String>, T)>);

impl HostConfig {
    /// Reads a file's text; paths in it are relative to `folder`, and refused without one.
    pub(crate) fn parse(text: &str, folder: Option<&Path>) -> Result<Self, Error> {
        if text.len() as u64 > MAX_FILE {
            let message = format!("longer than {MAX_FILE} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let invalid =
            |cause: toml::de::Error| Error::new(ErrorKind::Invalid, "not a hosts.toml").because(cause);
        let file: File = toml::from_str(text).map_err(invalid)?;
        let top: Raw = toml::from_str(text).map_err(invalid)?;
        let mut hosts = file.host.0;
        if hosts.len() > MAX_MIRRORS {
            let message = format!("more than {MAX_MIRRORS} hosts");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        hosts.sort_by_key(|(name, _)| name.span().start);
        let mirrors = hosts
            .into_iter()
            .map(|(url, raw)| Upstream::new(Some(url.get_ref()), raw, folder))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            mirrors,
            server: Upstream::new(file.server.as_deref(), top, folder)?,
        })
    }

    /// With certificates for the registry itself.
    pub(crate) fn with_tls(mut self, tls: HostTls) -> Self {
        if self.server.origin.is_none() {
            self.server.tls = Some(Arc::new(tls));
        }
        self
    }

    /// Puts those to ask in place of the registry of `place` into `places`, itself last if it is
    /// to be asked at all.
    pub(crate) fn places(&self, place: Place, places: &mut Vec<Place>) {
        places.extend(self.mirrors.iter().map(|mirror| mirror.place(&place)));
        places.push(self.server.place(&place));
    }

    /// The certificates of the registry itself.
    pub(crate) fn tls(&self) -> Option<&Arc<HostTls>> {
        self.server.tls.as_ref().filter(|_| self.server.origin.is_none())
    }
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            origin: None,
            base: "/v2".to_owned(),
            serves: Serves::ALL,
            tls: None,
            headers: HeaderMap::new(),
            insecure: false,
        }
    }
}

impl Upstream {
    fn new(url: Option<&str>, raw: Raw, folder: Option<&Path>) -> Result<Self, Error> {
        let mut upstream = Self::default();
        if let Some(url) = url {
            let (origin, base) = address(url, raw.override_path)?;
            (upstream.origin, upstream.base) = (Some(origin), base);
        }
        if let Some(capabilities) = &raw.capabilities {
            upstream.serves = Serves::NOTHING;
            for capability in capabilities {
                match capability.as_str() {
                    "resolve" => upstream.serves.tags = true,
                    "pull" => upstream.serves.digests = true,
                    "push" => {}
                    other => {
                        let message = format!("unknown capability: `{}`", clean(other));
                        return Err(Error::new(ErrorKind::Invalid, message));
                    }
                }
            }
        }
        for (name, values) in raw.header.0 {
            let (name, values) = (name.into_inner(), values.list());
            for value in &values {
                let (name, value) = field(&name, value)?;
                upstream.headers.append(name, value);
            }
        }
        let mut tls = HostTls::new();
        for path in raw.ca.map(Texts::list).unwrap_or_default() {
            tls = tls.ca_pem(file(&path, folder)?);
        }
        if let Some((certificate, key)) = raw.client.map(Client::pair).transpose()?.flatten() {
            tls = tls.identity_pem(file(&certificate, folder)?, file(&key, folder)?);
        }
        upstream.tls = Some(tls).filter(|tls| !tls.is_empty()).map(Arc::new);
        upstream.insecure = raw.skip_verify;
        Ok(upstream)
    }

    fn place(&self, registry: &Place) -> Place {
        let host = match &self.origin {
            Some(origin) => origin.authority(),
            None => registry.host.clone(),
        };
        let itself = hub(&host) == hub(&registry.host);
        Place {
            namespace: (!itself).then(|| registry.host.clone()),
            host,
            origin: self.origin.clone(),
            repository: registry.repository.clone(),
            base: self.base.clone(),
            serves: self.serves,
            tls: self.tls.clone(),
            headers: self.headers.clone(),
            insecure: self.insecure || itself && registry.insecure,
        }
    }
}

/// Origin and path of a URL, which may lack its scheme.
fn address(url: &str, whole: bool) -> Result<(Origin, String), Error> {
    let bad = || Error::new(ErrorKind::Invalid, format!("not a host's URL: `{}`", clean(url)));
    let text = match url.contains("://") {
        true => url.to_owned(),
        false => format!("https://{url}"),
    };
    let parsed = Url::parse(&text).map_err(|cause| bad().because(cause))?;
    let target = parsed.request_target();
    if target.query().is_some() || text.contains('#') {
        return Err(bad());
    }
    let mut path = target.path().trim_end_matches('/').to_owned();
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(bad());
    }
    if !whole && !path.ends_with("/v2") {
        path.push_str("/v2");
    }
    Ok((parsed.origin().clone(), path))
}

/// A header to send along. Those that say how a message is framed are not for files to set.
fn field(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    const OURS: [HeaderName; 8] = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::UPGRADE,
        header::RANGE,
        header::ACCEPT_ENCODING,
    ];
    let bad = || {
        Error::new(
            ErrorKind::Invalid,
            format!("not a header to send: `{}`", clean(name)),
        )
    };
    let name: HeaderName = name.parse().map_err(|_| bad())?;
    let mut value: HeaderValue = value.parse().map_err(|_| bad())?;
    if OURS.contains(&name) {
        return Err(bad());
    }
    // It may be a secret, and is never of interest.
    value.set_sensitive(true);
    Ok((name, value))
}

fn file(path: &str, folder: Option<&Path>) -> Result<Vec<u8>, Error> {
    let Some(folder) = folder else {
        let message = format!("a file cannot be named here: `{}`", clean(path));
        return Err(Error::new(ErrorKind::Invalid, message));
    };
    files::read(&folder.join(path), MAX_PEM)
}

impl Texts {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

impl Client {
    /// The files of certificate and key.
    fn pair(self) -> Result<Option<(String, String)>, Error> {
        let pairs = match self {
            Self::One(file) => vec![vec![file]],
            Self::Many(files) => files.into_iter().map(|file| vec![file]).collect(),
            Self::Pairs(pairs) => pairs,
        };
        match pairs.as_slice() {
            [] => Ok(None),
            [pair] => match pair.as_slice() {
                [file] => Ok(Some((file.clone(), file.clone()))),
                [certificate, key] if key.is_empty() => Ok(Some((certificate.clone(), certificate.clone()))),
                [certificate, key] => Ok(Some((certificate.clone(), key.clone()))),
                _ => Err(Error::new(
                    ErrorKind::Invalid,
                    "a client is not a certificate and a key",
                )),
            },
            _ => Err(Error::unsupported("two client certificates for one host")),
        }
    }
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Table<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }

        deserializer.deserialize_map(Table(std::marker::PhantomData))
    }
}
