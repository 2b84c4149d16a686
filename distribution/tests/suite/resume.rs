// SPDX-License-Identifier: Apache-2.0
//! Blobs that break off and are taken up again.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use distribution::{ErrorKind, Source};

use crate::blobs::{QUICK, descriptor, noise, part, range, read, serve};
use crate::image::{assert_error, registry};
use crate::server::{Asked, Reply, Server};

const SIZE: usize = 1 << 20;
const CUT: usize = 300_000;

/// A server whose first answer breaks off at [`CUT`]; the others are the test's.
async fn broken(blob: &[u8], later: impl Fn(&Asked, &[u8]) -> Reply + Send + Sync + 'static) -> Server {
    let (blob, count) = (blob.to_vec(), AtomicUsize::new(0));
    Server::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::ok(&blob[..CUT])
            .with("etag", "\"one\"")
            .claiming(blob.len() as u64),
        _ => later(asked, &blob),
    })
    .await
}

/// The ranges that were asked for, in order.
fn ranges(server: &Server) -> Vec<Option<String>> {
    let asked = server.asked();
    asked
        .iter()
        .map(|asked| asked.header("range").map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn a_blob_goes_on_where_it_broke() {
    let blob = noise(SIZE);
    let server = broken(&blob, |asked, blob| serve(asked, blob).with("etag", "\"one\"")).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(ranges(&server), [None, Some(format!("bytes={CUT}-"))]);
}

#[tokio::test]
async fn fifty_cuts_cost_no_byte_twice() {
    let blob = noise(8 << 20);
    let mut state = 7_u64;
    let mut cuts: BTreeSet<usize> = BTreeSet::new();
    while cuts.len() < 50 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        cuts.insert((state >> 33) as usize % blob.len());
    }
    let (bytes, cuts, sent) = (blob.clone(), Mutex::new(cuts), AtomicUsize::new(0));
    let sent = std::sync::Arc::new(sent);
    let counted = std::sync::Arc::clone(&sent);
    let server = Server::start(move |asked| {
        let (first, last) = range(asked, bytes.len()).unwrap_or((0, bytes.len() - 1));
        let cut = {
            let mut cuts = cuts.lock().unwrap();
            cuts.retain(|cut| *cut > first);
            cuts.pop_first()
        };
        let end = cut.unwrap_or(last + 1);
        counted.fetch_add(end - first, Ordering::SeqCst);
        let length = (last + 1 - first) as u64;
        match asked.header("range") {
            Some(_) => Reply::new(206, &bytes[first..end])
                .with("content-range", format!("bytes {first}-{last}/{}", bytes.len()))
                .claiming(length),
            None => Reply::ok(&bytes[first..end]).claiming(length),
        }
    })
    .await;
    // Several cuts may come within the 64 KiB that count as progress.
    let client = server
        .client()
        .retry(distribution::Retry { count: 20, ..QUICK })
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(server.paths().len(), 51);
    assert_eq!(sent.load(Ordering::SeqCst), blob.len());
}

#[tokio::test]
async fn silence_and_resets_are_taken_up_too() {
    let blob = noise(SIZE);
    for first in [
        Reply::ok(&blob[..CUT]).stalling(SIZE as u64),
        Reply::ok(&blob[..CUT]).reset(SIZE as u64),
        // The end of the connection is the end of the body, and too early.
        Reply::ok(&blob[..CUT]).closing(),
    ] {
        let (bytes, count) = (blob.clone(), AtomicUsize::new(0));
        let server = Server::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) {
            0 => first.clone(),
            _ => serve(asked, &bytes),
        })
        .await;
        let client = server
            .client()
            .retry(QUICK)
            .idle_timeout(Duration::from_millis(300))
            .build()
            .unwrap();
        let source = registry(&client, &server.host());
        assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
        let asked = ranges(&server);
        assert_eq!(asked.len(), 2);
        // A reset may take bytes with it that had arrived.
        let from = asked[1].as_ref().map_or(0, |text| {
            text.trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .unwrap()
        });
        assert!(from <= CUT, "{asked:?}");
    }
}

