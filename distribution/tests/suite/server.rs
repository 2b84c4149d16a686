// SPDX-License-Identifier: Apache-2.0
//! An HTTP/1.1 server that says exactly what a test wrote, down to broken framing.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use distribution::{Client, ClientBuilder, Retry};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What the server answers, and how honestly.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Debug)]
enum Framing {
    /// Content-Length, then the body; the connection stays.
    Length,
    /// The same, but then the connection goes without a word.
    Hangup,
    /// This Content-Length, then the body and the end of the connection.
    Claim(u64),
    /// The same, but the connection is reset.
    Reset(u64),
    /// This Content-Length, then the body and silence.
    Stall(u64),
    /// This Content-Length, then single bytes at this distance for ever.
    Drip(u64, Duration),
    /// Content-Length, then the body in pieces of this size with a pause before each.
    Paced(usize, Duration),
    /// No length; the end of the connection ends the body.
    Close,
    /// Chunks of 1000 bytes.
    Chunked,
    /// The body alone, without any head.
    Raw,
    /// The body alone, and then these bytes again and again until the peer hangs up.
    Endless(Vec<u8>),
    /// Nothing, for ever.
    Silent,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            framing: Framing::Length,
        }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    /// The distribution specification's error document.
    pub(crate) fn error(status: u16, message: &str) -> Self {
        let item = serde_json::json!({ "code": "TEST", "message": message });
        Self::new(status, serde_json::json!({ "errors": [item] }).to_string())
    }

    pub(crate) fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::new(status, "moved").with("location", location)
    }

    pub(crate) fn challenge(value: impl Into<String>) -> Self {
        Self::error(401, "authentication required").with("www-authenticate", value)
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::ok(bytes).framed(Framing::Raw)
    }

    pub(crate) fn endless(start: impl Into<Vec<u8>>, more: &str) -> Self {
        Self::ok(start).framed(Framing::Endless(more.repeat(100).into_bytes()))
    }

    pub(crate) fn silent() -> Self {
        Self::ok("").framed(Framing::Silent)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn framed(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    pub(crate) fn hanging_up(self) -> Self {
        self.framed(Framing::Hangup)
    }

    pub(crate) fn claiming(self, length: u64) -> Self {
        self.framed(Framing::Claim(length))
    }

    pub(crate) fn reset(self, length: u64) -> Self {
        self.framed(Framing::Reset(length))
    }

    pub(crate) fn stalling(self, length: u64) -> Self {
        self.framed(Framing::Stall(length))
    }

    pub(crate) fn dripping(self, length: u64, distance: Duration) -> Self {
        self.framed(Framing::Drip(length, distance))
    }

    pub(crate) fn paced(self, piece: usize, pause: Duration) -> Self {
        self.framed(Framing::Paced(piece, pause))
    }

    pub(crate) fn closing(self) -> Self {
        self.framed(Framing::Close)
    }

    pub(crate) fn chunked(self) -> Self {
        self.framed(Framing::Chunked)
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running server; it stops with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", None, script).await.unwrap()
    }

    pub(crate) async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen("127.0.0.1:0", Some(acceptor), script).await.unwrap()
    }

    pub(crate) async fn listen(
        address: &str,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::run(address, tls, Arc::new(script)).await
    }

    /// Compiled once for all scripts.
    async fn run(address: &str, tls: Option<TlsAcceptor>, script: Arc<Script>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let server = Self {
            address: listener.local_addr()?,
            log: Arc::default(),
            connections: Arc::default(),
        };
        let (log, connections) = (Arc::clone(&server.log), Arc::clone(&server.connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (log, script, tls) = (Arc::clone(&log), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    let answer = |asked: Asked| {
                        log.lock().unwrap().push(asked.clone());
                        script(&asked)
                    };
                    match tls {
                        Some(tls) => {
                            let mut stream = tls.accept(stream).await?;
                            converse(&mut stream, answer).await?;
                            stream.shutdown().await
                        }
                        None => {
                            let mut stream = stream;
                            if converse(&mut stream, answer).await? {
                                stream.set_zero_linger()?;
                            }
                            Ok(())
                        }
                    }
                });
            }
        });
        Ok(server)
    }

    /// `127.0.0.1:port`, as a reference begins.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// The paths asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.path).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A builder of a client that may speak to this server without TLS, trusts nobody and tries
    /// everything once.
    pub(crate) fn client(&self) -> ClientBuilder {
        wary().plain_http(&self.host())
    }
}

