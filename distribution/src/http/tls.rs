// SPDX-License-Identifier: Apache-2.0
//! Whom TLS believes, and who we are to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::unverified::Unverified;
use super::url::Origin;
use crate::{Error, ErrorKind};

/// Bytes of one file of extra authorities; the whole Mozilla bundle has 0.3 MiB.
const MAX_PEM: usize = 4 << 20;

const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2 by its name in ALPN (RFC 9113 section 3.2).
#[cfg(feature = "http2")]
pub(crate) const H2: &[u8] = b"h2";

/// Certificate authorities, read once.
#[derive(Clone, Debug)]
pub(crate) struct Roots(RootCertStore);

/// One TLS configuration. What was connected with one is never used for another.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    id: u64,
    config: Arc<ClientConfig>,
}

/// How a registry and whatever it leads to are believed.
#[derive(Debug)]
pub(crate) struct Trust {
    /// To the registry's own host: with our certificate, if there is one for it.
    own: Tls,
    /// To all others: the same authorities, and no certificate of ours.
    other: Tls,
    roots: usize,
}

/// A certificate of our own and its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Roots {
    /// The authorities in the PEM texts, and the system's unless told otherwise.
    pub(crate) fn new(pems: &[Vec<u8>], system: bool) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        if system {
            let found = rustls_native_certs::load_native_certs();
            for problem in &found.errors {
                tracing::debug!(%problem, "a system certificate file was skipped");
            }
            roots.add_parsable_certificates(found.certs);
        }
        Self(roots).with(pems)
    }

    /// The same and some more.
    pub(crate) fn with(&self, pems: &[Vec<u8>]) -> Result<Self, Error> {
        let mut roots = self.0.clone();
        for pem in pems {
            add(&mut roots, pem)?;
        }
        Ok(Self(roots))
    }
}

impl Tls {
    /// The crypto provider is always named here, so no other crate's choice can matter.
    fn new(roots: &Roots, identity: Option<Identity>, verify: bool) -> Result<Self, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::new(ErrorKind::Tls, "no TLS version to offer").because(cause))?;
        let builder = match verify {
            true => builder.with_root_certificates(roots.0.clone()),
            false => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unverified::new(provider))),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key).map_err(|cause| {
                Error::new(
                    ErrorKind::Invalid,
                    "the client certificate and its key do not fit",
                )
                .because(cause)
            })?,
        };
        config.alpn_protocols = vec![HTTP1.to_vec()];
        #[cfg(feature = "http2")]
        config.alpn_protocols.insert(0, H2.to_vec());
        Ok(Self::of(config))
    }

    fn of(config: ClientConfig) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            config: Arc::new(config),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// The same for a peer that is to speak HTTP/1.1.
    pub(crate) fn without_http2(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![HTTP1.to_vec()];
        Arc::new(config)
    }
}

impl Trust {
    /// Without `verify` the registry itself may show any certificate.
    pub(crate) fn new(roots: &Roots, identity: Option<Identity>, verify: bool) -> Result<Self, Error> {
        let other = Tls::new(roots, None, true)?;
        let own = match identity.is_none() && verify {
            true => other.clone(),
            false => Tls::new(roots, identity, verify)?,
        };
        Ok(Self {
            own,
            other,
            roots: roots.0.len(),
        })
    }

    pub(crate) fn towards(&self, own: bool) -> &Tls {
        match own {
            true => &self.own,
            false => &self.other,
        }
    }

    /// The error for a failed handshake.
    pub(crate) fn refused(&self, origin: &Origin) -> Error {
        let error = Error::new(ErrorKind::Tls, format!("no TLS session with `{origin}`"));
        match self.roots {
            0 => error.hinting("no certificate authority is known: the system has none and none was given"),
            _ => error.hinting(
                "if the registry uses a private certificate authority, give its file; \
                 if it speaks plain HTTP, name the host for plain HTTP",
            ),
        }
    }
}

impl Identity {
    /// From the PEM texts of a certificate with its intermediates, and of its key. Both may be one.
    pub(crate) fn parse(certificate: &[u8], key: &[u8]) -> Result<Self, Error> {
        let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("client certificate: {why}"));
        if certificate.len() > MAX_PEM || key.len() > MAX_PEM {
            return Err(invalid("longer than 4 MiB"));
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|cause| invalid("not PEM").because(cause))?;
        if chain.is_empty() {
            return Err(invalid("the file holds no certificate"));
        }
        // No source: it is about a secret.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| invalid("the file holds no private key"))?;
        Ok(Self { chain, key })
    }
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), Error> {
    let invalid = |why: &str| Error::new(ErrorKind::Invalid, format!("certificate authority file: {why}"));
    if pem.len() > MAX_PEM {
        return Err(invalid("longer than 4 MiB"));
    }
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|cause| invalid("not PEM").because(cause))?;
        roots
            .add(certificate)
            .map_err(|cause| invalid("not a certificate").because(cause))?;
    }
    match roots.len() == before {
        true => Err(invalid("it holds no certificate")),
        false => Ok(()),
    }
}
