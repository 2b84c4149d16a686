// SPDX-License-Identifier: Apache-2.0
//! HTTP as registries and token servers use it: requests over kept connections, redirects, and
//! limits on everything a peer may send. Knows nothing of images or tokens.

mod body;
mod dial;
mod link;
mod pool;
mod range;
mod sender;
mod tls;
mod url;
mod wait;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, StatusCode, Uri, Version};
use tokio::time::timeout;

use self::body::Lease;
use self::dial::Dialer;
use self::pool::Pool;
use self::sender::Sender;
use crate::retry::{Retry, Tries};
use crate::{Error, ErrorKind};

pub(crate) use self::body::Body;
pub(crate) use self::link::next;
pub(crate) use self::range::{Part, Wanted};
pub(crate) use self::tls::Trust;
pub(crate) use self::url::{Origin, Url, pairs};
pub(crate) use self::wait::retry_after;

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
    retry: Retry,
}

/// One GET or HEAD request, or a POST of a form.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) url: &'a Url,
    pub(crate) accept: &'static str,
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// Only the head of the response, without its body.
    pub(crate) head: bool,
    pub(crate) range: Option<Wanted>,
    /// Makes it a POST of this form, already encoded.
    pub(crate) form: Option<&'a Bytes>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(url: &'a Url, accept: &'static str) -> Self {
        Self {
            url,
            accept,
            authorization: None,
            head: false,
            range: None,
            form: None,
        }
    }
}

/// A response whose body has not been read.
#[derive(Debug)]
pub(crate) struct Response {
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    pub(crate) version: Version,
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
    pub(crate) fn new(
        trust: Trust,
        plain: HashSet<Origin>,
        connect: Duration,
        idle: Duration,
        retry: Retry,
    ) -> Self {
        Self {
            dialer: Dialer::new(trust, connect),
            pool: Arc::default(),
            plain,
            idle,
            retry,
        }
    }

    /// The tries that one thing is worth. Nothing in here tries by itself, but for a kept
    /// connection that turns out to be closed.
    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.retry)
    }

    /// One request, one response, no redirect.
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let origin = ask.url.origin();
        if origin.plain() && !self.plain.contains(origin) {
            let message = format!("plain HTTP was not allowed for this host: `{origin}`");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        // A kept connection may be closed already, and a form is not sent twice by chance.
        let kept = match ask.form {
            None => self.pool.take(origin),
            Some(_) => None,
        };
        if let Some(sender) = kept {
            match self.exchange(sender, ask).await {
                Err(failed) if failed.stale => {}
                outcome => return outcome.map_err(|failed| failed.error),
            }
        }
        let sender = self.dialer.dial(origin).await?;
        if let Some(other) = sender.share() {
            self.pool.put(origin.clone(), other);
        }
        self.exchange(sender, ask).await.map_err(|failed| failed.error)
    }

    /// The response at the end of at most [`MAX_REDIRECTS`] redirects. The authorization stays
    /// behind for good at the first change of origin. A form goes nowhere but where it was meant
    /// to: this is for requests without one.
    pub(crate) async fn follow(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let mut url = ask.url.clone();
        let mut authorization = ask.authorization;
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .get(Ask {
                    url: &url,
                    authorization,
                    form: None,
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
        tracing::debug!(%url, range = ?ask.range, "ask");
        let request = request(ask, sender.is_shared()).map_err(|error| Failed { error, stale: false })?;
        let outcome = timeout(self.idle, sender.send(request)).await;
        if sender.is_shared() && !matches!(outcome, Ok(Ok(_))) {
            self.pool.forget_shared(url.origin());
        }
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Err(failed(url, cause)),
            Err(_) => {
                let message = format!("no response from `{}` within {:?}", url.origin(), self.idle);
                return Err(Failed {
                    error: Error::new(ErrorKind::Timeout, message).passing(None),
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
            version: head.version,
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

/// `absolute`: HTTP/2 has the host in the URL (RFC 9113 section 8.3.1), HTTP/1.1 in a header.
fn request(ask: Ask<'_>, absolute: bool) -> Result<Request<Full<Bytes>>, Error> {
    let bad = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Invalid, "the request cannot be written").because(cause)
    };
    let (origin, path) = (ask.url.origin(), ask.url.request_target());
    let mut request = Request::builder()
        .method(match (ask.head, ask.form) {
            (true, _) => Method::HEAD,
            (false, None) => Method::GET,
            (false, Some(_)) => Method::POST,
        })
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static(ask.accept))
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request = match absolute {
        true => {
            let mut parts = path.clone().into_parts();
            parts.scheme = Some(Scheme::HTTPS);
            parts.authority = Some(origin.authority().parse().map_err(|cause| bad(Box::new(cause)))?);
            request.uri(Uri::from_parts(parts).map_err(|cause| bad(Box::new(cause)))?)
        }
        false => request.uri(path.clone()).header(header::HOST, origin.authority()),
    };
    if let Some(authorization) = ask.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if let Some(range) = ask.range {
        request = request.header(header::RANGE, range.header());
    }
    let body = ask.form.cloned().unwrap_or_default();
    if !body.is_empty() {
        request = request.header(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
    }
    request
        .body(Full::new(body))
        .map_err(|cause| bad(Box::new(cause)))
}

/// A request may be sent again on a new connection when a kept one broke before the response: the
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
        error: match cause.is_parse() {
            true => Error::new(kind, message).because(cause),
            false => Error::new(kind, message).because(cause).passing(None),
        },
    }
}

fn redirects(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
