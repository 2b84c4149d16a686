// SPDX-License-Identifier: Apache-2.0
//! registries.conf, version 2 (containers-registries.conf(5)).

use std::collections::BTreeMap;

use image_spec::Reference;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::prefix::Prefix;
use super::short::ShortNames;
use super::{Place, Serves};
use crate::error::clean;
use crate::{Error, ErrorKind};

/// Bytes of one file; a mirrored cluster's has some 50 KiB.
pub(crate) const MAX_FILE: u64 = 1 << 20;
/// Registries of one configuration.
const MAX_REGISTRIES: usize = 4096;
/// Mirrors of one registry. Each one that is dead may cost its connect time.
const MAX_MIRRORS: usize = 32;

/// What `registries.conf` says: which registries serve which names, which are blocked, and what
/// short names mean.
///
/// The library reads no such file unless told where one is. [`parse`](Self::parse) takes its text,
/// [`merge`](Self::merge) the text of a drop-in, [`load`](Self::load) does both from a disk.
///
/// Keys that mean nothing here are passed over with a warning, as other tools do; a known key
/// with a value of another type is an error.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: BTreeMap<Prefix, Entry>,
    names: ShortNames,
}

#[derive(Clone, Debug)]
struct Entry {
    location: Option<Location>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Clone, Debug)]
struct Mirror {
    location: Location,
    insecure: bool,
    pull: Pull,
}

/// What a mirror is for.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Pull {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// `host[:port][/path]`, in place of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Location(String);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: Vec<RawRegistry>,
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct RawRegistry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<RawMirror>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct RawMirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<Pull>,
}

/// The keys of a file, for a word about those that are not known.
#[derive(Deserialize)]
struct Keys {
    #[serde(default)]
    registry: Vec<BTreeMap<String, IgnoredAny>>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

impl Registries {
    /// Reads the TOML text of a file.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for what is no such file, with the place in it;
    /// [`TooLarge`](ErrorKind::TooLarge) over 1 MiB;
    /// [`Unsupported`](ErrorKind::Unsupported) for version 1 of the format.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() as u64 > MAX_FILE {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("longer than {MAX_FILE} bytes"),
            ));
        }
        let invalid =
            |cause: toml::de::Error| Error::new(ErrorKind::Invalid, "not a registries.conf").because(cause);
        let keys: Keys = toml::from_str(text).map_err(invalid)?;
        keys.check()?;
        let file: File = toml::from_str(text).map_err(invalid)?;
        let mut entries = BTreeMap::new();
        if file.registry.len() > MAX_REGISTRIES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("more than {MAX_REGISTRIES} registries"),
            ));
        }
        for raw in file.registry {
            let (prefix, entry) = raw.check()?;
            if entries.contains_key(&prefix) {
                let message = format!("two registries with one prefix: `{prefix}`");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            entries.insert(prefix, entry);
        }
        let names = ShortNames::new(
            file.unqualified_search_registries,
            file.short_name_mode,
            file.aliases,
        )?;
        Ok(Self { entries, names })
    }

    /// Adds what a later file says: its registries replace those of the same prefix, its search
    /// list and its short name mode replace those before, its aliases those of the same name.
    pub fn merge(&mut self, later: Self) {
        self.entries.extend(later.entries);
        self.names.merge(later.names);
    }

    /// The names that a short one such as `busybox` may stand for, by the aliases and the search
    /// list, in the order in which they are to be tried. None for a name with a registry, and
    /// where the configuration says nothing about short names: then it is Docker Hub's.
    ///
    /// # Errors
    ///
    /// [`Ambiguous`](ErrorKind::Ambiguous) for several where `short-name-mode` is `enforcing`,
    /// [`NotFound`](ErrorKind::NotFound) where the search list is empty,
    /// [`Invalid`](ErrorKind::Invalid) for what is no reference.
    pub fn candidates(&self, name: &str) -> Result<Option<Vec<Reference>>, Error> {
        self.names.candidates(name)
    }

    /// Where the image may be, in the order in which to ask, the place itself last.
    ///
    /// # Errors
    ///
    /// [`Denied`](ErrorKind::Denied) for what is blocked.
    pub(crate) fn places(&self, reference: &Reference) -> Result<Vec<Place>, Error> {
        let holding = self.entries.iter().filter(|(prefix, _)| prefix.holds(reference));
        let Some((prefix, entry)) = holding.max_by_key(|(prefix, _)| prefix.length()) else {
            return Ok(vec![Place::plainly(reference.registry(), reference.repository())]);
        };
        if entry.blocked {
            let message = format!("the configuration blocks `{prefix}`");
            return Err(Error::new(ErrorKind::Denied, message)
                .hinting("registries.conf or a drop-in of it has `blocked = true` for this prefix"));
        }
        let name = reference.name();
        let rest = prefix.rest(&name);
        let mut places = Vec::with_capacity(entry.mirrors.len() + 1);
        for mirror in &entry.mirrors {
            let serves = match mirror.pull {
                Pull::All => Serves::ALL,
                Pull::DigestOnly => Serves::DIGESTS,
                Pull::TagOnly if reference.digest().is_some() => continue,
                Pull::TagOnly => Serves::ALL,
            };
            places.push(Place {
                serves,
                insecure: mirror.insecure,
                ..mirror.location.place(rest)?
            });
        }
        let last = match &entry.location {
            Some(location) => location.place(rest)?,
            None => Place::plainly(reference.registry(), reference.repository()),
        };
        places.push(Place {
            insecure: entry.insecure,
            ..last
        });
        Ok(places)
    }
}

