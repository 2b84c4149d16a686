// SPDX-License-Identifier: Apache-2.0
//! Whose certificates are believed.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::url::Origin;
use crate::{Error, ErrorKind};

/// Bytes of one file of extra authorities; the whole Mozilla bundle has 0.3 MiB.
const MAX_PEM: usize = 4 << 20;

/// HTTP/2 by its name in ALPN (RFC 9113 section 3.2).
#[cfg(feature = "http2")]
pub(crate) const H2: &[u8] = b"h2";

/// A TLS configuration with its authorities.
#[derive(Debug)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    roots: usize,
}

impl Trust {
    /// Believes the authorities in the PEM texts, and the system's unless told otherwise.
    /// The crypto provider is always named here, so no other crate's choice can matter.
    pub(crate) fn new(pems: &[Vec<u8>], system: bool) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        if system {
            let found = rustls_native_certs::load_native_certs();
            for problem in &found.errors {
                tracing::debug!(%problem, "a system certificate file was skipped");
            }
            roots.add_parsable_certificates(found.certs);
        }
        for pem in pems {
            add(&mut roots, pem)?;
        }
        let count = roots.len();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::new(ErrorKind::Tls, "no TLS version to offer").because(cause))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        #[cfg(feature = "http2")]
        config.alpn_protocols.insert(0, H2.to_vec());
        Ok(Self {
            config: Arc::new(config),
            roots: count,
        })
    }

    pub(crate) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
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
