// SPDX-License-Identifier: Apache-2.0
//! HTTP/2 where the server prefers it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use distribution::{Client, Credential, ErrorKind, Parallel, Source};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::time::{Sleep, sleep};

use crate::blobs::{QUICK, descriptor, noise, read};
use crate::image::{assert_error, image, pull, registry, tag};
use crate::secrets::{Log, assert_hidden};
use crate::server::{Server, speaking, wary};

/// Some bytes, and then perhaps a reset of the stream.
struct Answer {
    bytes: Option<Bytes>,
    /// Time for the bytes to get out, or the reset would overtake them.
    reset: Option<Pin<Box<Sleep>>>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.reset {
            None => Poll::Ready(None),
            Some(sleep) => sleep
                .as_mut()
                .poll(context)
                .map(|()| Some(Err(io::Error::other("cut")))),
        }
    }
}

fn whole(bytes: impl Into<Bytes>) -> Answer {
    Answer {
        bytes: Some(bytes.into()),
        reset: None,
    }
}

/// What was asked: version, path, range.
type Requests = Arc<Mutex<Vec<(Version, String, Option<String>)>>>;

type Script = dyn Fn(&Request<Incoming>) -> Response<Answer> + Send + Sync;

struct Modern {
    host: String,
    log: Requests,
    connections: Arc<AtomicUsize>,
    ca: Vec<u8>,
}

impl Modern {
    async fn start(script: impl Fn(&Request<Incoming>) -> Response<Answer> + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script)).await
    }

    /// Compiled once for all scripts.
    async fn run(script: Arc<Script>) -> Self {
        let (ca, acceptor) = speaking(&["h2", "http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let server = Self {
            host: address.to_string(),
            log: Arc::default(),
            connections: Arc::default(),
            ca,
        };
        let (log, connections) = (Arc::clone(&server.log), Arc::clone(&server.connections));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (log, script, acceptor) = (Arc::clone(&log), Arc::clone(&script), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(socket) = acceptor.accept(socket).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let range = request.headers().get("range");
                        let range = range.map(|range| range.to_str().unwrap().to_owned());
                        let path = request.uri().path().to_owned();
                        log.lock().unwrap().push((request.version(), path, range));
                        let response = script(&request);
                        async move { Ok::<_, Infallible>(response) }
                    });
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        server
    }

    fn client(&self) -> distribution::ClientBuilder {
        wary().ca_pem(self.ca.clone()).retry(QUICK)
    }

    fn build(&self) -> Client {
        self.client().build().unwrap()
    }
}

/// The test image, from a script of the other server.
fn serve(request: &Request<Incoming>) -> Response<Answer> {
    let image = image();
    let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let found = [image.config, image.layer, image.manifest.clone()]
        .into_iter()
        .find(|bytes| name == image_spec::Digest::sha256(bytes).to_string());
    let bytes = found.unwrap_or(image.manifest);
    Response::new(whole(bytes))
}

