// SPDX-License-Identifier: Apache-2.0
//! Through an HTTP proxy by CONNECT (RFC 9110 section 9.3.6).

use std::io;
use std::sync::Arc;

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::proxy::Proxy;
use super::url::Origin;
use crate::error::clean;
use crate::{Error, ErrorKind};

/// Bytes of the head of a proxy's answer.
const MAX_HEAD: usize = 16 << 10;

/// Turns a connection to a proxy into one to `origin`.
pub(crate) async fn open<T>(link: &mut T, proxy: &Proxy, origin: &Origin) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let target = format!("{}:{}", origin.host(), origin.port());
    let mut request = Zeroizing::new(format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}",
        concat!("User-Agent: image-client/", env!("CARGO_PKG_VERSION"), "\r\n")
    ));
    if let Some(authorization) = proxy.authorization()? {
        let text = authorization.to_str().unwrap_or_default();
        request.reserve_exact(text.len() + 32);
        request.push_str("Proxy-Authorization: ");
        request.push_str(text);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let cut = |cause: io::Error| {
        Error::new(
            ErrorKind::Unreachable,
            format!("the proxy `{proxy}` closed the connection before its answer"),
        )
        .because(cause)
        .passing(None)
    };
    link.write_all(request.as_bytes()).await.map_err(cut)?;
    link.flush().await.map_err(cut)?;
    let odd = |why: &str| {
        let message = format!("the proxy `{proxy}` answered {why}");
        Error::new(ErrorKind::BadResponse, message)
    };
    let mut head = Vec::with_capacity(512);
    let end = loop {
        if link.read_buf(&mut head).await.map_err(cut)? == 0 {
            return Err(cut(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > MAX_HEAD {
            return Err(odd("with an endless head"));
        }
    };
    let (line, _) = std::str::from_utf8(&head)
        .unwrap_or_default()
        .split_once("\r\n")
        .unwrap_or_default();
    let mut words = line.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    let status: u16 = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default();
    if !version.starts_with("HTTP/1.") {
        return Err(odd("no HTTP"));
    }
    match status {
        // Nobody has spoken to the registry yet, so it cannot have said anything.
        200..=299 if head.len() > end => Err(odd("with more than its head")),
        200..=299 => Ok(()),
        _ => Err(refused(proxy, status, words.next().unwrap_or_default())),
    }
}

/// The error for a status of the proxy's own.
pub(crate) fn refused(proxy: &Proxy, status: u16, reason: &str) -> Error {
    let message = format!("the proxy `{proxy}` answered {status} {}", clean(reason.trim()));
    match status {
        // Some proxies answer 401 to a wrong password.
        401 | 407 => Error::new(ErrorKind::Unreachable, message).hinting(match proxy.user() {
            Some(_) => "the proxy refuses the user or the password in its URL",
            None => "the proxy wants a user and a password: write them into its URL",
        }),
        403 => Error::new(ErrorKind::Denied, message).hinting("the proxy does not allow this host"),
        408 | 429 | 500..=599 => Error::new(ErrorKind::Unreachable, message).passing(None),
        _ => Error::new(ErrorKind::BadResponse, message),
    }
}

/// What a request that a proxy is to forward carries for the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Forwarded {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) authorization: Option<HeaderValue>,
}
