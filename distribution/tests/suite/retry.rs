// SPDX-License-Identifier: Apache-2.0
//! What is tried again, how often, and what never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use distribution::{ErrorKind, Retry, Source};
use tokio::net::TcpListener;

use crate::blobs::{QUICK, descriptor, noise, read};
use crate::image::{assert_error, image, pull, registry, tag};
use crate::server::{Reply, Server, authority, wary};

/// A server that answers so many requests in this way, and then as it should.
async fn flaky(times: usize, reply: Reply) -> Server {
    let asked_before = AtomicUsize::new(0);
    Server::start(
        move |asked| match asked_before.fetch_add(1, Ordering::SeqCst) < times {
            true => reply.clone(),
            false => image().serve(asked),
        },
    )
    .await
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let manifest = image().manifest;
    for reply in [
        Reply::error(408, "too slow"),
        Reply::error(429, "slow down"),
        Reply::error(500, "oops"),
        Reply::error(502, "nobody there"),
        Reply::error(503, "later"),
        Reply::error(504, "nobody answers"),
        Reply::raw(""),
        Reply::silent(),
        // A body that breaks is as bad as none.
        Reply::ok(&manifest[..20]).claiming(manifest.len() as u64),
        Reply::ok(&manifest[..20]).reset(manifest.len() as u64),
        Reply::ok(&manifest[..20]).stalling(manifest.len() as u64),
    ] {
        let server = flaky(2, reply.clone()).await;
        let client = server
            .client()
            .retry(QUICK)
            .idle_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let layer = pull(&registry(&client, &server.host())).await;
        assert_eq!(layer.unwrap(), image().layer, "{reply:?}");
        assert_eq!(server.paths().len(), 5, "{reply:?}");
    }
}

#[tokio::test]
async fn what_will_not_pass_is_asked_once() {
    for (status, kind) in [
        (400, ErrorKind::BadResponse),
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (405, ErrorKind::BadResponse),
        (410, ErrorKind::BadResponse),
        (501, ErrorKind::Unavailable),
        (505, ErrorKind::Unavailable),
    ] {
        let server = Server::start(move |_| Reply::error(status, "no")).await;
        let client = server.client().retry(QUICK).build().unwrap();
        let source = registry(&client, &server.host());
        let error = source.document(&tag()).await.unwrap_err();
        assert_eq!((error.kind(), error.is_transient()), (kind.clone(), false));
        assert_error(source.blob(&descriptor(b"x")).await, kind, &status.to_string());
        assert_eq!(server.paths().len(), 2, "{status}");
    }
}

#[tokio::test]
async fn tries_end_and_are_counted_in_the_error() {
    let server = Server::start(|_| Reply::error(503, "later")).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let error = source.document(&tag()).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("later (tried 4 times)"), "{error}");
    assert_eq!(server.paths().len(), 4);
    let outcome = source.blob(&descriptor(b"x")).await;
    assert_error(outcome, ErrorKind::Unavailable, "tried 4 times");
    assert_eq!(server.paths().len(), 8);
}

#[tokio::test]
async fn a_token_server_gets_its_own_tries_and_no_more() {
    for (failures, requests) in [(2, 8), (usize::MAX, 5)] {
        let failed = AtomicUsize::new(0);
        let server = Server::start(move |asked| {
            let host = asked.header("host").unwrap();
            match (asked.path.starts_with("/token"), asked.header("authorization")) {
                (true, _) if failed.fetch_add(1, Ordering::SeqCst) < failures => Reply::error(503, "later"),
                (true, _) => Reply::ok(r#"{"token":"t"}"#),
                (_, Some("Bearer t")) => image().serve(asked),
                _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
            }
        })
        .await;
        let client = server.client().retry(QUICK).build().unwrap();
        let outcome = pull(&registry(&client, &server.host())).await;
        match failures {
            2 => assert_eq!(outcome.unwrap(), image().layer),
            _ => assert_error(outcome, ErrorKind::Unavailable, "later (tried 4 times)"),
        }
        // One 401, then the token server's tries; the 401 is not provoked again for each.
        let count = server.paths().len();
        assert_eq!(
            count,
            if failures == 2 { 1 + 3 + 3 } else { requests },
            "{:?}",
            server.paths()
        );
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_up_to_a_limit() {
    let wait = Duration::from_millis(400);
    for (value, least) in [("3600", wait), ("0", Duration::ZERO)] {
        let server = flaky(1, Reply::error(429, "slow down").with("retry-after", value)).await;
        let retry = Retry {
            longest: wait,
            ..QUICK
        };
        let client = server.client().retry(retry).build().unwrap();
        let start = Instant::now();
        registry(&client, &server.host()).document(&tag()).await.unwrap();
        assert!(start.elapsed() >= least, "{value}");
        assert_eq!(server.paths().len(), 2);
    }
    // Longer than there is patience for: told at once.
    let server = flaky(1, Reply::error(429, "slow down").with("retry-after", "3600")).await;
    let retry = Retry {
        longest: Duration::from_secs(3600),
        ..QUICK
    };
    let client = server.client().retry(retry).build().unwrap();
    let outcome = registry(&client, &server.host()).document(&tag()).await;
    assert_error(outcome, ErrorKind::RateLimited, "slow down");
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn a_registry_that_comes_up_late_is_reached() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = gone.local_addr().unwrap().to_string();
    drop(gone);
    let retry = Retry {
        count: 1000,
        pause: Duration::from_millis(5),
        longest: Duration::from_millis(5),
        ..QUICK
    };
    let client = wary().plain_http(&host).retry(retry).build().unwrap();
    let source = registry(&client, &host);
    let pulling = tokio::spawn(async move { pull(&source).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!pulling.is_finished());
    let _server = Server::listen(&host, None, |asked| image().serve(asked))
        .await
        .unwrap();
    assert_eq!(pulling.await.unwrap().unwrap(), image().layer);
}

#[tokio::test]
async fn a_certificate_is_judged_once_and_a_cut_handshake_is_not_a_verdict() {
    let (_, acceptor) = authority();
    let server = Server::start_tls(acceptor, |asked| image().serve(asked)).await;
    let strict = wary().retry(QUICK).build().unwrap();
    let outcome = registry(&strict, &server.host()).document(&tag()).await;
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Tls, false));
    assert_eq!(server.connections(), 1);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            drop(socket);
        }
    });
    let error = registry(&strict, &host).document(&tag()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Tls, true));
    assert_eq!(accepted.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_slow_blob_that_moves_is_never_late() {
    let blob = noise(1 << 20);
    let (wanted, bytes) = (descriptor(&blob), blob.clone());
    let server =
        Server::start(move |_| Reply::ok(bytes.clone()).paced(16 << 10, Duration::from_millis(10))).await;
    // 64 pieces take 640 ms in all, twice the time in which something must come.
    let client = server
        .client()
        .idle_timeout(Duration::from_millis(320))
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
}

#[tokio::test]
async fn dropping_a_request_ends_it_while_it_waits() {
    let server = Server::start(|_| Reply::error(503, "later")).await;
    let retry = Retry {
        pause: Duration::from_secs(3600),
        longest: Duration::from_secs(3600),
        patience: Duration::MAX,
        ..QUICK
    };
    let client = server.client().retry(retry).build().unwrap();
    let source = registry(&client, &server.host());
    let target = tag();
    let asking = source.document(&target);
    let outcome = tokio::time::timeout(Duration::from_millis(100), asking).await;
    assert!(outcome.is_err());
    assert!(server.paths().len() <= 1);
}