#[tokio::test]
async fn odd_answers_to_a_range_lead_back_to_the_whole() {
    type Odd = fn(&[u8]) -> Reply;
    let odd: [(&str, Odd); 12] = [
        ("another start", |blob| part(blob, CUT - 1, SIZE - 1)),
        ("a later start", |blob| part(blob, CUT + 1, SIZE - 1)),
        ("from the beginning", |blob| part(blob, 0, SIZE - 1)),
        ("no Content-Range", |blob| Reply::new(206, &blob[CUT..])),
        ("a malformed one", |blob| {
            Reply::new(206, &blob[CUT..]).with("content-range", "bytes x-y/z")
        }),
        ("several parts", |blob| {
            Reply::new(206, &blob[CUT..]).with("content-type", "multipart/byteranges; boundary=x")
        }),
        ("another size", |blob| {
            let range = format!("bytes {CUT}-{}/{}", SIZE - 1, SIZE + 1);
            Reply::new(206, &blob[CUT..]).with("content-range", range)
        }),
        ("past the end", |blob| {
            let range = format!("bytes {CUT}-{SIZE}/*");
            Reply::new(206, &blob[CUT..]).with("content-range", range)
        }),
        ("another length", |blob| {
            let range = format!("bytes {CUT}-{}/{SIZE}", SIZE - 1);
            Reply::new(206, &blob[CUT + 1..]).with("content-range", range)
        }),
        ("another version", |blob| {
            part(blob, CUT, SIZE - 1).with("etag", "\"two\"")
        }),
        ("status 416", |_| {
            Reply::error(416, "no such range").with("content-range", format!("bytes */{SIZE}"))
        }),
        ("status 416 for a part", |_| Reply::error(416, "no such range")),
    ];
    for (name, odd) in odd {
        let blob = noise(SIZE);
        let server = broken(&blob, move |asked, blob| match asked.header("range") {
            Some(_) => odd(blob),
            None => Reply::ok(blob).with("etag", "\"two\""),
        })
        .await;
        let client = server.client().retry(QUICK).build().unwrap();
        let source = registry(&client, &server.host());
        assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob, "{name}");
        // Once is enough to know.
        assert_eq!(
            ranges(&server),
            [None, Some(format!("bytes={CUT}-")), None],
            "{name}"
        );
    }
}

