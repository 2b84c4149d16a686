// SPDX-License-Identifier: Apache-2.0
//! No request that can be spared: what is known already, and parts of a blob.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{ErrorKind, Layout, MAX_RANGE, Source, Target};
use image_spec::{Algorithm, Digest};

use crate::blobs::{QUICK, descriptor, noise, part, serve};
use crate::image::{MANIFEST, assert_error, image, registry, tag};
use crate::server::{Reply, Server};

/// The methods of all requests so far.
fn methods(server: &Server) -> Vec<String> {
    server.asked().into_iter().map(|asked| asked.method).collect()
}

#[tokio::test]
async fn a_tag_that_is_still_the_same_costs_one_head() {
    let server = Server::start(|asked| image().serve(asked)).await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    let known = Digest::sha256(&image().manifest);
    assert!(source.changed(&tag(), &known).await.unwrap().is_none());
    assert!(source.changed(&tag(), &known).await.unwrap().is_none());
    assert_eq!(methods(&server), ["HEAD", "HEAD"]);
    assert!(server.asked()[0].header("accept").unwrap().contains(MANIFEST));
    assert_eq!(server.connections(), 1);
    // What is named by its digest cannot change.
    let same = Target::Digest(known);
    assert!(source.changed(&same, &known).await.unwrap().is_none());
    assert_eq!(server.paths().len(), 2);
}

#[tokio::test]
async fn a_tag_that_moved_brings_its_document() {
    let server = Server::start(|asked| image().serve(asked)).await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    let old = Digest::sha256(b"old");
    let fetched = source.changed(&tag(), &old).await.unwrap().unwrap();
    assert_eq!(fetched.bytes, image().manifest);
    assert_eq!(methods(&server), ["HEAD", "GET"]);
}

#[tokio::test]
async fn a_registry_that_states_no_digest_is_asked_for_the_document() {
    let manifest = image().manifest;
    let known = Digest::sha256(&manifest);
    let sha512 = Digest::of(Algorithm::Sha512, &manifest);
    for (head, get) in [
        (Reply::ok(manifest.clone()), Reply::ok(manifest.clone())),
        (Reply::error(405, "no"), Reply::ok(manifest.clone())),
        (Reply::error(404, "no"), Reply::ok(manifest.clone())),
        (
            Reply::ok("").with("docker-content-digest", "nonsense"),
            Reply::ok(manifest.clone()),
        ),
        // The same document under another name.
        (
            Reply::ok("").with("docker-content-digest", sha512.to_string()),
            Reply::ok(manifest.clone()).with("docker-content-digest", sha512.to_string()),
        ),
    ] {
        let server = Server::start(move |asked| match asked.method.as_str() {
            "HEAD" => head.clone(),
            _ => get.clone(),
        })
        .await;
        let client = server.client().build().unwrap();
        let source = registry(&client, &server.host());
        assert!(source.changed(&tag(), &known).await.unwrap().is_none());
        assert_eq!(methods(&server), ["HEAD", "GET"]);
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_not_asked_in_two_ways() {
    let server = Server::start(|_| Reply::error(503, "later")).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = source.changed(&tag(), &Digest::sha256(b"old")).await;
    assert_error(outcome, ErrorKind::Unavailable, "tried 4 times");
    assert_eq!(methods(&server), ["HEAD"; 4]);
    // A tag that is gone is told in the registry's own words, which a HEAD cannot carry.
    let server = Server::start(|_| Reply::error(404, "no such tag")).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = source.changed(&tag(), &Digest::sha256(b"old")).await;
    assert_error(outcome, ErrorKind::NotFound, "no such tag");
}

#[tokio::test]
async fn a_token_is_used_for_the_head_and_what_follows() {
    let server = Server::start(|asked| {
        let host = asked.header("host").unwrap();
        match asked.header("authorization") {
            _ if asked.path.starts_with("/token") => Reply::ok(r#"{"token":"t"}"#),
            Some("Bearer t") => image().serve(asked),
            _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    source
        .changed(&tag(), &Digest::sha256(b"old"))
        .await
        .unwrap()
        .unwrap();
    // 401, token, answer; then the document with the same token.
    assert_eq!(methods(&server), ["HEAD", "GET", "HEAD", "GET"]);
}

#[tokio::test]
async fn a_range_brings_its_bytes_and_no_others() {
    let blob = noise(300_000);
    let bytes = blob.clone();
    let server = Server::start(move |asked| serve(asked, &bytes)).await;
    let client = server.client().build().unwrap();
    let source = registry(&client, &server.host());
    let wanted = descriptor(&blob);
    for (range, header) in [
        (0..10, Some("bytes=0-9")),
        (5..6, Some("bytes=5-5")),
        (100_000..300_000, Some("bytes=100000-")),
        (0..300_000, None),
    ] {
        let got = source.range(&wanted, range.clone()).await.unwrap();
        assert_eq!(got, blob[range.start as usize..range.end as usize]);
        assert_eq!(server.asked().last().unwrap().header("range"), header);
    }
    assert_eq!(server.connections(), 1);
    let count = server.paths().len();
    assert!(source.range(&wanted, 7..7).await.unwrap().is_empty());
    let mut large = wanted.clone();
    large.size = u64::MAX;
    #[expect(clippy::reversed_empty_ranges)]
    for (of, range, kind) in [
        (&wanted, 0..300_001, ErrorKind::Invalid),
        (&wanted, 10..5, ErrorKind::Invalid),
        (&large, 1..MAX_RANGE + 2, ErrorKind::TooLarge),
    ] {
        assert_error(source.range(of, range).await, kind, "range");
    }
    assert_eq!(server.paths().len(), count);
}

#[tokio::test]
async fn a_range_survives_what_a_blob_survives() {
    let blob = noise(300_000);
    let (bytes, count) = (blob.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::error(503, "later"),
        1 => Reply::new(206, &bytes[1000..2000])
            .with("content-range", "bytes 1000-99999/300000")
            .claiming(99_000),
        2 => part(&bytes, 0, 10),
        _ => {
            assert_eq!(asked.header("range"), None);
            Reply::ok(&bytes[..])
        }
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let got = source.range(&descriptor(&blob), 1000..100_000).await.unwrap();
    assert_eq!(got, blob[1000..100_000]);
    assert_eq!(server.paths().len(), 4);
}

#[tokio::test]
async fn a_range_of_what_is_here_needs_no_network() {
    let blob = b"0123456789".to_vec();
    let server = Server::start(|_| Reply::error(500, "no")).await;
    let client = server.client().build().unwrap();
    let mut embedded = descriptor(&blob);
    embedded.data = Some(blob.clone());
    let source = registry(&client, &server.host());
    assert_eq!(source.range(&embedded, 3..7).await.unwrap(), "3456");
    assert!(server.paths().is_empty());

    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(blobs.join(Digest::sha256(&blob).hex()), &blob).unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    for range in [0..10, 3..7, 9..10, 4..4] {
        let got = layout.range(&descriptor(&blob), range.clone()).await.unwrap();
        assert_eq!(got, blob[range.start as usize..range.end as usize]);
    }
}
