// SPDX-License-Identifier: Apache-2.0
//! Lists that a registry gives in pages: tags, and what refers to an image.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{Client, Error, ErrorKind, Listing, Source, Target};
use image_spec::{Algorithm, Descriptor, Dialect, Digest, Index, MediaType};
use serde_json::json;

use crate::blobs::QUICK;
use crate::image::{INDEX, assert_error, image, registry};
use crate::server::{Asked, Reply, Server};

fn page(tags: &[&str]) -> Reply {
    Reply::ok(json!({"name": "ns/app", "tags": tags}).to_string())
}

fn linked(tags: &[&str], target: &str) -> Reply {
    page(tags).with("link", format!("<{target}>; rel=\"next\""))
}

fn limited(limit: usize) -> Listing {
    Listing {
        limit: Some(limit),
        ..Listing::default()
    }
}

async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Server, Client) {
    let server = Server::start(script).await;
    let client = server.client().build().unwrap();
    (server, client)
}

async fn tags(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Result<Vec<String>, Error> {
    let (server, client) = start(script).await;
    registry(&client, &server.host()).tags(&Listing::default()).await
}

#[tokio::test]
async fn tags_come_in_pages_until_there_are_enough() {
    let (server, client) = start(|asked| match asked.path.as_str() {
        "/v2/ns/app/tags/list" | "/v2/ns/app/tags/list?n=3" => {
            linked(&["a", "b"], "/v2/ns/app/tags/list?last=b&n=2")
        }
        "/v2/ns/app/tags/list?last=b&n=2" => linked(&["c", "d"], "list?last=d"),
        "/v2/ns/app/tags/list?last=d" | "/v2/ns/app/tags/list?n=1000&last=d" => page(&["e"]),
        _ => Reply::error(404, "no such page"),
    })
    .await;
    let source = registry(&client, &server.host());
    let all = source.tags(&Listing::default()).await.unwrap();
    assert_eq!(all, ["a", "b", "c", "d", "e"]);
    assert_eq!(server.paths().len(), 3);
    // Enough is enough: the third page is not asked for.
    assert_eq!(source.tags(&limited(3)).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(server.paths().len(), 5);
    let rest = Listing {
        after: Some("d".to_owned()),
        limit: Some(5000),
    };
    assert_eq!(source.tags(&rest).await.unwrap(), ["e"]);
    assert!(source.tags(&limited(0)).await.unwrap().is_empty());
    assert_eq!(server.paths().len(), 6);
    assert_eq!(server.connections(), 1);
    let bad = Listing {
        after: Some("a&n=1".to_owned()),
        limit: None,
    };
    assert_error(source.tags(&bad).await, ErrorKind::Invalid, "go on after");
    assert!(
        tags(|_| Reply::ok(r#"{"name":"x","tags":null}"#))
            .await
            .unwrap()
            .is_empty()
    );
    let outcome = tags(|_| Reply::error(404, "repository name not known")).await;
    assert_error(outcome, ErrorKind::NotFound, "not known");
}

#[tokio::test]
async fn a_registry_that_gives_all_tags_in_any_order_is_put_right() {
    let (server, client) = start(|_| page(&["c", "a", "d", "b"])).await;
    let source = registry(&client, &server.host());
    for (after, limit, want) in [
        (None, None, &["a", "b", "c", "d"][..]),
        (None, Some(2), &["a", "b"]),
        (Some("b"), None, &["c", "d"]),
        (Some("b"), Some(1), &["c"]),
        (Some("d"), None, &[]),
    ] {
        let listing = Listing {
            after: after.map(str::to_owned),
            limit,
        };
        assert_eq!(source.tags(&listing).await.unwrap(), want, "{listing:?}");
    }
    assert_eq!(server.paths().len(), 5);
}

#[tokio::test]
async fn a_list_goes_on_at_its_own_registry_only() {
    let other = Server::start(|_| page(&["stolen"])).await;
    let place = other.host();
    for target in [
        format!("http://{place}/v2/ns/app/tags/list"),
        format!("//{place}/x"),
        "https://elsewhere.test/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "http://user@127.0.0.1/x".to_owned(),
    ] {
        let outcome = tags(move |_| linked(&["a"], &target)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::BadResponse);
    }
    assert!(other.paths().is_empty());
    for link in [
        "/v2/x; rel=next",
        "</x>; rel=\"next",
        "</x>; rel=next, </y>; rel=next",
    ] {
        let outcome = tags(move |_| page(&["a"]).with("link", link)).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::BadResponse, "{link}");
    }
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let same = tags(|asked| linked(&["a"], &asked.path)).await;
    assert_error(same, ErrorKind::BadResponse, "the same one");
    let count = AtomicUsize::new(0);
    let empty = tags(move |_| linked(&[], &format!("/v2/{}", count.fetch_add(1, Ordering::SeqCst)))).await;
    assert_error(empty, ErrorKind::BadResponse, "without tags");
    let count = AtomicUsize::new(0);
    // Over new connections, which answer small requests faster.
    let short =
        tags(move |_| linked(&["a"], &format!("/v2/{}", count.fetch_add(1, Ordering::SeqCst))).hanging_up())
            .await;
    assert_error(short, ErrorKind::TooLarge, "more than 2000 pages");
    let many = vec!["abcdefghij"; 150_000];
    let count = AtomicUsize::new(0);
    let long = tags(move |_| linked(&many, &format!("/v2/{}", count.fetch_add(1, Ordering::SeqCst)))).await;
    assert_error(long, ErrorKind::TooLarge, "more than 200000 tags");
    let endless = tags(|_| Reply::endless("HTTP/1.1 200 OK\r\n\r\n{\"tags\":[\"a\"", ",\"a\"")).await;
    assert_error(endless, ErrorKind::TooLarge, "4194304");
    for text in [
        "",
        "[]",
        "{\"tags\":{}}",
        "{\"tags\":[1]}",
        "{\"tags\":[\"a\"],\"tags\":[]}",
    ] {
        let outcome = tags(move |_| Reply::ok(text)).await;
        assert_error(outcome, ErrorKind::BadResponse, "cannot be read");
    }
    for tag in ["a/b", "\u{1b}[2J", "", "-a", "a b"] {
        let outcome = tags(move |_| page(&["good", tag])).await;
        assert_error(outcome, ErrorKind::BadResponse, "no tag");
    }
}

#[tokio::test]
async fn a_list_is_tried_again_where_a_blob_would_be() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::error(503, "later"),
        1 => page(&["a"]).claiming(5000),
        _ => page(&["a"]),
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(source.tags(&Listing::default()).await.unwrap(), ["a"]);
    assert_eq!(server.paths().len(), 3);
}

const SIGNATURE: &str = "application/vnd.example.signature+json";

fn subject() -> Digest {
    Digest::sha256(&image().manifest)
}

/// Two entries: a signature and a bill of material.
fn entries() -> Vec<Descriptor> {
    let entry = |text: &str, artifact: &str| Descriptor {
        artifact_type: Some(artifact.to_owned()),
        ..Descriptor::of(MediaType::Manifest(Dialect::Oci), text.as_bytes())
    };
    vec![entry("s", SIGNATURE), entry("b", "text/spdx")]
}

fn index(entries: Vec<Descriptor>) -> Reply {
    Reply::ok(Index::new(Dialect::Oci, entries).to_vec()).with("content-type", INDEX)
}

#[tokio::test]
async fn referrers_come_from_their_own_place() {
    let (server, client) = start(|asked| match asked.path.split_once('?') {
        None if asked.path == format!("/v2/ns/app/referrers/{}", subject()) => {
            index(entries()[..1].to_vec()).with("link", "<?page=2>; rel=next")
        }
        Some((_, "page=2")) => index(entries()[1..].to_vec()),
        // One that does not filter.
        Some((_, query)) => {
            assert_eq!(query, "artifactType=application/vnd.example.signature%2Bjson");
            index(entries())
        }
        None => Reply::error(404, "nothing"),
    })
    .await;
    let source = registry(&client, &server.host());
    assert_eq!(source.referrers(&subject(), None).await.unwrap(), entries());
    let signatures = source.referrers(&subject(), Some(SIGNATURE)).await.unwrap();
    assert_eq!(signatures, entries()[..1]);
    assert_eq!(server.paths().len(), 3);
    let bad = source.referrers(&subject(), Some("no type")).await;
    assert_error(bad, ErrorKind::Invalid, "not an artifact type");
}

#[tokio::test]
async fn a_tag_stands_in_where_there_is_no_such_place() {
    let (server, client) = start(|asked| match asked.path.rsplit_once('/').unwrap().1 {
        name if name == format!("sha256-{}", subject().hex()) => index(entries()),
        _ => Reply::error(404, "page not found"),
    })
    .await;
    let source = registry(&client, &server.host());
    assert_eq!(source.referrers(&subject(), None).await.unwrap(), entries());
    let bills = source.referrers(&subject(), Some("text/spdx")).await.unwrap();
    assert_eq!(bills, entries()[1..]);
    // Neither the place nor the tag: nothing refers to it. Long digests are cut to fit a tag.
    let long = Digest::of(Algorithm::Sha512, b"x");
    assert!(source.referrers(&long, None).await.unwrap().is_empty());
    let last = server.paths().pop().unwrap();
    assert_eq!(last, format!("/v2/ns/app/manifests/sha512-{}", &long.hex()[..64]));
}

#[tokio::test]
async fn a_list_of_referrers_that_is_none_is_refused() {
    let list = |reply: Reply| async move {
        let (server, client) = start(move |_| reply.clone()).await;
        registry(&client, &server.host())
            .referrers(&subject(), None)
            .await
    };
    let manifest = list(Reply::ok(image().manifest)).await;
    assert_error(manifest, ErrorKind::BadResponse, "not an index");
    let page = list(Reply::ok("<html>").with("content-type", "text/html")).await;
    assert_error(page, ErrorKind::Document, "refused");
    assert_error(list(Reply::error(403, "no")).await, ErrorKind::Denied, "no");
    let one = Descriptor::of(MediaType::Manifest(Dialect::Oci), b"x");
    let count = AtomicUsize::new(0);
    let (server, client) = start(move |_| {
        let next = format!("</v2/{}>; rel=next", count.fetch_add(1, Ordering::SeqCst));
        index(vec![one.clone(); 1000]).with("link", next)
    })
    .await;
    let endless = registry(&client, &server.host())
        .referrers(&subject(), None)
        .await;
    assert_error(endless, ErrorKind::TooLarge, "more than 4096 referrers");
}

#[tokio::test]
async fn the_size_of_a_blob_is_asked_for_without_it() {
    let blob = b"0123456789";
    let digest = Digest::sha256(blob);
    let (server, client) = start(|_| Reply::ok("0123456789")).await;
    let source = registry(&client, &server.host());
    assert_eq!(source.size(&digest).await.unwrap(), 10);
    assert_eq!(server.asked()[0].method, "HEAD");
    assert_eq!(server.paths().len(), 1);
    // Storage that takes no HEAD is asked as for the blob.
    for head in [Reply::error(403, "signed for GET"), Reply::ok("").chunked()] {
        let (server, client) = start(move |asked| match asked.method.as_str() {
            "HEAD" => head.clone(),
            _ => Reply::ok("0123456789"),
        })
        .await;
        let source = registry(&client, &server.host());
        assert_eq!(source.size(&digest).await.unwrap(), 10);
        assert_eq!(server.paths().len(), 2);
    }
    let (server, client) = start(|_| Reply::ok("0123456789").chunked()).await;
    let source = registry(&client, &server.host());
    assert_error(source.size(&digest).await, ErrorKind::BadResponse, "does not say");
    let (server, client) = start(|_| Reply::error(404, "blob unknown")).await;
    let source = registry(&client, &server.host());
    assert_error(source.size(&digest).await, ErrorKind::NotFound, "blob unknown");
    // Numbers are for lists that have an order of their own.
    let outcome = source.document(&Target::Number(0)).await;
    assert_error(outcome, ErrorKind::Invalid, "name a tag or a digest");
    drop(server);
}
