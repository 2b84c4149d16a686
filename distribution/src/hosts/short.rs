// SPDX-License-Identifier: Apache-2.0
//! Names without a registry, by registries.conf.

use std::collections::BTreeMap;

use image_spec::Reference;

use crate::error::clean;
use crate::{Error, ErrorKind};

/// Registries that are searched for one name.
const MAX_SEARCHED: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct ShortNames {
    search: Option<Vec<String>>,
    mode: Option<Mode>,
    /// An empty one takes back one of an earlier file.
    aliases: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Aliases, and only one registry to search.
    Enforcing,
    /// Aliases, then each registry that is searched.
    #[default]
    Permissive,
    /// Each registry that is searched.
    Disabled,
}

impl ShortNames {
    pub(crate) fn new(
        search: Option<Vec<String>>,
        mode: Option<String>,
        aliases: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let bad = |what: &str, text: &str| {
            Err(Error::new(
                ErrorKind::Invalid,
                format!("{what}: `{}`", clean(text)),
            ))
        };
        if search.as_ref().is_some_and(|search| search.len() > MAX_SEARCHED) {
            let message = format!("more than {MAX_SEARCHED} registries are searched");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        for host in search.iter().flatten() {
            if is_short(&format!("{host}/x")) || joined(host, "x").is_err() {
                return bad("no registry to search", host);
            }
        }
        for (alias, name) in &aliases {
            if !is_short(alias) || tail(alias).is_some() || alias.parse::<Reference>().is_err() {
                return bad("not a short name", alias);
            }
            if !name.is_empty()
                && (is_short(name) || tail(name).is_some() || name.parse::<Reference>().is_err())
            {
                return bad("an alias stands for no full name without tag and digest", name);
            }
        }
        let mode = match mode.as_deref() {
            None | Some("") => None,
            Some("enforcing") => Some(Mode::Enforcing),
            Some("permissive") => Some(Mode::Permissive),
            Some("disabled") => Some(Mode::Disabled),
            Some(other) => return bad("no short-name-mode", other),
        };
        Ok(Self {
            search,
            mode,
            aliases,
        })
    }

    pub(crate) fn merge(&mut self, later: Self) {
        self.search = later.search.or(self.search.take());
        self.mode = later.mode.or(self.mode);
        self.aliases.extend(later.aliases);
    }

    pub(crate) fn candidates(&self, name: &str) -> Result<Option<Vec<Reference>>, Error> {
        if !is_short(name) {
            return Ok(None);
        }
        let mode = self.mode.unwrap_or_default();
        let end = tail(name).unwrap_or(name.len());
        let (bare, tail) = name.split_at_checked(end).unwrap_or((name, ""));
        let alias = self.aliases.get(bare).filter(|full| !full.is_empty());
        if let Some(full) = alias.filter(|_| mode != Mode::Disabled) {
            return joined_text(&format!("{full}{tail}")).map(|found| Some(vec![found]));
        }
        let Some(search) = &self.search else {
            return Ok(None);
        };
        let found = search
            .iter()
            .map(|host| joined(host, name))
            .collect::<Result<Vec<_>, _>>()?;
        let shown = || format!("`{}`", clean(name));
        match found.as_slice() {
            [] => Err(Error::new(
                ErrorKind::NotFound,
                format!(
                    "no alias and no registry to search for the short name {}",
                    shown()
                ),
            )
            .hinting("write the name with its registry")),
            [_, _, ..] if mode == Mode::Enforcing => {
                let names: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
                let message = format!("the short name {} may stand for {}", shown(), names.join(", "));
                Err(Error::new(ErrorKind::Ambiguous, message).hinting("write the name with its registry"))
            }
            _ => Ok(Some(found)),
        }
    }
}

fn joined(host: &str, name: &str) -> Result<Reference, Error> {
    joined_text(&format!("{host}/{name}"))
}

fn joined_text(text: &str) -> Result<Reference, Error> {
    text.parse().map_err(|cause: image_spec::Error| {
        Error::new(
            ErrorKind::Invalid,
            format!("not an image's name: `{}`", clean(text)),
        )
        .because(cause)
    })
}

/// Whether no registry stands at the name's beginning, by the rule of all tools: a host has a dot
/// or a port, or is `localhost`.
fn is_short(name: &str) -> bool {
    match name.split_once('/') {
        Some((first, _)) => {
            let capital = first.bytes().any(|b| b.is_ascii_uppercase());
            !(first.contains(['.', ':']) || first == "localhost" || capital)
        }
        None => true,
    }
}

/// Where the tag or the digest begins.
fn tail(name: &str) -> Option<usize> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    Some(start + name.get(start..)?.find([':', '@'])?)
}
