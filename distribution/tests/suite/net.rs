// SPDX-License-Identifier: Apache-2.0
//! Redirects, TLS, plain HTTP, and peers that are not there.

use std::time::Duration;

use distribution::{Client, Credential, ErrorKind, Retry, Source};
use tokio::net::TcpListener;

use crate::image::{assert_error, image, pull, registry, tag};
use crate::server::{Reply, Server, authority, wary};

#[tokio::test]
async fn a_redirect_takes_no_credential_to_another_origin() {
    let storage = Server::start(|asked| {
        let blob = image();
        match asked.path.strip_prefix("/store?sig=") {
            Some("layer") => Reply::ok(blob.layer),
            _ => Reply::error(403, "signature is wrong"),
        }
    })
    .await;
    let store = storage.host();
    let server = Server::start(move |asked| {
        let image = image();
        let layer = format!("/v2/ns/app/blobs/{}", image.layer_descriptor().digest);
        match asked.header("authorization") {
            None => Reply::challenge("Basic"),
            // First to the same origin, where the credential may stay.
            Some(_) if asked.path == layer => Reply::redirect(302, "../../moved?x=1"),
            Some(_) if asked.path == "/v2/ns/moved?x=1" => {
                Reply::redirect(307, format!("http://{store}/store?sig=layer"))
            }
            Some(_) => image.serve(asked),
        }
    })
    .await;
    let builder = server.client().plain_http(&storage.host());
    let client = builder
        .credential(&server.host(), Credential::basic("u", "p"))
        .build()
        .unwrap();
    assert_eq!(
        pull(&registry(&client, &server.host())).await.unwrap(),
        image().layer
    );
    assert_eq!(storage.asked().len(), 1);
    assert_eq!(storage.asked()[0].header("authorization"), None);
    assert!(server.asked().last().unwrap().header("authorization").is_some());
}

