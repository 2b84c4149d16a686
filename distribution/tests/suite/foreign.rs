// SPDX-License-Identifier: Apache-2.0
//! Blobs that a manifest says are elsewhere.

use std::sync::Arc;

use distribution::{ClientBuilder, Credential, Error, ErrorKind, Layout, Source};
use image_spec::Descriptor;

use crate::blobs::{QUICK, descriptor, noise, serve};
use crate::image::{assert_error, registry};
use crate::server::{Reply, Server, authority, wary};

const SIZE: usize = 300_000;

fn blob() -> Vec<u8> {
    noise(SIZE)
}

/// The blob, with these places for it.
fn at(urls: &[String]) -> Descriptor {
    Descriptor {
        urls: urls.to_vec(),
        ..descriptor(&blob())
    }
}

/// A server with TLS, and a client that trusts it.
async fn store(
    script: impl Fn(&crate::server::Asked) -> Reply + Send + Sync + 'static,
) -> (Server, ClientBuilder) {
    let (pem, acceptor) = authority();
    let server = Server::start_tls(acceptor, script).await;
    (server, wary().ca_pem(pem))
}

async fn read(source: &dyn Source, wanted: &Descriptor) -> Result<Vec<u8>, Error> {
    source.blob(wanted).await?.read_all(u64::MAX).await.map(Vec::from)
}

#[tokio::test]
async fn a_place_is_asked_only_if_it_is_allowed_by_name() {
    let (store, client) = store(|asked| serve(asked, &blob())).await;
    let registry_server = Server::start(|_| Reply::error(404, "blob unknown")).await;
    let host = registry_server.host();
    let url = format!("https://{}/layer", store.host());
    let client = client.plain_http(&host);
    let refusing = client.build().unwrap();
    let source = refusing.with_foreign(Arc::new(registry(&refusing, &host)));
    for (urls, hint) in [
        (
            vec![url.clone()],
            format!("`https://{}`, which is asked only if it is allowed", store.host()),
        ),
        (
            vec![url.replace("https", "http")],
            "not asked without TLS".to_owned(),
        ),
    ] {
        let error = source.blob(&at(&urls)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(
            error.hint().is_some_and(|found| found.contains(&hint)),
            "{:?}",
            error.hint()
        );
    }
    assert_error(source.blob(&at(&[])).await, ErrorKind::NotFound, "blob unknown");
    assert!(store.asked().is_empty());
}

#[tokio::test]
async fn an_allowed_place_gives_what_the_registry_lacks_and_sees_no_secret() {
    let (store, client) = store(|asked| serve(asked, &blob())).await;
    let registry_server = Server::start(|_| Reply::error(404, "blob unknown")).await;
    let host = registry_server.host();
    let secret = || Credential::parse("me:secret").unwrap();
    let client = client
        .plain_http(&host)
        .foreign_host(&store.host())
        .credential(&host, secret())
        .credential(&store.host(), secret())
        .build()
        .unwrap();
    let source = client.with_foreign(Arc::new(registry(&client, &host)));
    let urls = [
        "ftp://elsewhere.test/x".to_owned(),
        format!("http://{}/layer", store.host()),
        "https://elsewhere.test/layer".to_owned(),
        format!("https://{}/layer", store.host()),
    ];
    assert_eq!(read(&*source, &at(&urls)).await.unwrap(), blob());
    assert_eq!(
        source.range(&at(&urls), 1000..2000).await.unwrap(),
        blob()[1000..2000]
    );
    assert_eq!(store.paths(), ["/layer", "/layer"]);
    assert_eq!(store.asked()[1].header("range"), Some("bytes=1000-1999"));
    for asked in store.asked() {
        assert_eq!(asked.header("authorization"), None);
    }
    assert_eq!(registry_server.paths().len(), 2);
}

#[tokio::test]
async fn a_place_is_not_asked_for_what_the_source_has() {
    let (store, client) = store(|_| Reply::error(500, "not me")).await;
    let registry_server = Server::start(|asked| serve(asked, &blob())).await;
    let host = registry_server.host();
    let client = client
        .plain_http(&host)
        .foreign_host(&store.host())
        .build()
        .unwrap();
    let source = client.with_foreign(Arc::new(registry(&client, &host)));
    let wanted = at(&[format!("https://{}/layer", store.host())]);
    assert_eq!(read(&*source, &wanted).await.unwrap(), blob());
    assert!(store.asked().is_empty());
    // Nor where the registry refuses or fails.
    for status in [401, 403, 500] {
        let server = Server::start(move |_| Reply::error(status, "no")).await;
        let client = wary()
            .plain_http(&server.host())
            .foreign_host(&store.host())
            .build()
            .unwrap();
        let source = client.with_foreign(Arc::new(registry(&client, &server.host())));
        let error = source.blob(&wanted).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::NotFound);
    }
    assert!(store.asked().is_empty());
}

#[tokio::test]
async fn what_a_place_gives_is_checked_like_everything_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut wrong = blob();
    wrong[9] ^= 1;
    for (reply, kind, part) in [
        (Reply::ok(wrong), ErrorKind::Digest, "another digest"),
        (Reply::ok("short"), ErrorKind::Size, "announces 5 bytes"),
        (
            Reply::ok(blob()).with("content-encoding", "gzip"),
            ErrorKind::BadResponse,
            "content encoding",
        ),
        (
            Reply::challenge("Basic realm=\"x\""),
            ErrorKind::Unauthorized,
            "401",
        ),
        (Reply::error(404, "gone"), ErrorKind::NotFound, "gone"),
        (
            Reply::redirect(302, "http://127.0.0.1:1/x"),
            ErrorKind::Denied,
            "leaves TLS",
        ),
    ] {
        let (store, client) = store(move |_| reply.clone()).await;
        let client = client.foreign_host(&store.host()).build().unwrap();
        let source = client.with_foreign(Arc::new(Layout::open(dir.path()).unwrap()));
        let wanted = at(&[format!("https://{}/layer", store.host())]);
        assert_error(read(&*source, &wanted).await, kind, part);
        assert_eq!(store.paths(), ["/layer"]);
    }
}

#[tokio::test]
async fn a_broken_response_of_a_place_is_taken_up_again() {
    let cut = std::sync::atomic::AtomicBool::new(true);
    let (store, client) = store(
        move |asked| match cut.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => Reply::ok(&blob()[..100_000]).claiming(SIZE as u64),
            false => serve(asked, &blob()),
        },
    )
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let client = client.retry(QUICK).foreign_host(&store.host()).build().unwrap();
    let source = client.with_foreign(Arc::new(Layout::open(dir.path()).unwrap()));
    let wanted = at(&[format!("https://{}/layer", store.host())]);
    assert_eq!(read(&*source, &wanted).await.unwrap(), blob());
    assert_eq!(store.asked()[1].header("range"), Some("bytes=100000-"));
}
