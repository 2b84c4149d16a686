// SPDX-License-Identifier: Apache-2.0
//! The sending half of a connection, in either version of HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
#[cfg(feature = "http2")]
use hyper::client::conn::http2;
use hyper::{Request, Response};

use super::tunnel::Forwarded;

/// An open connection that requests can be sent over.
#[derive(Debug)]
pub(crate) enum Sender {
    /// HTTP/1.1: one request after the other. Some end at a proxy which forwards them.
    Single(http1::SendRequest<Full<Bytes>>, Option<Forwarded>),
    /// HTTP/2: any number of requests at once.
    #[cfg(feature = "http2")]
    Shared(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Single(sender, _) => sender.is_closed(),
            #[cfg(feature = "http2")]
            Self::Shared(sender) => sender.is_closed(),
        }
    }

    /// Another handle, where the connection serves several requests at once.
    pub(crate) fn share(&self) -> Option<Self> {
        match self {
            Self::Single(..) => None,
            #[cfg(feature = "http2")]
            Self::Shared(sender) => Some(Self::Shared(sender.clone())),
        }
    }

    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Single(..) => false,
            #[cfg(feature = "http2")]
            Self::Shared(_) => true,
        }
    }

    /// What a proxy wants that forwards the requests.
    pub(crate) fn forwarded(&self) -> Option<&Forwarded> {
        match self {
            Self::Single(_, forwarded) => forwarded.as_ref(),
            #[cfg(feature = "http2")]
            Self::Shared(_) => None,
        }
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Single(sender, _) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            #[cfg(feature = "http2")]
            Self::Shared(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}