#[tokio::test]
async fn a_credential_left_behind_does_not_come_back() {
    let first = Server::start(|_| Reply::ok("")).await;
    let host = first.host();
    let other = Server::start(move |_| Reply::redirect(307, format!("http://{host}/again"))).await;
    let there = other.host();
    let server = Server::start(
        move |asked| match (asked.path.as_str(), asked.header("authorization")) {
            ("/back", _) => Reply::ok("{}"),
            (_, None) => Reply::challenge("Basic"),
            _ => Reply::redirect(307, format!("http://{there}/away")),
        },
    )
    .await;
    let builder = server
        .client()
        .plain_http(&other.host())
        .plain_http(&first.host());
    let client = builder
        .credential(&server.host(), Credential::basic("u", "p"))
        .build()
        .unwrap();
    registry(&client, &server.host()).document(&tag()).await.unwrap();
    assert_eq!(other.asked()[0].header("authorization"), None);
    assert_eq!(first.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn redirects_are_counted_and_must_lead_somewhere() {
    for (reply, kind, part, requests) in [
        (
            Reply::redirect(307, "/loop"),
            ErrorKind::BadResponse,
            "more than 5 redirects",
            6,
        ),
        (Reply::new(302, ""), ErrorKind::BadResponse, "leads nowhere", 1),
        (
            Reply::redirect(302, "ftp://example.com/x"),
            ErrorKind::BadResponse,
            "neither http nor https",
            1,
        ),
        (
            Reply::redirect(302, "http://u:p@example.com/x"),
            ErrorKind::BadResponse,
            "names a user",
            1,
        ),
        (
            Reply::redirect(302, "http://:80/x"),
            ErrorKind::BadResponse,
            "leads nowhere",
            1,
        ),
        (
            Reply::redirect(302, format!("/{}", "x".repeat(9000))),
            ErrorKind::BadResponse,
            "leads nowhere",
            1,
        ),
        (Reply::redirect(304, "/x"), ErrorKind::BadResponse, "304", 1),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let client = server.client().build().unwrap();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            kind,
            part,
        );
        assert_eq!(server.paths().len(), requests, "{part}");
    }
}

#[tokio::test]
async fn a_redirect_goes_to_plain_http_only_where_it_was_allowed() {
    let target = Server::start(|_| Reply::ok("{}")).await;
    let location = format!("http://{}/x?sig=secret", target.host());
    let (ca, acceptor) = authority();
    let plain = Server::start({
        let location = location.clone();
        move |_| Reply::redirect(307, location.clone())
    })
    .await;
    let tls = Server::start_tls(acceptor, move |_| Reply::redirect(307, location.clone())).await;
    let client = plain.client().ca_pem(ca).build().unwrap();
    let outcome = registry(&client, &plain.host()).document(&tag()).await;
    assert_error(outcome, ErrorKind::Denied, "plain HTTP was not allowed");
    let error = registry(&client, &tls.host()).document(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("leaves TLS") && !error.to_string().contains("secret"),
        "{error}"
    );
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn tls_needs_an_authority_that_was_given() {
    let (ca, acceptor) = authority();
    let (other, _) = authority();
    let server = Server::start_tls(acceptor, |asked| image().serve(asked)).await;
    let client = wary().ca_pem(ca).build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(server.connections(), 1);
    let by_name = format!("localhost:{}", server.address.port());
    pull(&registry(&client, &by_name)).await.unwrap();
    let asked = server.asked().len();

    let client = wary().ca_pem(other).build().unwrap();
    let error = registry(&client, &server.host())
        .document(&tag())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.hint().unwrap().contains("private certificate authority"));
    let client = wary().build().unwrap();
    let error = registry(&client, &server.host())
        .document(&tag())
        .await
        .unwrap_err();
    assert!(
        error
            .hint()
            .unwrap()
            .contains("no certificate authority is known")
    );
    let client = Client::builder().retry(Retry::NEVER).build().unwrap();
    assert_error(
        registry(&client, &server.host()).document(&tag()).await,
        ErrorKind::Tls,
        "no TLS session",
    );
    assert_eq!(server.asked().len(), asked);
}

#[tokio::test]
async fn a_host_that_was_not_named_is_not_spoken_to_in_the_clear() {
    let server = Server::start(|asked| image().serve(asked)).await;
    for named in ["127.0.0.1", "127.0.0.1:1", "localhost"] {
        let client = wary().plain_http(named).build().unwrap();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            ErrorKind::Tls,
            "no TLS session",
        );
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn an_ipv6_registry_is_a_registry() {
    // A machine without IPv6 has no such registry either.
    let Ok(server) = Server::listen("[::1]:0", None, |asked| image().serve(asked)).await else {
        return;
    };
    let client = server.client().build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(server.asked()[0].header("host"), Some(server.host().as_str()));
}

#[tokio::test]
async fn a_peer_that_is_not_there_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let client = wary().plain_http(&gone).build().unwrap();
    let outcome = registry(&client, &gone).document(&tag()).await;
    assert_error(
        outcome,
        ErrorKind::Unreachable,
        &format!("no connection to `http://{gone}`"),
    );
}

#[tokio::test]
async fn a_peer_that_never_answers_is_given_up() {
    // It accepts, by the kernel's queue, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let limit = Duration::from_millis(100);
    let builder = || wary().connect_timeout(limit).idle_timeout(limit);
    let client = builder().build().unwrap();
    assert_error(
        registry(&client, &host).document(&tag()).await,
        ErrorKind::Timeout,
        "no TLS session",
    );
    let client = builder().plain_http(&host).build().unwrap();
    assert_error(
        registry(&client, &host).document(&tag()).await,
        ErrorKind::Timeout,
        "no response",
    );
}

#[test]
fn settings_that_cannot_be_used_are_refused_at_once() {
    let pem = |text: &str| wary().ca_pem(text.into()).build();
    assert_error(pem(""), ErrorKind::Invalid, "no certificate");
    assert_error(
        pem("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"),
        ErrorKind::Invalid,
        "PEM",
    );
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_error(pem(junk), ErrorKind::Invalid, "not a certificate");
    for host in [
        "", "http://h", "h/path", "h:0", "h:99999", "u@h", "[::1", "[::g]:1", "h:1:2",
    ] {
        let outcome = wary().plain_http(host).build();
        assert_error(outcome, ErrorKind::Invalid, "not a host");
    }
}
