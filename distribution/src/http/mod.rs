// SPDX-License-Identifier: Apache-2.0
//! HTTP as registries and token servers use it: requests over kept connections, redirects, and
//! limits on everything a peer may send. Knows nothing of images or tokens.

mod body;
mod bypass;
mod carrier;
mod dial;
mod link;
mod pool;
mod proxy;
mod range;
mod request;
mod sender;
mod socks;
mod tls;
mod tunnel;
mod unverified;
mod url;
mod wait;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{StatusCode, Version};
use tokio::time::timeout;

use self::body::Lease;
use self::dial::Dialer;
use self::pool::{Key, Pool};
use self::request::{Form, request};
use self::sender::Sender;
use self::tunnel::Forwarded;
use crate::retry::{Retry, Tries};
use crate::{Error, ErrorKind};

pub(crate) use self::body::Body;
pub(crate) use self::link::next;
pub use self::proxy::Proxies;
pub(crate) use self::range::{Part, Wanted};
pub(crate) use self::tls::{Identity, Roots, Trust};
pub(crate) use self::url::{Origin, Url, pairs};
pub(crate) use self::wait::retry_after;

/// Redirects in a row. Registries use one, registries behind a load balancer two.
const MAX_REDIRECTS: usize = 5;
/// Bytes of an unwanted body that are read so that its connection can be used again.
const MAX_UNWANTED: usize = 16 << 10;

/// HTTP as one registry is spoken to. All handles of a client share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    common: Arc<Common>,
    home: Option<Arc<Home>>,
    pace: Pace,
}

#[derive(Debug)]
struct Common {
    dialer: Dialer,
    pool: Arc<Pool>,
    plain: HashSet<Origin>,
    trust: Arc<Trust>,
}

/// What is special about one registry.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) origin: Origin,
    /// In place of the client's: for this host, and for whatever it leads to.
    pub(crate) trust: Option<Arc<Trust>>,
    /// Sent to this origin only.
    pub(crate) headers: HeaderMap,
    /// This origin may be spoken to without TLS.
    pub(crate) plain: bool,
}

/// How long a peer is waited for, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The way to a connection.
    pub(crate) connect: Duration,
    /// Every wait for the peer after that.
    pub(crate) idle: Duration,
    pub(crate) retry: Retry,
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
    /// `plain` names the origins that may be spoken to without TLS.
    pub(crate) fn new(trust: Arc<Trust>, proxies: Proxies, plain: HashSet<Origin>, pace: Pace) -> Self {
        Self {
            common: Arc::new(Common {
                dialer: Dialer::new(proxies, Arc::clone(&trust)),
                pool: Arc::default(),
                plain,
                trust,
            }),
            home: None,
            pace,
        }
    }

    /// The same connections, for one registry.
    pub(crate) fn for_home(&self, home: Home, pace: Option<Pace>) -> Self {
        Self {
            common: Arc::clone(&self.common),
            home: Some(Arc::new(home)),
            pace: pace.unwrap_or(self.pace),
        }
    }

    fn trust(&self) -> &Trust {
        let own = self.home.as_ref().and_then(|home| home.trust.as_ref());
        own.unwrap_or(&self.common.trust)
    }

    fn may_be_plain(&self, origin: &Origin) -> bool {
        let home = self.home.as_ref();
        self.common.plain.contains(origin) || home.is_some_and(|home| home.plain && home.origin == *origin)
    }

    /// The tries that one thing is worth. Nothing in here tries by itself, but for a kept
    /// connection that turns out to be closed.
    pub(crate) fn tries(&self) -> Tries {
        Tries::new(self.pace.retry)
    }

    /// One request, one response, no redirect.
    pub(crate) async fn get(&self, ask: Ask<'_>) -> Result<Response, Error> {
        let origin = ask.url.origin();
        if origin.plain() && !self.may_be_plain(origin) {
            let message = format!("plain HTTP was not allowed for this host: `{origin}`");
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let trust = self.trust();
        let own = self
            .home
            .as_ref()
            .is_some_and(|home| home.origin.host() == origin.host());
        let key = Key {
            origin: origin.clone(),
            tls: if origin.plain() {
                0
            } else {
                trust.towards(own).id()
            },
        };
        let pool = &self.common.pool;
        // A kept connection may be closed already, and a form is not sent twice by chance.
        let kept = match ask.form {
            None => pool.take(&key),
            Some(_) => None,
        };
        if let Some(sender) = kept {
            match self.exchange(sender, key.clone(), ask).await {
                Err(failed) if failed.stale => {}
                outcome => return outcome.map_err(|failed| failed.error),
            }
        }
        let limit = self.pace.connect;
        let sender = self.common.dialer.dial(origin, trust, own, limit).await?;
        if let Some(other) = sender.share() {
            pool.put(key.clone(), other);
        }
        let outcome = self.exchange(sender, key, ask).await;
        outcome.map_err(|failed| failed.error)
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
            if next.origin().plain() && !url.origin().plain() && !self.may_be_plain(next.origin()) {
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

    async fn exchange(&self, mut sender: Sender, key: Key, ask: Ask<'_>) -> Result<Response, Failed> {
        let url = ask.url;
        tracing::debug!(%url, range = ?ask.range, "ask");
        let forwarded = sender.forwarded().cloned();
        let form = match &forwarded {
            Some(forwarded) => Form::Proxy(forwarded),
            None if sender.is_shared() => Form::Http2,
            None => Form::Http1,
        };
        let own = self.home.as_ref().filter(|home| home.origin == *url.origin());
        let headers = own.map(|home| &home.headers);
        let request = request(ask, form, headers).map_err(|error| Failed { error, stale: false })?;
        let idle = self.pace.idle;
        let outcome = timeout(idle, sender.send(request)).await;
        let pool = &self.common.pool;
        if sender.is_shared() && !matches!(outcome, Ok(Ok(_))) {
            pool.forget_shared(&key);
        }
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => return Err(failed(url, cause)),
            Err(_) => {
                let message = format!("no response from `{}` within {idle:?}", url.origin());
                return Err(Failed {
                    error: Error::new(ErrorKind::Timeout, message).passing(None),
                    stale: false,
                });
            }
        };
        let (head, incoming) = response.into_parts();
        if let Some(Forwarded { proxy, .. }) = forwarded
            && head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            let error = tunnel::refused(&proxy, head.status.as_u16(), "Proxy Authentication Required");
            return Err(Failed { error, stale: false });
        }
        tracing::debug!(%url, status = head.status.as_u16(), "response");
        let lease = Lease {
            pool: Arc::clone(pool),
            key,
            sender,
        };
        let body = Body::new(incoming, lease, idle);
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