impl Keys {
    fn check(&self) -> Result<(), Error> {
        const TOP: &[&str] = &[
            "unqualified-search-registries",
            "short-name-mode",
            "aliases",
            "credential-helpers",
        ];
        const REGISTRY: &[&str] = &[
            "prefix",
            "location",
            "insecure",
            "blocked",
            "mirror-by-digest-only",
            "mirror",
        ];
        if self.others.contains_key("registries") {
            return Err(Error::unsupported("version 1 of registries.conf: `[registries]`"));
        }
        let others = self.others.keys().filter(|key| !TOP.contains(&key.as_str()));
        let inner = self.registry.iter().flat_map(BTreeMap::keys);
        for key in others.chain(inner.filter(|key| !REGISTRY.contains(&key.as_str()))) {
            tracing::warn!(key = clean(key), "unknown key in a registries.conf");
        }
        Ok(())
    }
}

impl RawRegistry {
    fn check(self) -> Result<(Prefix, Entry), Error> {
        let bad =
            |what: &str, value: &str| Error::new(ErrorKind::Invalid, format!("{what}: `{}`", clean(value)));
        let text = if self.prefix.is_empty() {
            &self.location
        } else {
            &self.prefix
        };
        if text.is_empty() {
            return Err(bad("a registry without prefix and location", ""));
        }
        let prefix = Prefix::parse(text).ok_or_else(|| bad("not a prefix of image names", text))?;
        let location = match self.location.as_str() {
            "" => None,
            text => Some(Location::parse(text).ok_or_else(|| bad("not a location", text))?),
        };
        if self.mirror.len() > MAX_MIRRORS {
            let message = format!("more than {MAX_MIRRORS} mirrors of `{prefix}`");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut mirrors = Vec::with_capacity(self.mirror.len());
        for mirror in self.mirror {
            let location = Location::parse(&mirror.location)
                .ok_or_else(|| bad("not a mirror's location", &mirror.location))?;
            let pull = match (self.mirror_by_digest_only, mirror.pull_from_mirror) {
                (true, None) => Pull::DigestOnly,
                (false, pull) => pull.unwrap_or_default(),
                (true, Some(_)) => {
                    let what = "mirror-by-digest-only and pull-from-mirror at once";
                    return Err(bad(what, &mirror.location));
                }
            };
            mirrors.push(Mirror {
                location,
                insecure: mirror.insecure,
                pull,
            });
        }
        let moved = location
            .as_ref()
            .is_some_and(|location| location.0 != prefix.to_string());
        if prefix.names_image() && (moved || !mirrors.is_empty()) {
            return Err(bad("a prefix with a tag or a digest can only be blocked", text));
        }
        let entry = Entry {
            location: location.filter(|_| moved),
            insecure: self.insecure,
            blocked: self.blocked,
            mirrors,
        };
        Ok((prefix, entry))
    }
}

impl Location {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches('/');
        // Whatever cannot follow is found out when a name is made of it.
        let (host, path) = text.split_once('/').unwrap_or((text, "x"));
        let reference: Reference = format!("{host}/{path}").parse().ok()?;
        let whole = host.eq_ignore_ascii_case(reference.registry()) && reference.repository().ends_with(path);
        (whole && reference.digest().is_none()).then(|| Self(text.to_owned()))
    }

    /// With the rest of a name behind it.
    fn place(&self, rest: &str) -> Result<Place, Error> {
        let text = format!("{}{rest}", self.0);
        let bad = |cause: image_spec::Error| {
            let message = format!("a location makes no name: `{}`", clean(&text));
            Error::new(ErrorKind::Invalid, message).because(cause)
        };
        let reference: Reference = text.parse().map_err(bad)?;
        Ok(Place::plainly(reference.registry(), reference.repository()))
    }
}
