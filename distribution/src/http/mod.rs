// SPDX-License-Identifier: Apache-2.0
//! HTTP as registries use it: bodiless GET requests over kept connections, redirects, and
//! limits on everything a peer may send. Knows nothing of images or tokens.

mod body;
mod dial;
mod pool;
mod tls;
mod url;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use self::body::Lease;
use self::dial::{Dialer, Sender};
use self::pool::Pool;
use crate::{Error, ErrorKind};

pub(crate) use self::body::Body;
pub(crate) use self::tls::Trust;
pub(crate) use self::url::{Origin, Url};

/// Redirects in a row. Registries use one, registries behind a load balancer two.
const MAX_REDIRECTS: usize = 5;
/// Bytes of an unwanted body that are read so that its connection can be used again.
const MAX_UNWANTED: usize = 16 << 10;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("image-client/", env!("CARGO_PKG_VERSION")));

/// The connections of one client.
#[derive(Debug)]
pub(crate) struct Http {
    dialer: Dialer,
    pool: Arc<Pool>,
    plain: HashSet<Origin>,
    idle: Duration,
}

/// One GET request.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<&'a HeaderValue>,
}

/// A response whose body has not been read.
#[derive(Debug)]
pub(crate) struct Response {
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// A failed exchange and whether a new connection may mend it.
struct Failed {
    error: Error,
    stale: bool,
}

impl Http {
    /// `plain` names the origins that may be spoken to without TLS; `connect` bounds the way to a
    /// connection, `idle` every wait for the peer after that.
    pub(crate) fn new(trust: Trust, plain: HashSet<Origin>, connect: Duration, idle: Duration) -> Self {
        Self {
            dialer: Dialer::new(trust, connect),
            pool: Arc::default(),
            plain,
            idle,
        }
    }

    /// One request, one response, no redirect.
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let origin = ask.url.origin();
        if origin.plain() && !self.plain.contains(origin) {
            let message = format!("plain HTTP was not allowed for this host: `{origin}`");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        if let Some(sender) = self.pool.take(origin) {
            match self.exchange(sender, ask).await {
                Err(failed) if failed.stale => {}
                outcome => return outcome.map_err(|failed| failed.error),
            }
        }
        let sender = self.dialer.dial(origin).await?;
        self.exchange(sender, ask).await.map_err(|failed| failed.error)
    }

    /// The response at the end of at most [`MAX_REDIRECTS`] redirects. The authorization stays
    /// behind for good at the first change of origin.
    pub(crate) async fn follow(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let mut url = ask.url.clone();
        let mut authorization = ask.authorization;
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .get(Ask {
                    url: &url,
                    authorization,
                    ..ask
                })
                .await?;
            if !redirects(response.status) {
                return Ok(response);
            }
            let bad = || {
                Error::new(
                    ErrorKind::BadResponse,
                    format!("a redirect of `{url}` leads nowhere"),
                )
            };
            let location = response.headers.get(header::LOCATION).ok_or_else(bad)?;
            let location = location.to_str().map_err(|_| bad())?;
            let next = url.join(location).map_err(|cause| bad().because(cause))?;
            if next.origin().plain() && !url.origin().plain() && !self.plain.contains(next.origin()) {
                let message = format!("a redirect leaves TLS: `{url}` to `{next}`");
                return Err(Error::new(ErrorKind::Denied, message));
            }
            if next.origin() != url.origin() {
                authorization = None;
            }
            response.discard().await;
            url = next;
        }
        Err(Error::new(
            ErrorKind::BadResponse,
            format!("more than {MAX_REDIRECTS} redirects: `{}`", ask.url),
        ))
    }

    async fn exchange(&self, mut sender: Sender, ask: Ask<'_>) -> Result<Response, Failed> {
        let url = ask.url;
        tracing::debug!(%url, "get");
        let request = request(ask).map_err(|error| Failed { error, stale: false })?;
        let asking = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let response = match timeout(self.idle, asking).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Err(failed(url, cause)),
            Err(_) => {
                let message = format!("no response from `{}` within {:?}", url.origin(), self.idle);
                return Err(Failed {
                    error: Error::new(ErrorKind::Timeout, message),
                    stale: false,
                });
            }
        };
        let (head, incoming) = response.into_parts();
        tracing::debug!(%url, status = head.status.as_u16(), "response");
        let lease = Lease {
            pool: Arc::clone(&self.pool),
            origin: url.origin().clone(),
            sender,
        };
        let body = Body::new(incoming, lease, self.idle);
        Ok(Response {
            url: url.clone(),
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

impl Response {
    /// Reads a short body to its end, for the sake of the connection.
    pub(crate) async fn discard(self) {
        self.body.peek(MAX_UNWANTED).await;
    }
}

fn request(ask: Ask<'_>) -> Result<Request<Empty<Bytes>>, Error> {
    let mut request = Request::get(ask.url.request_target().clone())
        .header(header::HOST, ask.url.origin().authority())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static(ask.accept))
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(authorization) = ask.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request
        .body(Empty::new())
        .map_err(|cause| Error::new(ErrorKind::Invalid, "the request cannot be written").because(cause))
}

/// A GET may be sent again on a new connection when a kept one broke before the response: the
/// peer had most likely closed it already.
fn failed(url: &Url, cause: hyper::Error) -> Failed {
    let origin = url.origin();
    let (kind, message) = match cause.is_parse() {
        true => (
            ErrorKind::BadResponse,
            format!("no HTTP response from `{origin}`"),
        ),
        false => (
            ErrorKind::Unreachable,
            format!("`{origin}` closed the connection before its response"),
        ),
    };
    Failed {
        stale: !cause.is_parse(),
        error: Error::new(kind, message).because(cause),
    }
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
