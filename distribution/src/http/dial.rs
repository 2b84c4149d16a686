// SPDX-License-Identifier: Apache-2.0
//! From an origin to an HTTP connection: name, TCP, TLS, handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
#[cfg(feature = "http2")]
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
#[cfg(feature = "http2")]
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sender::Sender;
#[cfg(feature = "http2")]
use super::tls::H2;
use super::tls::Trust;
use super::url::Origin;
use crate::{Error, ErrorKind};

/// Bytes of a response's head. Storage services send a few KiB; hyper also takes at most 100 headers.
const MAX_HEAD: usize = 64 << 10;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Head start of each address over the next one (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Bytes that a peer may send ahead of one body's reader: 200 MB/s at a round trip of 20 ms.
#[cfg(feature = "http2")]
const STREAM_WINDOW: u32 = 4 << 20;
/// The same for all bodies of a connection: a few layers that wait for their disk must not keep
/// the others waiting.
#[cfg(feature = "http2")]
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A busy connection that shares its fate with several requests is asked this often for a sign of life.
#[cfg(feature = "http2")]
const PING: Duration = Duration::from_secs(20);

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
            .passing(None)
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
        .map_err(|cause| match is_verdict(&cause) {
            true => self.trust.refused(origin).because(cause),
            false => self.trust.refused(origin).because(cause).passing(None),
        })?;
        match tls.get_ref().1.alpn_protocol() {
            #[cfg(feature = "http2")]
            Some(H2) => handshake2(tls, origin).await,
            _ => handshake(tls, origin).await,
        }
    }
}

/// Whether TLS itself said no, about a certificate or a version. What remains is the network.
fn is_verdict(cause: &io::Error) -> bool {
    cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn unreachable(origin: &Origin) -> Error {
    Error::new(ErrorKind::Unreachable, format!("no connection to `{origin}`")).passing(None)
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
    drive(connection);
    Ok(Sender::Single(sender))
}

#[cfg(feature = "http2")]
async fn handshake2<T>(io: T, origin: &Origin) -> Result<Sender, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(PING)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|cause| unreachable(origin).because(cause))?;
    drive(connection);
    Ok(Sender::Shared(sender))
}

/// Runs a connection until its last sender and its last body are gone.
fn drive(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(cause) = connection.await {
            tracing::debug!(%cause, "connection closed");
        }
    });
}