#[tokio::test]
async fn everything_instead_of_a_range_is_compared_and_skipped() {
    let blob = noise(SIZE);
    let server = broken(&blob, |_, blob| Reply::ok(blob)).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(server.paths().len(), 2);

    // Other bytes than before the cut: told there, not at the end.
    let server = broken(&blob, |_, blob| {
        let mut other = blob.to_vec();
        other[CUT - 1] ^= 1;
        Reply::ok(other)
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let mut stream = source.blob(&descriptor(&blob)).await.unwrap();
    let mut got = 0;
    let error = loop {
        match stream.chunk().await {
            Ok(Some(bytes)) => got += bytes.len(),
            Ok(None) => panic!("accepted"),
            Err(error) => break error,
        }
    };
    assert_eq!((got, error.kind()), (CUT, ErrorKind::Digest));
    assert!(error.to_string().contains("others than before"), "{error}");
    assert_eq!(server.paths().len(), 2);

    // Another length than before the cut.
    let server = broken(&blob, |_, blob| Reply::ok(&blob[1..])).await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::Size, "announces 1048575 bytes");
}

#[tokio::test]
async fn a_server_that_gives_ranges_in_smaller_parts_is_asked_until_all_is_there() {
    let blob = noise(SIZE);
    let server = broken(&blob, |asked, blob| {
        let (first, last) = range(asked, blob.len()).unwrap();
        part(blob, first, last.min(first + (200 << 10) - 1))
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(server.paths().len(), 1 + (SIZE - CUT).div_ceil(200 << 10));

    // But not for ever, byte by byte.
    let server = broken(&blob, |asked, blob| {
        let (first, _) = range(asked, blob.len()).unwrap();
        part(blob, first, first)
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::Size, "tried 4 times");
    assert_eq!(server.paths().len(), 4);
}

#[tokio::test]
async fn a_range_with_wrong_bytes_is_found_out() {
    let blob = noise(SIZE);
    let server = broken(&blob, |asked, blob| {
        let mut other = blob.to_vec();
        other[SIZE - 1] ^= 1;
        serve(asked, &other)
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::Digest, "another digest");
    assert_eq!(server.paths().len(), 2);
    // More bytes than the range has.
    let server = broken(&blob, |_, blob| {
        let range = format!("bytes {CUT}-{}/{SIZE}", SIZE - 2);
        Reply::new(206, &blob[CUT..])
            .with("content-range", range)
            .chunked()
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::BadResponse, "than the Content-Range says");
}

#[tokio::test]
async fn a_blob_that_breaks_at_the_same_byte_for_ever_fails() {
    let blob = noise(SIZE);
    let server = broken(&blob, |_, blob| {
        Reply::new(206, Vec::new())
            .with("content-range", format!("bytes {CUT}-{}/{SIZE}", SIZE - 1))
            .claiming((blob.len() - CUT) as u64)
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(
        outcome,
        ErrorKind::Interrupted,
        "after 300000 of 1048576 bytes (tried 4 times)",
    );
    assert_eq!(server.paths().len(), 4);
}

#[tokio::test]
async fn what_is_gone_or_forbidden_meanwhile_ends_the_blob() {
    for (status, kind) in [(403, ErrorKind::Denied), (404, ErrorKind::NotFound)] {
        let blob = noise(SIZE);
        let server = broken(&blob, move |_, _| Reply::error(status, "gone")).await;
        let client = server.client().retry(QUICK).build().unwrap();
        let source = registry(&client, &server.host());
        assert_error(read(&source, &descriptor(&blob)).await, kind, "gone");
        assert_eq!(server.paths().len(), 2);
    }
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_of_a_blob_is_replaced() {
    let blob = noise(SIZE);
    let (wanted, bytes) = (descriptor(&blob), blob.clone());
    let issued = AtomicUsize::new(0);
    let cuts = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            let number = issued.fetch_add(1, Ordering::SeqCst);
            return Reply::ok(format!(r#"{{"token":"t{number}","expires_in":300}}"#));
        }
        // Each token is good until the next cut.
        let good = format!("Bearer t{}", cuts.load(Ordering::SeqCst));
        match asked.header("authorization") {
            Some(found) if found == good => {}
            _ => return Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
        let (first, last) = range(asked, bytes.len()).unwrap_or((0, SIZE - 1));
        let end = (first + CUT).min(SIZE);
        if end < SIZE {
            cuts.fetch_add(1, Ordering::SeqCst);
        }
        let reply = match asked.header("range") {
            Some(_) => Reply::new(206, &bytes[first..end])
                .with("content-range", format!("bytes {first}-{last}/{SIZE}")),
            None => Reply::ok(&bytes[first..end]),
        };
        reply.claiming((SIZE - first) as u64)
    })
    .await;
    let client = server.client().retry(QUICK).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
    let tokens = server
        .paths()
        .iter()
        .filter(|path| path.starts_with("/token"))
        .count();
    // Four answers bring the blob; before each one stand a 401 and a new token.
    assert_eq!((tokens, server.paths().len()), (4, 12));
}

#[tokio::test]
async fn a_signed_address_is_fetched_anew_for_each_answer() {
    let blob = noise(SIZE);
    let (wanted, bytes) = (descriptor(&blob), blob.clone());
    let count = AtomicUsize::new(0);
    let storage = Server::start(move |asked| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        // Each address is good once.
        match (asked.path == format!("/blob?sig={number}"), number) {
            (false, _) => Reply::error(403, "expired"),
            (true, 0) => Reply::ok(&bytes[..CUT]).claiming(SIZE as u64),
            (true, _) => serve(asked, &bytes),
        }
    })
    .await;
    let (there, signed) = (storage.host(), AtomicUsize::new(0));
    let server = Server::start(move |_| {
        let number = signed.fetch_add(1, Ordering::SeqCst);
        Reply::redirect(307, format!("http://{there}/blob?sig={number}"))
    })
    .await;
    let client = server
        .client()
        .plain_http(&storage.host())
        .retry(QUICK)
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
    assert_eq!((server.paths().len(), storage.paths().len()), (2, 2));
}
