// SPDX-License-Identifier: Apache-2.0
//! From what is asked to a request on the wire.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Uri};

use super::Ask;
use super::tunnel::Forwarded;
use crate::{Error, ErrorKind};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("image-client/", env!("CARGO_PKG_VERSION")));

/// How a request names its host.
pub(crate) enum Form<'a> {
    /// In a header.
    Http1,
    /// In the URL (RFC 9113 section 8.3.1).
    Http2,
    /// In both, for a proxy that forwards it (RFC 9112 section 3.2.2).
    Proxy(&'a Forwarded),
}

/// One request, as it is sent.
pub(crate) fn request(
    ask: Ask<'_>,
    form: Form<'_>,
    headers: Option<&HeaderMap>,
) -> Result<Request<Full<Bytes>>, Error> {
    let bad = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(ErrorKind::Invalid, "the request cannot be written").because(cause)
    };
    let (origin, path) = (ask.url.origin(), ask.url.request_target());
    let absolute = |scheme: Scheme| {
        let mut parts = path.clone().into_parts();
        parts.scheme = Some(scheme);
        parts.authority = Some(origin.authority().parse().map_err(|cause| bad(Box::new(cause)))?);
        Uri::from_parts(parts).map_err(|cause| bad(Box::new(cause)))
    };
    let mut request = Request::builder()
        .method(match (ask.head, ask.form) {
            (true, _) => Method::HEAD,
            (false, None) => Method::GET,
            (false, Some(_)) => Method::POST,
        })
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static(ask.accept))
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request = match form {
        Form::Http1 => request.uri(path.clone()).header(header::HOST, origin.authority()),
        Form::Http2 => request.uri(absolute(Scheme::HTTPS)?),
        Form::Proxy(forwarded) => {
            let request = request
                .uri(absolute(Scheme::HTTP)?)
                .header(header::HOST, origin.authority());
            match &forwarded.authorization {
                Some(authorization) => request.header(header::PROXY_AUTHORIZATION, authorization),
                None => request,
            }
        }
    };
    let replaced = |name: &HeaderName| ask.authorization.is_some() && *name == header::AUTHORIZATION;
    for (name, value) in headers.into_iter().flatten().filter(|(name, _)| !replaced(name)) {
        request = request.header(name, value);
    }
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