/// A builder of a client that trusts nobody and tries everything once.
pub(crate) fn wary() -> ClientBuilder {
    Client::builder().without_system_roots().retry(Retry::NEVER)
}

/// Answers until one side ends; true if it should end with a reset.
async fn converse<S>(stream: &mut S, answer: impl Fn(Asked) -> Reply) -> io::Result<bool>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(asked) = read_head(stream).await? {
        let head_only = asked.method == "HEAD";
        let reply = answer(asked);
        let mut head = format!("HTTP/1.1 {} Test\r\n", reply.status);
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framing = match &reply.framing {
            Framing::Length | Framing::Hangup | Framing::Paced(..) => {
                format!("content-length: {}", reply.body.len())
            }
            Framing::Claim(length)
            | Framing::Reset(length)
            | Framing::Stall(length)
            | Framing::Drip(length, _) => {
                format!("content-length: {length}")
            }
            Framing::Close => "connection: close".to_owned(),
            Framing::Chunked => "transfer-encoding: chunked".to_owned(),
            Framing::Silent => return std::future::pending().await,
            Framing::Endless(more) => {
                stream.write_all(&reply.body).await?;
                loop {
                    stream.write_all(more).await?;
                }
            }
            Framing::Raw => {
                stream.write_all(&reply.body).await?;
                return Ok(false);
            }
        };
        stream
            .write_all(format!("{head}{framing}\r\n\r\n").as_bytes())
            .await?;
        if head_only {
            stream.flush().await?;
            continue;
        }
        if let Framing::Chunked = reply.framing {
            for chunk in reply.body.chunks(1000) {
                stream
                    .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
                    .await?;
                stream.write_all(chunk).await?;
                stream.write_all(b"\r\n").await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        } else if let Framing::Paced(piece, pause) = reply.framing {
            for piece in reply.body.chunks(piece) {
                tokio::time::sleep(pause).await;
                stream.write_all(piece).await?;
                stream.flush().await?;
            }
        } else {
            stream.write_all(&reply.body).await?;
        }
        stream.flush().await?;
        match reply.framing {
            Framing::Length | Framing::Chunked | Framing::Paced(..) => {}
            Framing::Reset(_) => return Ok(true),
            Framing::Stall(_) => std::future::pending().await,
            Framing::Drip(_, distance) => loop {
                tokio::time::sleep(distance).await;
                stream.write_all(b".").await?;
                stream.flush().await?;
            },
            _ => return Ok(false),
        }
    }
    Ok(false)
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Asked>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            // A TLS client at a plain server's door.
            Ok(0x16) if head.is_empty() => return Ok(None),
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers = pairs
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut asked = Asked {
        method,
        path,
        headers,
        body: String::new(),
    };
    if let Some(length) = asked.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).await?;
        asked.body = String::from_utf8(body).unwrap();
    }
    Ok(Some(asked))
}

/// A certificate authority of the test's own, in PEM, and a server's side of it.
pub(crate) fn authority() -> (Vec<u8>, TlsAcceptor) {
    speaking(&[])
}

/// The same for a server that chooses among these protocols.
pub(crate) fn speaking(protocols: &[&str]) -> (Vec<u8>, TlsAcceptor) {
    let made = Authority::new();
    let config = made.server(None, protocols);
    (made.pem(), config)
}

/// A certificate authority of the test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// A certificate for this machine and its key.
    fn leaf(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "0.0.0.0"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap();
        (certificate.signed_by(&key, &self.0).unwrap(), key)
    }

    /// A client's certificate and its key, in PEM.
    pub(crate) fn client(&self) -> (Vec<u8>, Vec<u8>) {
        let (certificate, key) = self.leaf();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }

    /// A server's side, which wants certificates of `clients` if there is that.
    pub(crate) fn server(&self, clients: Option<&Self>, protocols: &[&str]) -> TlsAcceptor {
        let (certificate, key) = self.leaf();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = config
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
