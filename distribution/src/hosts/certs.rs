// SPDX-License-Identifier: Apache-2.0
//! Certificates for one registry, as `certs.d` folders hold them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use zeroize::Zeroizing;

use super::files;
use crate::http::{Identity, Roots, Trust};
use crate::{Error, ErrorKind};

/// Bytes of one file: an authority, a chain or a key.
const MAX_PEM: u64 = 4 << 20;

/// Whom to believe about one registry, and who we are to it.
///
/// The authorities are added to those that the client knows. They count for whatever the registry
/// leads to, as token servers and storage; our certificate is for the registry's own host.
#[derive(Clone, Default)]
pub struct HostTls {
    authorities: Vec<Vec<u8>>,
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// Where it comes from, for errors.
    place: String,
    trust: [OnceLock<Result<Arc<Trust>, String>>; 2],
}

impl HostTls {
    /// Nothing special.
    pub fn new() -> Self {
        Self::default()
    }

    /// Believes the authorities in this PEM text, too.
    #[must_use]
    pub fn ca_pem(mut self, pem: Vec<u8>) -> Self {
        self.authorities.push(pem);
        self
    }

    /// Shows this certificate, in PEM with its intermediates, to a registry that asks for one.
    #[must_use]
    pub fn identity_pem(mut self, certificate: Vec<u8>, key: Vec<u8>) -> Self {
        self.identity = Some((certificate, Zeroizing::new(key)));
        self
    }

    /// Reads a folder: each `*.crt` is an authority, `NAME.cert` and `NAME.key` are our
    /// certificate and its key; anything else is passed over. Blocks.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a certificate without key or a key without certificate,
    /// [`Unsupported`](ErrorKind::Unsupported) for more than one of our certificates, and those of
    /// reading. Whether the files hold what they should is found out when the registry is asked.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let mut found = Self {
            place: folder.display().to_string(),
            ..Self::default()
        };
        let mut pair: Option<PathBuf> = None;
        for path in files::entries(folder)? {
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            let other = match end {
                "crt" => {
                    found.authorities.push(files::read(&path, MAX_PEM)?);
                    continue;
                }
                "cert" => path.with_extension("key"),
                "key" => path.with_extension("cert"),
                _ => continue,
            };
            if !other.exists() {
                let message = format!("`{}` needs `{}` beside it", path.display(), other.display());
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            let stem = path.with_extension("");
            if pair.as_ref().is_some_and(|first| *first != stem) {
                return Err(Error::unsupported(format!(
                    "two client certificates for one registry: `{}`",
                    folder.display()
                )));
            }
            pair = Some(stem);
        }
        if let Some(stem) = pair {
            let certificate = files::read(&stem.with_extension("cert"), MAX_PEM)?;
            found = found.identity_pem(certificate, files::read(&stem.with_extension("key"), MAX_PEM)?);
        }
        Ok(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    /// The configuration for connections, made once. Without `verify` the registry's own host may
    /// be anybody.
    pub(crate) fn trust(&self, roots: &Roots, verify: bool) -> Result<Arc<Trust>, Error> {
        let make = || {
            let identity = self.identity.as_ref();
            let identity = identity
                .map(|(certificate, key)| Identity::parse(certificate, key))
                .transpose()?;
            Trust::new(&roots.with(&self.authorities)?, identity, verify).map(Arc::new)
        };
        let [unverified, verified] = &self.trust;
        let slot = if verify { verified } else { unverified };
        let made = slot.get_or_init(|| make().map_err(|error: Error| error.line()));
        made.clone().map_err(|text| {
            let error = Error::new(ErrorKind::Invalid, text);
            match self.place.is_empty() {
                true => error,
                false => error.doing(|| format!("certificates in `{}`", self.place)),
            }
        })
    }
}

impl fmt::Debug for HostTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTls")
            .field("authorities", &self.authorities.len())
            .field("identity", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}
