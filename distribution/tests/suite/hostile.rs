// SPDX-License-Identifier: Apache-2.0
//! Servers without end: what they send is cut off in bounded time and memory.

use std::time::Duration;

use distribution::{Error, ErrorKind, Source};

use crate::blobs::{QUICK, descriptor, read};
use crate::image::{amd64, assert_error, image, registry, tag};
use crate::server::{Reply, Server};

const HEAD: &str = "HTTP/1.1 200 Test\r\ntransfer-encoding: chunked\r\n\r\n";
const CHUNK: &str = "8\r\n        \r\n";

/// What comes of asking for a document, with as many tries as there may be.
async fn ask(reply: Reply) -> (Error, usize) {
    let server = Server::start(move |_| reply.clone()).await;
    let client = server
        .client()
        .idle_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    let outcome = distribution::resolve(&source, &tag(), &amd64()).await;
    (outcome.unwrap_err(), server.paths().len())
}

#[tokio::test]
async fn what_never_ends_is_cut_off() {
    for (name, reply, kind) in [
        (
            "header lines",
            Reply::endless("HTTP/1.1 200 Test\r\n", "x: y\r\n"),
            ErrorKind::BadResponse,
        ),
        (
            "one header",
            Reply::endless("HTTP/1.1 200 Test\r\nx: ", "yyyyyyyy"),
            ErrorKind::BadResponse,
        ),
        (
            "the status line",
            Reply::endless("HTTP/1.1 200 ", "yyyyyyyy"),
            ErrorKind::BadResponse,
        ),
        (
            "interim responses",
            Reply::endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
            ErrorKind::Timeout,
        ),
        ("a document", Reply::endless(HEAD, CHUNK), ErrorKind::TooLarge),
        (
            "the words of an error",
            Reply::endless(HEAD.replace("200", "404"), CHUNK),
            ErrorKind::NotFound,
        ),
        (
            "the body of a redirect",
            Reply::endless(HEAD.replace("200 Test", "307 Test\r\nlocation: /x"), CHUNK),
            ErrorKind::BadResponse,
        ),
    ] {
        let (error, asked) = ask(reply).await;
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(asked <= 6, "{name}: {asked}");
    }
}

#[tokio::test]
async fn a_blob_and_a_token_without_end_end() {
    let server = Server::start(|_| Reply::endless(HEAD, CHUNK)).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&[b' '; 5000])).await;
    assert_error(outcome, ErrorKind::Size, "longer than the announced bytes: 5000");
    assert_eq!(server.paths().len(), 1);

    let server = Server::start(|asked| match asked.path.starts_with("/token") {
        true => Reply::endless(HEAD, CHUNK),
        false => {
            let host = asked.header("host").unwrap();
            Reply::challenge(format!("Bearer realm=\"http://{host}/token\""))
        }
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let outcome = registry(&client, &server.host()).document(&tag()).await;
    assert_error(outcome, ErrorKind::TooLarge, "65536");
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test]
async fn json_as_deep_as_it_is_long_is_refused() {
    let deep = |open: &str| open.repeat(60_000 / open.len());
    for (reply, kind) in [
        (Reply::ok(deep("[")), ErrorKind::Document),
        (Reply::ok(deep("{\"manifests\":[")), ErrorKind::Document),
        (Reply::new(403, deep("{\"errors\":[")), ErrorKind::Denied),
    ] {
        let (error, asked) = ask(reply).await;
        assert_eq!((error.kind(), asked), (kind, 1), "{error}");
    }
    let server = Server::start(move |asked| match asked.path.starts_with("/token") {
        true => Reply::ok(deep("{\"token\":[")),
        false => {
            let host = asked.header("host").unwrap();
            Reply::challenge(format!("Bearer realm=\"http://{host}/token\""))
        }
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let outcome = registry(&client, &server.host()).document(&tag()).await;
    assert_error(outcome, ErrorKind::BadResponse, "not a token");
}

#[tokio::test]
async fn two_answers_for_one_tag_are_two_documents() {
    let old = image_spec::Digest::sha256(&image().manifest);
    // The head speaks of one document, the body is another.
    for (stated, kind) in [(Some(old), Some(ErrorKind::Digest)), (None, None)] {
        let server = Server::start(move |asked| {
            let reply = Reply::ok("{\"other\":1}");
            match (asked.method.as_str(), stated) {
                ("HEAD", _) => reply.with(
                    "docker-content-digest",
                    image_spec::Digest::sha256(b"x").to_string(),
                ),
                (_, Some(stated)) => reply.with("docker-content-digest", stated.to_string()),
                (_, None) => reply,
            }
        })
        .await;
        let client = server.client().retry(QUICK).build().unwrap();
        let source = registry(&client, &server.host());
        let outcome = source.changed(&tag(), &old).await;
        match kind {
            Some(kind) => assert_error(outcome, kind, "another digest"),
            None => assert_eq!(outcome.unwrap().unwrap().bytes, "{\"other\":1}"),
        }
    }
}