#[tokio::test]
async fn one_connection_carries_everything() {
    let server = Modern::start(|request| {
        // The host stands in the URL here, and nowhere else.
        assert!(request.uri().authority().is_some() && !request.headers().contains_key("host"));
        assert_eq!(request.uri().scheme_str(), Some("https"));
        serve(request)
    })
    .await;
    let client = server.build();
    let source = registry(&client, &server.host);
    assert_eq!(pull(&source).await.unwrap(), image().layer);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { pull(&source).await.unwrap() })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), image().layer);
    }
    let log = server.log.lock().unwrap();
    assert_eq!(log.len(), 27);
    assert!(log.iter().all(|(version, ..)| *version == Version::HTTP_2));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_form_goes_over_it_too_and_its_secret_into_no_log() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let server = Modern::start(|request| {
        let authorization = request.headers().get("authorization");
        if request.uri().path() == "/token" {
            assert_eq!((request.method(), authorization), (&Method::POST, None));
            let form = "grant_type=refresh_token&refresh_token=swordfish&scope=repository:ns/app:pull\
                &client_id=image-client";
            assert_eq!(request.body().size_hint().exact(), Some(form.len() as u64));
            return Response::new(whole(r#"{"access_token":"tok-1"}"#));
        }
        if authorization.is_some_and(|value| value == "Bearer tok-1") {
            return serve(request);
        }
        let host = request.uri().authority().unwrap();
        Response::builder()
            .status(401)
            .header(
                "www-authenticate",
                format!("Bearer realm=\"https://{host}/token\""),
            )
            .body(whole(""))
            .unwrap()
    })
    .await;
    let credential = Credential::identity_token("swordfish");
    let client = server
        .client()
        .credential(&server.host, credential)
        .build()
        .unwrap();
    assert_eq!(
        pull(&registry(&client, &server.host)).await.unwrap(),
        image().layer
    );
    // Both ends of the connection, frame by frame.
    let text = log.text();
    assert!(text.contains("h2::"), "{text}");
    assert_hidden(&text);
}

#[tokio::test]
async fn a_stream_that_is_reset_is_taken_up_over_the_same_connection() {
    const CUT: usize = 100_000;
    let blob = noise(1 << 20);
    let (bytes, wanted) = (blob.clone(), descriptor(&blob));
    let server = Modern::start(move |request| match request.headers().get("range") {
        None => {
            let mut response = Response::new(Answer {
                reset: Some(Box::pin(sleep(Duration::from_millis(100)))),
                ..whole(bytes[..CUT].to_vec())
            });
            response
                .headers_mut()
                .insert("content-length", bytes.len().into());
            response
        }
        Some(range) => {
            let text = range.to_str().unwrap().trim_start_matches("bytes=");
            let first: usize = text.trim_end_matches('-').parse().unwrap();
            let part = format!("bytes {first}-{}/{}", bytes.len() - 1, bytes.len());
            Response::builder()
                .status(206)
                .header("content-range", part)
                .body(whole(bytes[first..].to_vec()))
                .unwrap()
        }
    })
    .await;
    let source = registry(&server.build(), &server.host);
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
    let log = server.log.lock().unwrap();
    assert_eq!(log.last().unwrap().2, Some(format!("bytes={CUT}-")));
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_blob_is_not_divided_where_one_connection_would_carry_all() {
    let blob = noise(1 << 20);
    let (bytes, wanted) = (blob.clone(), descriptor(&blob));
    let server = Modern::start(move |request| {
        let range = request.headers()["range"].to_str().unwrap();
        let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(bytes.len() - 1);
        let part = format!("bytes {first}-{last}/{}", bytes.len());
        Response::builder()
            .status(206)
            .header("content-range", part)
            .body(whole(bytes[first..=last].to_vec()))
            .unwrap()
    })
    .await;
    let plan = Parallel {
        ranges: 4,
        bytes: 128 << 10,
        above: 1,
        below: u64::MAX,
    };
    let client = server.client().parallel(plan).build().unwrap();
    let source = registry(&client, &server.host);
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
    let log = server.log.lock().unwrap();
    let ranges: Vec<_> = log.iter().map(|(.., range)| range.clone().unwrap()).collect();
    assert_eq!(ranges, ["bytes=0-131071", "bytes=131072-"]);
}

#[tokio::test]
async fn a_server_that_speaks_only_the_older_version_is_understood() {
    let (ca, acceptor) = speaking(&["http/1.1"]);
    let server = Server::start_tls(acceptor, |asked| image().serve(asked)).await;
    let client = wary().ca_pem(ca).build().unwrap();
    assert_eq!(
        pull(&registry(&client, &server.host())).await.unwrap(),
        image().layer
    );
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn nonsense_after_the_handshake_is_an_error() {
    // Agrees to HTTP/2, and then speaks the older version.
    let (ca, acceptor) = speaking(&["h2"]);
    let server = Server::start_tls(acceptor, |asked| image().serve(asked)).await;
    let client = wary().ca_pem(ca).build().unwrap();
    let outcome = registry(&client, &server.host()).document(&tag()).await;
    assert_error(outcome, ErrorKind::Unreachable, "closed the connection");
}
