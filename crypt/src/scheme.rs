// SPDX-License-Identifier: Apache-2.0
//! Ways to wrap a layer's key.

use std::fmt;

/// How a layer's key is wrapped for those who may open it. Ordered as they are tried.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// By a key provider of this name: `provider.NAME`.
    Provider(String),
    /// JSON Web Encryption (RFC 7516).
    Jwe,
    /// Cryptographic Message Syntax (RFC 5652).
    Pkcs7,
    /// OpenPGP (RFC 4880).
    Pgp,
    /// A token with a PKCS #11 interface.
    Pkcs11,
    /// A way that this version has never heard of, by the end of its annotation's name.
    Other(String),
}

impl Scheme {
    /// From what follows `org.opencontainers.image.enc.keys.` in an annotation.
    pub(crate) fn new(name: &str) -> Scheme {
        match name {
            "jwe" => Scheme::Jwe,
            "pkcs7" => Scheme::Pkcs7,
            "pgp" => Scheme::Pgp,
            "pkcs11" => Scheme::Pkcs11,
            _ => match name.strip_prefix("provider.") {
                Some(provider) if !provider.is_empty() => Scheme::Provider(shown(provider)),
                _ => Scheme::Other(shown(name)),
            },
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scheme::Provider(name) => write!(f, "provider.{name}"),
            Scheme::Jwe => f.write_str("jwe"),
            Scheme::Pkcs7 => f.write_str("pkcs7"),
            Scheme::Pgp => f.write_str("pgp"),
            Scheme::Pkcs11 => f.write_str("pkcs11"),
            Scheme::Other(name) => f.write_str(name),
        }
    }
}

/// Characters of a name from outside that are kept; real providers have up to 20.
const SHOWN: usize = 64;

/// A name from outside, short and without control characters.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}
