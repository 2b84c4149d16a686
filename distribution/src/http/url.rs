// SPDX-License-Identifier: Apache-2.0
//! Origins and URLs, as far as registries need them. Neither can hold user names, and neither
//! shows a query.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use zeroize::Zeroizing;

use crate::error::clean;
use crate::{Error, ErrorKind};

/// Bytes of a URL. Signed storage URLs reach 3 KiB, token realms a few hundred bytes.
const MAX_URL: usize = 8 << 10;

/// Scheme, host and port: what credentials, connections and redirects are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    plain: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// From `host`, `host:port` or `[v6]:port`; the port defaults by scheme.
    pub(crate) fn new(authority: &str, plain: bool) -> Result<Self, Error> {
        let invalid = || Error::new(ErrorKind::Invalid, format!("not a host: `{}`", clean(authority)));
        let (host, port) = split_port(authority).ok_or_else(invalid)?;
        let host = host.to_ascii_lowercase();
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let good = match bare(&host) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.len() <= 253 && host.bytes().all(name),
        };
        if !good {
            return Err(invalid());
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?,
            None if plain => 80,
            None => 443,
        };
        Ok(Self { plain, host, port })
    }

    pub(crate) fn plain(&self) -> bool {
        self.plain
    }

    /// The host as it stands in a URL, IPv6 in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host as resolvers and certificates want it, IPv6 without brackets.
    pub(crate) fn name(&self) -> &str {
        bare(&self.host).unwrap_or(&self.host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.name().parse().ok()
    }

    pub(crate) fn loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// `host` or `host:port`, as the Host header wants it.
    pub(crate) fn authority(&self) -> String {
        match (self.plain, self.port) {
            (true, 80) | (false, 443) => self.host.clone(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// A URL under this origin from a path that starts with `/` and may carry a query.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Error> {
        let bad = || Error::new(ErrorKind::Invalid, format!("not a path under `{self}`"));
        if path.len() > MAX_URL || !path.starts_with('/') {
            return Err(bad());
        }
        let path: Uri = path.parse().map_err(|_| bad())?;
        Ok(Url {
            origin: self.clone(),
            path,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}",
            if self.plain { "http" } else { "https" },
            self.authority()
        )
    }
}

/// An absolute http or https URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    origin: Origin,
    /// Path and query only, as a request line carries it.
    path: Uri,
}

impl Url {
    /// From an absolute URL that a peer wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::new(ErrorKind::BadResponse, format!("a URL {why}"));
        if text.len() > MAX_URL {
            return Err(bad("is longer than 8 KiB"));
        }
        let uri: Uri = text.parse().map_err(|_| bad("cannot be read"))?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(bad("is neither http nor https")),
        };
        let authority = uri
            .authority()
            .map(|authority| authority.as_str())
            .unwrap_or_default();
        if authority.contains('@') {
            return Err(bad("names a user"));
        }
        let origin = Origin::new(authority, plain).map_err(|_| bad("names no host"))?;
        origin.url(uri.path_and_query().map_or("/", |path| path.as_str()))
    }

    /// The target of a redirect from here, absolute or relative (RFC 3986 section 5.2).
    pub(crate) fn join(&self, location: &str) -> Result<Self, Error> {
        let scheme = location
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|first| first.contains(':'));
        if scheme {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!(
                "{}://{rest}",
                if self.origin.plain { "http" } else { "https" }
            ));
        }
        if location.starts_with('/') {
            return self.origin.url(location);
        }
        let here = self.path.path();
        let folder = here.rfind('/').and_then(|end| here.get(..=end)).unwrap_or("/");
        let end = location.find(['?', '#']).unwrap_or(location.len());
        let (path, query) = location.split_at_checked(end).unwrap_or((location, ""));
        self.origin
            .url(&format!("{}{query}", without_dots(&format!("{folder}{path}"))))
    }

    /// The same URL with `name=value` pairs added to its query.
    pub(crate) fn with_query(&self, query: &[(&str, &str)]) -> Result<Self, Error> {
        if query.is_empty() {
            return Ok(self.clone());
        }
        let separator = if self.path.query().is_some() { '&' } else { '?' };
        self.origin
            .url(&format!("{}{separator}{}", self.path, *pairs(query)))
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn request_target(&self) -> &Uri {
        &self.path
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, clean(self.path.path()))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let end = match authority.starts_with('[') {
        true => authority.find(']')?.checked_add(1)?,
        false => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at_checked(end)?;
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

fn bare(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// A path without its `.` and `..` segments (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// `name=value` pairs as a query or a form has them. They may be secret.
pub(crate) fn pairs(pairs: &[(&str, &str)]) -> Zeroizing<String> {
    // Room for the worst case: growing would leave copies behind.
    let room = pairs.iter().map(|(name, value)| name.len() + 3 * value.len() + 2);
    let mut text = Zeroizing::new(String::with_capacity(room.sum()));
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

/// Percent-encodes all but RFC 3986's unreserved characters and the `/` and `:` of scopes.
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
