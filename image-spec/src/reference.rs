// SPDX-License-Identifier: Apache-2.0
//! Names of images in registries, by Docker's grammar and with Docker Hub's short forms.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    Digest, MAX_NAME, MAX_REFERENCE, MAX_TAG,
    error::{Error, ErrorKind},
};

const HUB: &str = "docker.io";
const HUB_OLD: &str = "index.docker.io";
const HUB_OFFICIAL: &str = "library";
const DEFAULT_TAG: &str = "latest";

/// An image in a registry, in canonical form: `registry/repository[:tag][@digest]`.
///
/// Parsing fills in what people leave out: `busybox` is `docker.io/library/busybox:latest`. The
/// canonical text parses to the same value. Host names mean the same in any case, so they are
/// written in lower case: a policy for `quay.io` holds for `QUAY.IO` too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and port: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. `latest` was filled in if the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest. Where it is present, it decides and the tag is only a note.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same name and tag, pinned to `digest`.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// # Errors
    /// `Ambiguous` for a bare image id or digest, `Limit` for what is too long, `Unsupported` for an
    /// unknown digest algorithm, `Syntax` for anything else outside the grammar.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |kind, what: &str| Error::new(kind, what.to_owned()).value(text);
        if text.len() > MAX_REFERENCE {
            return Err(bad(ErrorKind::Limit, "reference is too long"));
        }
        if is_id(text) || text.parse::<Digest>().is_ok() {
            return Err(bad(ErrorKind::Ambiguous, "an id names no repository"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let registry =
            host(registry).ok_or_else(|| bad(ErrorKind::Syntax, "malformed registry in reference"))?;
        let official = registry == HUB && !path.contains('/');
        let repository = if official {
            format!("{HUB_OFFICIAL}/{path}")
        } else {
            path.to_owned()
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad(ErrorKind::Syntax, "repository is not lower case"));
        }
        if !path.split('/').all(is_component) {
            return Err(bad(ErrorKind::Syntax, "malformed repository in reference"));
        }
        if repository.len() > MAX_NAME || registry.len() > MAX_NAME {
            return Err(bad(ErrorKind::Limit, "name is longer than 255 bytes"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(ErrorKind::Syntax, "malformed tag in reference"));
        }
        let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned);
        Ok(Self {
            registry,
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The part before the first slash is a host if it could not be a name on Docker Hub.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest)) if is_host_like(first) => (first, rest),
        _ => (HUB, text),
    }
}

fn is_host_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|b| b.is_ascii_uppercase())
}

/// The canonical host and port, if `text` is well formed.
fn host(text: &str) -> Option<String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    // A leading zero would be a second spelling of the same port.
    let good_port = |port: &str| {
        port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0') && port.parse::<u16>().is_ok()
    };
    let good_name = match name.strip_prefix('[') {
        Some(rest) => is_ipv6(rest.strip_suffix(']')?),
        None => name.split('.').all(is_label),
    };
    if !good_name || !port.is_none_or(good_port) {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        HUB_OLD => Some(HUB.to_owned()),
        // Only its capitals tell such a host from a name on Docker Hub.
        _ if !is_host_like(&lower) => Some(text.to_owned()),
        _ => Some(lower),
    }
}

/// An address without zone or embedded IPv4, which the grammar leaves out.
fn is_ipv6(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') && text.parse::<Ipv6Addr>().is_ok()
}

fn is_label(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    !text.is_empty() && !text.starts_with('-') && !text.ends_with('-') && text.bytes().all(good)
}

/// Lowercase letters and digits, in groups with one `.`, one or two `_`, or any number of `-`
/// between them.
fn is_component(text: &str) -> bool {
    let mut separator = "";
    let mut rest = text;
    loop {
        let group = rest.len()
            - rest
                .trim_start_matches(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                .len();
        if group == 0 || !(matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
        {
            return false;
        }
        let (_, after) = rest.split_at(group);
        if after.is_empty() {
            return true;
        }
        let length = after.len() - after.trim_start_matches(['.', '_', '-']).len();
        if length == 0 {
            return false;
        }
        (separator, rest) = after.split_at(length);
    }
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_id(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
