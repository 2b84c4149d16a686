// SPDX-License-Identifier: Apache-2.0
//! Which proxy a connection goes through, if any.

use std::fmt;
use std::sync::Arc;

use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use super::bypass::Bypass;
use super::url::Origin;
use crate::{Credential, Error, ErrorKind};

/// Bytes of a proxy's URL, user and password included.
const MAX_URL: usize = 4 << 10;

/// How connections leave: directly unless a proxy is set for them.
///
/// A proxy is written as a URL: `http://`, `https://` (TLS to the proxy itself), `socks5://` (names
/// are resolved here) or `socks5h://` (by the proxy), then `[user:password@]host[:port]`, the
/// port 80, 443 or 1080 unless written. Without a scheme it is `http://`. User and password are
/// percent-encoded where they must be, go to the proxy only, and are never shown.
///
/// Registries with TLS are reached through HTTP proxies by CONNECT, so the proxy sees host and
/// port only. Plain HTTP it forwards, and sees all of.
///
/// Loopback addresses and `localhost` are never reached through a proxy, unless
/// [`with_loopback`](Self::with_loopback) says so.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    http: Option<Arc<Proxy>>,
    https: Option<Arc<Proxy>>,
    bypass: Bypass,
    loopback: bool,
}

/// One proxy.
pub(crate) struct Proxy {
    kind: Kind,
    origin: Origin,
    user: Option<User>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP, over TLS or not as the origin says.
    Http,
    Socks {
        /// The proxy gets names, not addresses.
        names: bool,
    },
}

pub(crate) struct User {
    pub(crate) name: Zeroizing<String>,
    pub(crate) password: Zeroizing<String>,
}

impl Proxies {
    /// No proxy at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// What the environment says: `HTTPS_PROXY`, `HTTP_PROXY`, for what they leave open
    /// `ALL_PROXY`, and `NO_PROXY`, each also in lower case. `get` looks a variable up. Entries
    /// of `NO_PROXY` that cannot be read are passed over with a warning.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no proxy's URL; its text is not repeated.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let find = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .find_map(|name| get(name).filter(|value| !value.is_empty()))
        };
        let proxy = |name: &str| {
            let url = Zeroizing::new(find(name).or_else(|| find("ALL_PROXY")).unwrap_or_default());
            match url.is_empty() {
                true => Ok(None),
                false => Proxy::parse(&url)
                    .map(Some)
                    .map_err(|error| error.doing(|| format!("`{name}`"))),
            }
        };
        Ok(Self {
            http: proxy("HTTP_PROXY")?,
            https: proxy("HTTPS_PROXY")?,
            bypass: Bypass::parse(&find("NO_PROXY").unwrap_or_default(), true)?,
            loopback: false,
        })
    }

    /// This proxy for everything.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no proxy's URL; its text is not repeated.
    pub fn all(mut self, url: &str) -> Result<Self, Error> {
        let proxy = Proxy::parse(url)?;
        self.http = Some(Arc::clone(&proxy));
        self.https = Some(proxy);
        Ok(self)
    }

    /// This proxy for plain HTTP.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    pub fn http(mut self, url: &str) -> Result<Self, Error> {
        self.http = Some(Proxy::parse(url)?);
        Ok(self)
    }

    /// This proxy for HTTPS.
    ///
    /// # Errors
    ///
    /// As [`all`](Self::all).
    pub fn https(mut self, url: &str) -> Result<Self, Error> {
        self.https = Some(Proxy::parse(url)?);
        Ok(self)
    }

    /// Hosts to reach directly, in place of those before: names (with all names under them),
    /// `.suffix`, `*.suffix`, addresses, networks like `10.0.0.0/8`, each of the first three with
    /// a `:port` if wanted, or `*`; with commas or blanks between them. Names are not resolved to
    /// be compared with networks.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an entry that is none of these,
    /// [`TooLarge`](ErrorKind::TooLarge) over 64 KiB.
    pub fn except(mut self, list: &str) -> Result<Self, Error> {
        self.bypass = Bypass::parse(list, false)?;
        Ok(self)
    }

    /// Loopback through the proxy too.
    #[must_use]
    pub fn with_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    pub(crate) fn towards(&self, origin: &Origin) -> Option<&Arc<Proxy>> {
        let proxy = if origin.plain() { &self.http } else { &self.https };
        let direct = origin.loopback() && !self.loopback || self.bypass.holds(origin);
        proxy.as_ref().filter(|_| !direct)
    }
}

