// SPDX-License-Identifier: Apache-2.0
//! Answers requests.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::body::{Answer, End};
use super::fault::Effect;
use super::state::{Content, Request, State};
use super::wire::Wire;

type Incoming = hyper::Request<hyper::body::Incoming>;

/// A test that panics while it holds the lock has failed already; the registry goes on.
pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn run(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    state: Arc<Mutex<State>>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        listener
            .set_nonblocking(true)
            .expect("a socket that does not block");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket for the runtime");
        let accept = async {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
                tokio::spawn(async move {
                    match acceptor {
                        // A client that does not trust the certificate hangs up here.
                        Some(acceptor) => match acceptor.accept(socket).await {
                            Ok(socket) => connection(socket, state).await,
                            Err(_) => drop(state),
                        },
                        None => connection(socket, state).await,
                    }
                });
            }
        };
        tokio::select! { _ = stopped => (), () = accept => () }
    });
}

async fn connection(socket: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let cut = Arc::new(AtomicBool::new(false));
    let socket = Wire {
        socket,
        cut: Arc::clone(&cut),
    };
    let service = service_fn(|request: Incoming| {
        let response = answer(&mut lock(&state), &request).map(|body| body.cutting(Arc::clone(&cut)));
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    // Errors here are clients that left and faults that were asked for.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

fn answer(state: &mut State, request: &Incoming) -> Response<Answer> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |p| p.as_str())
        .to_string();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_string(), text(value)))
        .collect();
    let mut seen = Request {
        method: request.method().to_string(),
        path,
        headers,
        status: 0,
    };
    let response = route(state, request, &seen);
    seen.status = response.status().as_u16();
    state.log.push(seen);
    response
}

fn route(state: &mut State, request: &Incoming, seen: &Request) -> Response<Answer> {
    let path = request.uri().path();
    if path == "/token" {
        let effect = fault(state, &seen.path);
        let token = state
            .auth
            .token(request.uri().query().unwrap_or_default(), seen.authorization());
        let response = match token {
            Some(token) => plain(StatusCode::OK, "application/json", token),
            None => refused(StatusCode::UNAUTHORIZED, "UNAUTHORIZED"),
        };
        return twist(response, effect);
    }
    if let Some(bytes) = state.resources.get(path).cloned() {
        let effect = fault(state, &seen.path);
        let response = ranged(Content::Memory(bytes), request.headers(), effect.as_ref());
        return twist(response, effect);
    }
    let target = Target::parse(path);
    let repository = target.as_ref().map(|t| t.repository);
    if let Some(challenge) = state.auth.refuse(repository, seen.authorization()) {
        let mut response = refused(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        put(response.headers_mut(), "www-authenticate", &challenge);
        return response;
    }
    let effect = fault(state, &seen.path);
    let response = match target {
        _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
            refused(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED")
        }
        None if path == "/v2/" || path == "/v2" => plain(StatusCode::OK, "application/json", "{}"),
        None => refused(StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        Some(target) => fetch(state, &target, request.headers(), effect.as_ref()),
    };
    twist(response, effect)
}

struct Target<'a> {
    repository: &'a str,
    kind: &'a str,
    reference: &'a str,
}

impl<'a> Target<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let (rest, reference) = path.strip_prefix("/v2/")?.rsplit_once('/')?;
        let (repository, kind) = rest.rsplit_once('/')?;
        Some(Target {
            repository,
            kind,
            reference,
        })
    }
}

