// SPDX-License-Identifier: Apache-2.0
//! Pulls without authentication: what is asked, and what is believed.

use std::time::Duration;

use distribution::{ErrorKind, Source, Target, config, resolve};
use image_spec::{Descriptor, Digest, Document, MediaType};

use crate::image::{INDEX, MANIFEST, amd64, assert_error, chain, image, layer_type, pull, registry, tag};
use crate::server::{Reply, Server};

#[tokio::test]
async fn a_pull_asks_for_each_thing_once_over_one_connection() {
    let image = image();
    let (paths, layer) = (image.paths("ns/app"), image.layer.clone());
    let server = Server::start(move |asked| image.serve(asked)).await;
    let client = server.client().build().unwrap();
    assert_eq!(pull(&registry(&client, &server.host())).await.unwrap(), layer);
    assert_eq!(server.paths(), paths);
    assert_eq!(server.connections(), 1);
    let first = &server.asked()[0];
    assert_eq!(first.header("host"), Some(server.host().as_str()));
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert_eq!(first.header("authorization"), None);
    for kind in [
        MANIFEST,
        INDEX,
        "docker.distribution.manifest.v2+json",
        "manifest.list.v2+json",
    ] {
        assert!(first.header("accept").unwrap().contains(kind), "{kind}");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_replaced() {
    let image = image();
    let (paths, layer) = (image.paths("ns/app"), image.layer.clone());
    let server = Server::start(move |asked| image.serve(asked).hanging_up()).await;
    let client = server.client().build().unwrap();
    assert_eq!(pull(&registry(&client, &server.host())).await.unwrap(), layer);
    assert_eq!(server.paths(), paths);
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_chunked_body_is_as_good_as_one_with_a_length() {
    let image = image();
    let layer = image.layer.clone();
    let server = Server::start(move |asked| image.serve(asked).chunked()).await;
    let client = server.client().build().unwrap();
    assert_eq!(pull(&registry(&client, &server.host())).await.unwrap(), layer);
}

#[tokio::test]
async fn an_embedded_config_is_not_asked_for() {
    let image = image();
    let Document::Manifest(mut manifest) = Document::parse(&image.manifest, None).unwrap() else {
        panic!()
    };
    manifest.config.data = Some(image.config.clone());
    let bytes = manifest.to_vec();
    let server = Server::start(move |_| Reply::ok(bytes.clone()).with("content-type", MANIFEST)).await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    let found = resolve(&source, &tag(), &amd64()).await.unwrap();
    assert_eq!(config(&source, &found.manifest).await.unwrap(), image.config);
    assert_eq!(server.paths(), ["/v2/ns/app/manifests/tag"]);
}

#[tokio::test]
async fn documents_are_checked_before_they_are_believed() {
    let image = image();
    let manifest = image.manifest.clone();
    let good = Digest::sha256(&manifest);
    let other = Digest::sha256(b"other");
    let document = |reply: Reply| reply.with("content-type", MANIFEST);
    let large = vec![b' '; (4 << 20) + 1];
    for (name, target, reply, want) in [
        (
            "digest matches",
            Target::Digest(good),
            document(Reply::ok(manifest.clone())),
            None,
        ),
        (
            "digest does not",
            Target::Digest(other),
            document(Reply::ok(manifest.clone())),
            Some((ErrorKind::Digest, "another digest")),
        ),
        (
            "stated digest is wrong",
            tag(),
            document(Reply::ok(manifest.clone())).with("docker-content-digest", other.to_string()),
            Some((ErrorKind::Digest, "another digest")),
        ),
        (
            "stated digest is no digest",
            tag(),
            document(Reply::ok(manifest.clone())).with("docker-content-digest", "sha256:../.."),
            Some((ErrorKind::BadResponse, "Docker-Content-Digest")),
        ),
        (
            "type has parameters",
            tag(),
            Reply::ok(manifest.clone()).with("content-type", format!("{MANIFEST}; charset=utf-8")),
            None,
        ),
        (
            "type is generic",
            tag(),
            Reply::ok(manifest.clone()).with("content-type", "application/json"),
            None,
        ),
        ("type is absent", tag(), Reply::ok(manifest.clone()), None),
        (
            "type is another",
            tag(),
            Reply::ok(manifest.clone()).with("content-type", INDEX),
            Some((ErrorKind::Document, "media type")),
        ),
        (
            "type is no type",
            tag(),
            Reply::ok(manifest.clone()).with("content-type", "///"),
            Some((ErrorKind::BadResponse, "Content-Type")),
        ),
        (
            "too large by its length",
            tag(),
            document(Reply::ok(large.clone())),
            Some((ErrorKind::TooLarge, "4194304")),
        ),
        (
            "too large in chunks",
            tag(),
            document(Reply::ok(large).chunked()),
            Some((ErrorKind::TooLarge, "4194304")),
        ),
        (
            "encoded",
            tag(),
            document(Reply::ok(manifest.clone())).with("content-encoding", "gzip"),
            Some((ErrorKind::BadResponse, "`gzip`")),
        ),
        (
            "cut short",
            tag(),
            document(Reply::ok(manifest[..20].to_vec())).claiming(manifest.len() as u64),
            Some((ErrorKind::Interrupted, "after 20 bytes")),
        ),
        (
            "no HTTP",
            tag(),
            Reply::raw("SSH-2.0-OpenSSH\r\n\r\n"),
            Some((ErrorKind::BadResponse, "no HTTP response")),
        ),
        (
            "endless head",
            tag(),
            Reply::raw(format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(1 << 20))),
            Some((ErrorKind::BadResponse, "no HTTP response")),
        ),
        (
            "silent end",
            tag(),
            Reply::raw(""),
            Some((ErrorKind::Unreachable, "closed the connection")),
        ),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let client = server.client().build().unwrap();
        let outcome = resolve(&registry(&client, &server.host()), &target, &amd64()).await;
        match (outcome, want) {
            (Ok(found), None) => assert_eq!(found.top.digest, good, "{name}"),
            (Err(error), Some((kind, part))) => {
                assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
                assert!(chain(&error).contains(part), "{name}: {}", chain(&error));
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_digest_in_another_algorithm_is_stated_and_kept() {
    let image = image();
    let stated = Digest::of(image_spec::Algorithm::Sha512, &image.manifest);
    let server = Server::start(move |_| {
        Reply::ok(image.manifest.clone()).with("docker-content-digest", stated.to_string())
    })
    .await;
    let client = server.client().build().unwrap();
    let fetched = registry(&client, &server.host()).document(&tag()).await.unwrap();
    assert_eq!(fetched.digest, stated);
}

#[tokio::test]
async fn blobs_are_checked_while_they_pass() {
    let good: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let size = good.len() as u64;
    let mut wrong = good.clone();
    wrong[70_000] ^= 1;
    let longer = [good.as_slice(), b"!"].concat();
    let part = good[..40_000].to_vec();
    let drip = Duration::from_millis(10);
    for (name, reply, kind, message) in [
        (
            "wrong bytes",
            Reply::ok(wrong),
            ErrorKind::Digest,
            "another digest",
        ),
        (
            "short, honest about it",
            Reply::ok(part.clone()),
            ErrorKind::Size,
            "announces 40000 bytes, the manifest 100000",
        ),
        (
            "short, no length",
            Reply::ok(part.clone()).closing(),
            ErrorKind::Size,
            "ended after 40000 of 100000 bytes",
        ),
        (
            "cut",
            Reply::ok(part.clone()).claiming(size),
            ErrorKind::Interrupted,
            "of 100000 bytes",
        ),
        (
            "reset",
            Reply::ok(part.clone()).reset(size),
            ErrorKind::Interrupted,
            "of 100000 bytes",
        ),
        (
            "long, honest about it",
            Reply::ok(longer.clone()),
            ErrorKind::Size,
            "announces 100001 bytes",
        ),
        (
            "long, no length",
            Reply::ok(longer.clone()).closing(),
            ErrorKind::Size,
            "longer than the announced bytes: 100000",
        ),
        (
            "long, in chunks",
            Reply::ok(longer).chunked(),
            ErrorKind::Size,
            "longer than the announced bytes: 100000",
        ),
        (
            "stalled",
            Reply::ok(part.clone()).stalling(size),
            ErrorKind::Timeout,
            "after 40000 of 100000 bytes",
        ),
        (
            "dripping",
            Reply::ok("").dripping(size, drip),
            ErrorKind::Timeout,
            "of 100000 bytes",
        ),
        ("silent", Reply::silent(), ErrorKind::Timeout, "no response"),
        (
            "encoded",
            Reply::ok(good.clone()).with("content-encoding", "gzip"),
            ErrorKind::BadResponse,
            "encoding",
        ),
        (
            "partial",
            Reply::new(206, good.clone()),
            ErrorKind::BadResponse,
            "206",
        ),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let client = server
            .client()
            .idle_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let descriptor = Descriptor::of(layer_type(), &good);
        let outcome = match registry(&client, &server.host()).blob(&descriptor).await {
            Ok(blob) => blob.read_all(u64::MAX).await,
            Err(error) => Err(error),
        };
        let error = outcome.map(|_| name).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
        assert!(chain(&error).contains(message), "{name}: {}", chain(&error));
    }
}

#[tokio::test]
async fn a_blob_that_failed_never_ends_well() {
    let server = Server::start(|_| Reply::ok("abcx")).await;
    let client = server.client().build().unwrap();
    let descriptor = Descriptor::of(layer_type(), b"abcd");
    let mut blob = registry(&client, &server.host()).blob(&descriptor).await.unwrap();
    assert_eq!(blob.size(), 4);
    assert_eq!(blob.chunk().await.unwrap().unwrap(), "abcx");
    assert_error(blob.chunk().await, ErrorKind::Digest, "another digest");
    assert_error(blob.chunk().await, ErrorKind::Io, "failed before");
}

#[tokio::test]
async fn a_config_over_its_limit_is_not_asked_for() {
    let server = Server::start(|_| Reply::ok("")).await;
    let client = server.client().build().unwrap();
    let image = image();
    let Document::Manifest(mut manifest) = Document::parse(&image.manifest, None).unwrap() else {
        panic!()
    };
    manifest.config.size = (8 << 20) + 1;
    let outcome = config(&registry(&client, &server.host()), &manifest).await;
    assert_error(outcome, ErrorKind::TooLarge, "8388609");
    assert!(server.paths().is_empty());
}

#[tokio::test]
async fn a_status_becomes_a_kind_and_the_registrys_words_become_harmless() {
    let long = "x".repeat(1000);
    for (status, message, kind, part) in [
        (
            404,
            "manifest unknown",
            ErrorKind::NotFound,
            "answered 404 Not Found: manifest unknown",
        ),
        (403, "go away", ErrorKind::Denied, "go away"),
        (429, "slow down", ErrorKind::RateLimited, "slow down"),
        (500, "oops", ErrorKind::Unavailable, "oops"),
        (503, "later", ErrorKind::Unavailable, "later"),
        (418, "tea", ErrorKind::BadResponse, "tea"),
        (404, "a\u{1b}[2Jb\r\nc\u{202e}d", ErrorKind::NotFound, ": a[2Jbcd"),
        (404, long.as_str(), ErrorKind::NotFound, "xxx…"),
    ] {
        let reply = Reply::error(status, message);
        let server = Server::start(move |_| reply.clone()).await;
        let client = server.client().build().unwrap();
        let error = registry(&client, &server.host())
            .document(&tag())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains(part), "{error}");
        assert!(
            error.to_string().starts_with("document `tag` of `127.0.0.1:"),
            "{error}"
        );
        assert!(error.to_string().chars().count() < 350, "{error}");
    }
}

#[tokio::test]
async fn a_target_that_a_registry_cannot_have_is_not_asked_for() {
    let server = Server::start(|_| Reply::ok("{}")).await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    assert_error(
        source.document(&Target::Only).await,
        ErrorKind::Invalid,
        "name a tag or a digest",
    );
    let long = "a".repeat(129);
    for tag in [
        "",
        "../x",
        "a/b",
        "a?b",
        "a b",
        "-a",
        ".a",
        "a\r\nhost: x",
        long.as_str(),
    ] {
        assert_error(
            source.document(&Target::Tag(tag.to_owned())).await,
            ErrorKind::Invalid,
            "not a tag",
        );
    }
    assert!(server.paths().is_empty());
}

#[tokio::test]
async fn foreign_urls_are_not_followed() {
    let image = image();
    let server = Server::start(|_| Reply::error(404, "not here")).await;
    let foreign = Server::start(move |_| Reply::ok(image.layer.clone())).await;
    let client = server.client().plain_http(&foreign.host()).build().unwrap();
    let mut descriptor = Descriptor::of(MediaType::Other("application/x".into()), b"x");
    descriptor.urls = vec![format!("http://{}/layer", foreign.host())];
    assert_error(
        registry(&client, &server.host()).blob(&descriptor).await,
        ErrorKind::NotFound,
        "not here",
    );
    assert_eq!(foreign.connections(), 0);
}