impl Proxy {
    fn parse(url: &str) -> Result<Arc<Self>, Error> {
        let bad = |why: &str| Error::new(ErrorKind::Invalid, format!("a proxy's URL {why}"));
        if url.len() > MAX_URL {
            return Err(bad("is longer than 4 KiB"));
        }
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let (kind, plain, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, true, None),
            "https" => (Kind::Http, false, None),
            "socks5" => (Kind::Socks { names: false }, true, Some(1080)),
            "socks5h" => (Kind::Socks { names: true }, true, Some(1080)),
            _ => return Err(bad("is none of http, https, socks5 and socks5h")),
        };
        let (rest, path) = rest.split_once(['/', '?', '#']).unwrap_or((rest, ""));
        if !path.is_empty() {
            return Err(bad("has a path"));
        }
        let (user, host) = match rest.rsplit_once('@') {
            Some((user, host)) => (
                Some(User::parse(user).ok_or_else(|| bad("has a malformed user"))?),
                host,
            ),
            None => (None, rest),
        };
        let mut origin = Origin::new(host, plain).map_err(|_| bad("names no host"))?;
        // The default of the scheme: an origin knows those of HTTP only.
        if let Some(port) = port.filter(|_| !has_port(host)) {
            origin = Origin::new(&format!("{host}:{port}"), plain).map_err(|_| bad("names no host"))?;
        }
        Ok(Arc::new(Self { kind, origin, user }))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The Proxy-Authorization header.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let basic = |user: &User| Credential::basic(user.name.as_str(), user.password.as_str()).header();
        self.user.as_ref().map(basic).transpose()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Http => self.origin.fmt(f),
            Kind::Socks { names } => {
                let scheme = if names { "socks5h" } else { "socks5" };
                write!(f, "{scheme}://{}:{}", self.origin.host(), self.origin.port())
            }
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl User {
    fn parse(text: &str) -> Option<Self> {
        let (name, password) = text.split_once(':').unwrap_or((text, ""));
        Some(Self {
            name: decode(name)?,
            password: decode(password)?,
        })
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Percent-decodes.
fn decode(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    let printable = text.chars().all(|c| !c.is_control());
    printable.then(|| Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_secrets() {
        for (url, shown) in [
            ("http://p", "http://p"),
            ("p:3128", "http://p:3128"),
            ("HTTP://p:3128/", "http://p:3128"),
            ("https://u:secret@p", "https://p"),
            ("socks5://p", "socks5://p:1080"),
            ("socks5h://u:secret@[::1]:9", "socks5h://[::1]:9"),
            ("socks5://[::1]", "socks5://[::1]:1080"),
        ] {
            let proxy = Proxy::parse(url).unwrap();
            assert_eq!(format!("{proxy}"), shown);
            assert_eq!(
                format!("{:?}", Proxies::none().all(url).unwrap())
                    .matches(shown)
                    .count(),
                2
            );
        }
        for url in [
            "ftp://p",
            "http://",
            "http://p/path",
            "http://a b",
            "http://u:%zz@p",
            "http://u%00:x@p",
        ] {
            let error = Proxy::parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(!error.to_string().contains(url), "{error}");
        }
    }

    #[test]
    fn users_are_decoded_and_split_at_the_last_at() {
        let proxy = Proxy::parse("http://a%40b:p:q%2F@r@host").unwrap();
        let user = proxy.user().unwrap();
        assert_eq!((user.name.as_str(), user.password.as_str()), ("a@b", "p:q/@r"));
        assert_eq!(proxy.origin().name(), "host");
    }

    #[test]
    fn the_environment_is_read_as_other_tools_do() {
        let env = |pairs: &'static [(&str, &str)]| {
            Proxies::from_env(move |name| {
                let pair = pairs.iter().find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        let through = |proxies: &Proxies, url: &str| {
            let (scheme, host) = url.split_once("://").unwrap();
            let origin = Origin::new(host, scheme == "http").unwrap();
            proxies.towards(&origin).map(|proxy| proxy.origin().port())
        };
        let proxies = env(&[
            ("HTTPS_PROXY", "a:1"),
            ("https_proxy", "a:2"),
            ("http_proxy", "a:3"),
            ("ALL_PROXY", "a:4"),
            ("no_proxy", "direct.example,<local>"),
        ])
        .unwrap();
        assert_eq!(through(&proxies, "https://x.example"), Some(1));
        assert_eq!(through(&proxies, "http://x.example"), Some(3));
        for url in [
            "https://direct.example",
            "https://localhost",
            "http://127.0.0.9:5000",
            "http://[::1]",
        ] {
            assert_eq!(through(&proxies, url), None, "{url}");
        }
        assert_eq!(through(&proxies.clone().with_loopback(), "http://[::1]"), Some(3));
        let proxies = env(&[("HTTPS_PROXY", ""), ("all_proxy", "socks5://a:5")]).unwrap();
        assert_eq!(through(&proxies, "https://x.example"), Some(5));
        assert_eq!(through(&proxies, "http://x.example"), Some(5));
        assert_eq!(through(&env(&[]).unwrap(), "http://x.example"), None);
        let error = env(&[("HTTP_PROXY", "gopher://u:secret@p")]).unwrap_err();
        assert!(error.to_string().starts_with("`HTTP_PROXY`: ") && !error.to_string().contains("secret"));
    }
}
