// SPDX-License-Identifier: Apache-2.0
//! From an origin to an HTTP connection: name, TCP, TLS, handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::tls::Trust;
use super::url::Origin;
use crate::{Error, ErrorKind};

/// Bytes of a response's head. Storage services send a few KiB; hyper also takes at most 100 headers.
const MAX_HEAD: usize = 64 << 10;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Head start of each address over the next one (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The sending half of a connection; all requests are bodiless.
pub(crate) type Sender = http1::SendRequest<Empty<Bytes>>;

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    trust: Trust,
    limit: Duration,
}

impl Dialer {
    /// `limit` bounds each of name resolution with TCP, and TLS.
    pub(crate) fn new(trust: Trust, limit: Duration) -> Self {
        Self { trust, limit }
    }

    pub(crate) async fn dial(&self, origin: &Origin) -> Result<Sender, Error> {
        let late = |step: &str| {
            Error::new(
                ErrorKind::Timeout,
                format!("no {step} with `{origin}` within {:?}", self.limit),
            )
        };
        let tcp = timeout(self.limit, connect(origin))
            .await
            .map_err(|_| late("connection"))?
            .map_err(|cause| unreachable(origin).because(cause))?;
        if origin.plain() {
            return handshake(tcp, origin).await;
        }
        let name = ServerName::try_from(origin.name().to_owned())
            .map_err(|cause| self.trust.refused(origin).because(cause))?;
        let tls = timeout(
            self.limit,
            TlsConnector::from(Arc::clone(self.trust.config())).connect(name, tcp),
        )
        .await
        .map_err(|_| late("TLS session").hinting_as(&self.trust.refused(origin)))?
        .map_err(|cause| self.trust.refused(origin).because(cause))?;
        handshake(tls, origin).await
    }
}

fn unreachable(origin: &Origin) -> Error {
    Error::new(ErrorKind::Unreachable, format!("no connection to `{origin}`"))
}

/// Races the addresses of a name: the next one starts when one fails or after a moment, so that
/// a dead address family costs that moment and not the whole limit.
async fn connect(origin: &Origin) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((origin.name(), origin.port()))
        .await?
        .take(MAX_ADDRESSES);
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let patience = match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                HEAD_START
            }
            None => Duration::MAX,
        };
        match timeout(patience, attempts.join_next()).await {
            Err(_) => {}
            Ok(None) => return Err(failure),
            Ok(Some(outcome)) => match outcome.map_err(io::Error::other).flatten() {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(cause) => failure = cause,
            },
        }
    }
}

async fn handshake<T>(io: T, origin: &Origin) -> Result<Sender, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|cause| unreachable(origin).because(cause))?;
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            tracing::debug!(%cause, "connection closed");
        }
    });
    Ok(sender)
}
