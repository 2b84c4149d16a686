// SPDX-License-Identifier: Apache-2.0
//! A proxy that leads every tunnel to one server, and notes where each was meant to go.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Authority, Server};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Connect,
    ConnectTls,
    Socks,
}

type Login = Option<(&'static str, &'static str)>;

pub(crate) struct Middle {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Middle {
    pub(crate) async fn start(manner: Manner, to: &Server, authority: &Authority, login: Login) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let middle = Self {
            address: listener.local_addr().unwrap(),
            log: Arc::default(),
        };
        let (log, to, acceptor) = (Arc::clone(&middle.log), to.address, authority.server(None, &[]));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, acceptor) = (Arc::clone(&log), acceptor.clone());
                tokio::spawn(async move {
                    match manner {
                        Manner::Connect => tunnel(stream, to, &log, login).await,
                        Manner::ConnectTls => tunnel(acceptor.accept(stream).await?, to, &log, login).await,
                        Manner::Socks => socks(stream, to, &log, login).await,
                    }
                });
            }
        });
        middle
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where tunnels were meant to go, in order.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

async fn tunnel<T>(mut stream: T, to: SocketAddr, log: &Mutex<Vec<String>>, login: Login) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap();
    assert!(head.contains(&format!("\r\nHost: {target}\r\n")));
    if login.is_some() && !head.contains("\r\nProxy-Authorization: Basic dTpwIHE=\r\n") {
        return stream
            .write_all(b"HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n")
            .await;
    }
    log.lock().unwrap().push(target.to_owned());
    if target.starts_with("slow.") {
        return std::future::pending().await;
    }
    let mut server = TcpStream::connect(to).await?;
    stream
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}

async fn socks(
    mut stream: TcpStream,
    to: SocketAddr,
    log: &Mutex<Vec<String>>,
    login: Login,
) -> io::Result<()> {
    assert_eq!(stream.read_u8().await?, 5);
    let mut methods = vec![0; usize::from(stream.read_u8().await?)];
    stream.read_exact(&mut methods).await?;
    let method = if login.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return stream.write_all(&[5, 0xff]).await;
    }
    stream.write_all(&[5, method]).await?;
    if let Some((user, password)) = login {
        assert_eq!(stream.read_u8().await?, 1);
        let mut good = true;
        for word in [user, password] {
            let mut found = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut found).await?;
            good &= found == word.as_bytes();
        }
        stream.write_all(&[1, u8::from(!good)]).await?;
        if !good {
            return Ok(());
        }
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => {
            let mut address = [0; 4];
            stream.read_exact(&mut address).await?;
            std::net::Ipv4Addr::from(address).to_string()
        }
        4 => {
            let mut address = [0; 16];
            stream.read_exact(&mut address).await?;
            format!("[{}]", Ipv6Addr::from(address))
        }
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name).unwrap()
        }
        other => panic!("{other}"),
    };
    let port = stream.read_u16().await?;
    log.lock().unwrap().push(format!("{host}:{port}"));
    let mut server = TcpStream::connect(to).await?;
    stream.write_all(&[5, 0, 0, 3, 1, b'x', 0, 0]).await?;
    copy_bidirectional(&mut stream, &mut server).await.map(drop)
}
