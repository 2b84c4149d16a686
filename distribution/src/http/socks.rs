// SPDX-License-Identifier: Apache-2.0
//! Through a SOCKS5 proxy (RFC 1928), with user and password (RFC 1929) if there are any.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::proxy::Proxy;
use crate::{Error, ErrorKind};

const VERSION: u8 = 5;
const WITHOUT: u8 = 0;
const WITH_PASSWORD: u8 = 2;
const CONNECT: u8 = 1;

/// Where the proxy is to connect to.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    Address(SocketAddr),
    /// Resolved by the proxy.
    Name(String, u16),
}

/// Turns a connection to a proxy into one to `goal`.
pub(crate) async fn open<T>(link: &mut T, proxy: &Proxy, goal: &Goal) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let cut = |cause: io::Error| {
        Error::new(
            ErrorKind::Unreachable,
            format!("the proxy `{proxy}` closed the connection before its answer"),
        )
        .because(cause)
        .passing(None)
    };
    let odd = || {
        let message = format!("the proxy `{proxy}` does not speak SOCKS5");
        Error::new(ErrorKind::BadResponse, message)
    };
    let offer: &[u8] = match proxy.user() {
        Some(_) => &[VERSION, 2, WITHOUT, WITH_PASSWORD],
        None => &[VERSION, 1, WITHOUT],
    };
    send(link, offer).await.map_err(cut)?;
    let [version, method] = receive(link).await.map_err(cut)?;
    if version != VERSION {
        return Err(odd());
    }
    match (method, proxy.user()) {
        (WITHOUT, _) => {}
        (WITH_PASSWORD, Some(user)) => {
            let mut words = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
            words.push(1);
            for word in [&user.name, &user.password] {
                let length = u8::try_from(word.len()).map_err(|_| {
                    let message = "user or password of a SOCKS5 proxy is longer than 255 bytes";
                    Error::new(ErrorKind::Invalid, message)
                })?;
                words.push(length);
                words.extend_from_slice(word.as_bytes());
            }
            send(link, &words).await.map_err(cut)?;
            let [_, status] = receive(link).await.map_err(cut)?;
            if status != 0 {
                return Err(refused(proxy, "refuses the user or the password in its URL"));
            }
        }
        _ => return Err(refused(proxy, "wants another way to log in than is set")),
    }
    let mut request = vec![VERSION, CONNECT, 0];
    let port = match goal {
        Goal::Address(SocketAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        Goal::Address(SocketAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        Goal::Name(name, port) => {
            request.push(3);
            request.push(u8::try_from(name.len()).map_err(|_| odd())?);
            request.extend_from_slice(name.as_bytes());
            *port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    send(link, &request).await.map_err(cut)?;
    let [version, reply, _, kind] = receive(link).await.map_err(cut)?;
    if version != VERSION {
        return Err(odd());
    }
    if let Some(why) = reason(reply) {
        let error = refused(proxy, &format!("reports: {why}"));
        // Not allowed, and what it cannot do, will not pass.
        return Err(if matches!(reply, 2 | 7 | 8) {
            error
        } else {
            error.passing(None)
        });
    }
    // The address that the proxy speaks from: read over.
    let length = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(receive::<1, _>(link).await.map_err(cut)?[0]),
        _ => return Err(odd()),
    };
    let mut rest = vec![0; length + 2];
    link.read_exact(&mut rest).await.map_err(cut)?;
    Ok(())
}

fn refused(proxy: &Proxy, what: &str) -> Error {
    Error::new(ErrorKind::Unreachable, format!("the proxy `{proxy}` {what}"))
}

/// What a reply says, unless it is success.
fn reason(reply: u8) -> Option<&'static str> {
    Some(match reply {
        0 => return None,
        2 => "not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "too many hops",
        7 => "it does not connect",
        8 => "it does not know this kind of address",
        _ => "failure",
    })
}

async fn send<T: AsyncWrite + Unpin>(link: &mut T, bytes: &[u8]) -> io::Result<()> {
    link.write_all(bytes).await?;
    link.flush().await
}

async fn receive<const N: usize, T: AsyncRead + Unpin>(link: &mut T) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    link.read_exact(&mut bytes).await?;
    Ok(bytes)
}