fn fetch(
    state: &State,
    target: &Target<'_>,
    headers: &HeaderMap,
    effect: Option<&Effect>,
) -> Response<Answer> {
    let Some(repository) = state.find(target.repository) else {
        return refused(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
    };
    match target.kind {
        "manifests" => match repository.document(target.reference) {
            Some(document) => {
                let mut response = plain(StatusCode::OK, &document.media_type, document.bytes);
                put(response.headers_mut(), "docker-content-digest", &document.digest);
                response
            }
            None => refused(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        },
        "blobs" => match repository.blob(target.reference) {
            Some(content) => ranged(content, headers, effect),
            None => refused(StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        },
        "tags" if target.reference == "list" => {
            let list = json!({"name": target.repository, "tags": repository.tags()});
            plain(StatusCode::OK, "application/json", list.to_string())
        }
        _ => refused(StatusCode::NOT_FOUND, "UNSUPPORTED"),
    }
}

/// A blob, or the part of it that was asked for.
fn ranged(content: Content, headers: &HeaderMap, effect: Option<&Effect>) -> Response<Answer> {
    let size = match &content {
        Content::Memory(bytes) => bytes.len() as u64,
        Content::File(path) => path.metadata().map_or(0, |m| m.len()),
    };
    let wanted = headers
        .get(header::RANGE)
        .and_then(|r| r.to_str().ok())
        .and_then(range);
    let (mut start, mut end) = match (wanted, effect) {
        (None, _) | (_, Some(Effect::IgnoreRange)) => (0, size),
        (Some((start, last)), _) => (start, last.map_or(size, |l| l.saturating_add(1)).min(size)),
    };
    let partial =
        (start, end) != (0, size) || (wanted.is_some() && !matches!(effect, Some(Effect::IgnoreRange)));
    if partial && start >= end {
        let mut response = refused(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID");
        put(
            response.headers_mut(),
            "content-range",
            &format!("bytes */{size}"),
        );
        return response;
    }
    if let (true, Some(Effect::ShiftRange(by))) = (partial, effect) {
        (start, end) = ((start + by).min(size), (end + by).min(size));
    }
    let body = match content {
        Content::Memory(bytes) => Ok(Answer::memory(bytes.slice(start as usize..end as usize))),
        Content::File(path) => File::open(path).and_then(|file| Answer::file(file, start, end - start)),
    };
    let Ok(body) = body else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN");
    };
    let status = if partial {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let mut response = whole(status, "application/octet-stream", body);
    put(response.headers_mut(), "accept-ranges", "bytes");
    if partial {
        let range = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
        put(response.headers_mut(), "content-range", &range);
    }
    response
}

/// `bytes=FIRST-[LAST]`; other forms are as good as none.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() {
        None
    } else {
        Some(last.parse().ok()?)
    };
    Some((first.parse().ok()?, last))
}

fn fault(state: &mut State, path: &str) -> Option<Effect> {
    state
        .faults
        .iter_mut()
        .find_map(|fault| fault.take(path).then(|| fault.effect.clone()))
}

fn twist(mut response: Response<Answer>, effect: Option<Effect>) -> Response<Answer> {
    let Some(effect) = effect else { return response };
    match effect {
        Effect::Status(status) => return refused(code(status), "UNKNOWN"),
        Effect::Respond {
            status,
            headers,
            body,
        } => {
            let mut response = whole(code(status), "application/json", Answer::memory(body));
            headers
                .iter()
                .for_each(|(name, value)| put(response.headers_mut(), name, value));
            return response;
        }
        Effect::Redirect(location) => {
            let mut response = whole(StatusCode::TEMPORARY_REDIRECT, "text/plain", Answer::memory(""));
            put(response.headers_mut(), "location", &location);
            return response;
        }
        Effect::Header(name, value) => put(response.headers_mut(), &name, &value),
        Effect::Chunked => put(response.headers_mut(), "content-length", ""),
        Effect::Cut(after) => response = response.map(|body| body.ending(after, End::Broken)),
        Effect::Stall(after) => response = response.map(|body| body.ending(after, End::Never)),
        Effect::Throttle { bytes, pause } => response = response.map(|body| body.paced(bytes, pause)),
        Effect::Extra(bytes) => response = measured(response.map(|body| body.with_extra(&bytes))),
        Effect::Replace(bytes) => response = measured(response.map(|_| Answer::memory(bytes))),
        Effect::IgnoreRange | Effect::ShiftRange(_) => {}
    }
    response
}

fn measured(mut response: Response<Answer>) -> Response<Answer> {
    let length = response.body().length().to_string();
    put(response.headers_mut(), "content-length", &length);
    response
}

fn refused(status: StatusCode, word: &str) -> Response<Answer> {
    let body = json!({"errors": [{"code": word, "message": "as the fixture was told"}]});
    plain(status, "application/json", body.to_string())
}

fn plain(status: StatusCode, media_type: &str, bytes: impl Into<Bytes>) -> Response<Answer> {
    whole(status, media_type, Answer::memory(bytes))
}

fn whole(status: StatusCode, media_type: &str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    put(response.headers_mut(), "content-type", media_type);
    measured(response)
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status between 100 and 999")
}

/// Sets a header; an empty value removes it.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
    if value.is_empty() {
        headers.remove(name);
    } else {
        headers.insert(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
        );
    }
}
