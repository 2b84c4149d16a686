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

use super::carrier::Carrier;
use super::proxy::{Kind, Proxies, Proxy};
use super::sender::Sender;
use super::socks::{self, Goal};
#[cfg(feature = "http2")]
use super::tls::H2;
use super::tls::Trust;
use super::tunnel::{self, Forwarded};
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
    proxies: Proxies,
    /// For proxies that are spoken to over TLS.
    trust: Arc<Trust>,
}

impl Dialer {
    pub(crate) fn new(proxies: Proxies, trust: Arc<Trust>) -> Self {
        Self { proxies, trust }
    }

    /// A connection to `origin`, with our certificate if it is the registry's `own` host. `limit`
    /// bounds each of name resolution with TCP, the way through a proxy, and TLS.
    pub(crate) async fn dial(
        &self,
        origin: &Origin,
        trust: &Trust,
        own: bool,
        limit: Duration,
    ) -> Result<Sender, Error> {
        let proxy = self.proxies.towards(origin);
        let link = match proxy {
            Some(proxy) => self.through(proxy, origin, limit).await?,
            None => Carrier::Tcp(tcp(origin, &format!("`{origin}`"), limit).await?),
        };
        if origin.plain() {
            let forwarded = match proxy {
                Some(proxy) if proxy.kind() == Kind::Http => Some(Forwarded {
                    proxy: Arc::clone(proxy),
                    authorization: proxy.authorization()?,
                }),
                _ => None,
            };
            return handshake(link, origin, forwarded).await;
        }
        let name = ServerName::try_from(origin.name().to_owned())
            .map_err(|cause| trust.refused(origin).because(cause))?;
        let connector = TlsConnector::from(Arc::clone(trust.towards(own).config()));
        let tls = timeout(limit, connector.connect(name, link))
            .await
            .map_err(|_| {
                late("TLS session", &format!("`{origin}`"), limit).hinting_as(&trust.refused(origin))
            })?
            .map_err(|cause| match is_verdict(&cause) {
                true => trust.refused(origin).because(cause),
                false => trust.refused(origin).because(cause).passing(None),
            })?;
        match tls.get_ref().1.alpn_protocol() {
            #[cfg(feature = "http2")]
            Some(H2) => handshake2(tls, origin).await,
            _ => handshake(tls, origin, None).await,
        }
    }

    /// A connection through a proxy to `origin`; for plain HTTP over an HTTP proxy only to the
    /// proxy, which forwards each request.
    async fn through(&self, proxy: &Proxy, origin: &Origin, limit: Duration) -> Result<Carrier, Error> {
        let slow = || {
            let message = format!("no way to `{origin}` through the proxy `{proxy}` within {limit:?}");
            Error::new(ErrorKind::Timeout, message).passing(None)
        };
        let Kind::Socks { names } = proxy.kind() else {
            let mut link = self.to(proxy, limit).await?;
            if !origin.plain() {
                let opening = tunnel::open(&mut link, proxy, origin);
                timeout(limit, opening).await.map_err(|_| slow())??;
            }
            return Ok(link);
        };
        let port = origin.port();
        let goals: Vec<Goal> = match origin.ip() {
            Some(ip) => vec![Goal::Address((ip, port).into())],
            None if names => vec![Goal::Name(origin.name().to_owned(), port)],
            None => timeout(limit, lookup_host((origin.name(), port)))
                .await
                .map_err(|_| slow())?
                .map_err(|cause| unreachable(&format!("`{origin}`")).because(cause))?
                .take(MAX_ADDRESSES)
                .map(Goal::Address)
                .collect(),
        };
        let mut failure = unreachable(&format!("`{origin}`: its name has no address"));
        for goal in goals {
            let mut link = self.to(proxy, limit).await?;
            match timeout(limit, socks::open(&mut link, proxy, &goal)).await {
                Ok(Ok(())) => return Ok(link),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = slow(),
            }
        }
        Err(failure.doing(|| format!("`{origin}`")))
    }

    /// A connection to a proxy.
    async fn to(&self, proxy: &Proxy, limit: Duration) -> Result<Carrier, Error> {
        let origin = proxy.origin();
        let shown = format!("the proxy `{proxy}`");
        let tcp = tcp(origin, &shown, limit).await?;
        if origin.plain() {
            return Ok(Carrier::Tcp(tcp));
        }
        let name = ServerName::try_from(origin.name().to_owned())
            .map_err(|cause| self.trust.refused(origin).because(cause))?;
        let connector = TlsConnector::from(self.trust.towards(false).without_http2());
        let tls = timeout(limit, connector.connect(name, tcp))
            .await
            .map_err(|_| late("TLS session", &shown, limit))?
            .map_err(|cause| {
                let error = Error::new(ErrorKind::Tls, format!("no TLS session with {shown}"));
                error.because(cause)
            })?;
        Ok(Carrier::Tls(Box::new(tls)))
    }
}

async fn tcp(origin: &Origin, shown: &str, limit: Duration) -> Result<TcpStream, Error> {
    timeout(limit, connect(origin))
        .await
        .map_err(|_| late("connection", shown, limit))?
        .map_err(|cause| unreachable(shown).because(cause))
}

fn late(step: &str, shown: &str, limit: Duration) -> Error {
    let message = format!("no {step} with {shown} within {limit:?}");
    Error::new(ErrorKind::Timeout, message).passing(None)
}

/// Whether TLS itself said no, about a certificate or a version. What remains is the network.
fn is_verdict(cause: &io::Error) -> bool {
    cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn unreachable(shown: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("no connection to {shown}")).passing(None)
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

async fn handshake<T>(io: T, origin: &Origin, forwarded: Option<Forwarded>) -> Result<Sender, Error>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|cause| unreachable(&format!("`{origin}`")).because(cause))?;
    drive(connection);
    Ok(Sender::Single(sender, forwarded))
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
        .map_err(|cause| unreachable(&format!("`{origin}`")).because(cause))?;
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
