// SPDX-License-Identifier: Apache-2.0
//! Large blobs by several ranges at once, and what ends that.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use distribution::{Blob, ClientBuilder, ErrorKind, Parallel, Registry, Source};

use crate::blobs::{QUICK, descriptor, noise, part, range, read, serve};
use crate::image::{assert_error, registry};
use crate::server::{Asked, Reply, Server};

const PART: usize = 64 << 10;
const SIZE: usize = 10 * PART + 17;
const PLAN: Parallel = Parallel {
    ranges: 4,
    bytes: PART as u64,
    above: 1,
    below: u64::MAX,
};

fn divided(builder: ClientBuilder, server: &Server) -> Registry {
    let client = builder.retry(QUICK).parallel(PLAN).build().unwrap();
    registry(&client, &server.host())
}

/// A server that answers one range, by its first byte, in the test's own way the first time.
async fn odd_at(first: usize, odd: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) -> (Vec<u8>, Server) {
    let blob = noise(SIZE);
    let (bytes, done) = (blob.clone(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match range(asked, bytes.len()) {
        Some((start, _)) if start == first && done.fetch_add(1, Ordering::SeqCst) == 0 => odd(&bytes),
        _ => serve(asked, &bytes),
    })
    .await;
    (blob, server)
}

/// Reads until bytes of the second range have come.
async fn past_first_range(blob: &mut Blob) {
    let mut bytes = 0;
    while bytes <= PART {
        bytes += blob.chunk().await.unwrap().unwrap().len();
    }
}

fn ranges(asked: &[Asked]) -> Vec<String> {
    asked
        .iter()
        .map(|asked| asked.header("range").unwrap_or("none").to_owned())
        .collect()
}

#[tokio::test]
async fn a_large_blob_comes_in_ranges_and_in_order() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server = Server::start(move |asked| serve(asked, &bytes)).await;
    let source = divided(server.client(), &server);
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    let asked: BTreeSet<String> = ranges(&server.asked()).into_iter().collect();
    let want = (0..SIZE.div_ceil(PART)).map(|index| match (index + 1) * PART {
        end if end < SIZE => format!("bytes={}-{}", index * PART, end - 1),
        _ => format!("bytes={}-", index * PART),
    });
    assert_eq!(asked, want.collect());
    assert_eq!(server.paths().len(), 11);
    assert!(server.connections() <= 4, "{}", server.connections());
}

#[tokio::test]
async fn small_blobs_and_clients_that_do_not_want_it_ask_once() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server = Server::start(move |asked| serve(asked, &bytes)).await;
    for plan in [
        Parallel {
            above: SIZE as u64 + 1,
            ..PLAN
        },
        Parallel { ranges: 1, ..PLAN },
        Parallel { ranges: 0, ..PLAN },
        Parallel::NEVER,
        Parallel::default(),
        Parallel {
            bytes: u64::MAX,
            ..PLAN
        },
    ] {
        let before = server.paths().len();
        let client = server.client().parallel(plan).build().unwrap();
        let source = registry(&client, &server.host());
        assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
        assert_eq!(ranges(&server.asked()[before..]), ["none"], "{plan:?}");
    }
}

#[tokio::test]
async fn ranges_that_come_no_faster_than_one_response_end_soon() {
    let blob = noise(100 * PART + 17);
    let bytes = blob.clone();
    let server = Server::start(move |asked| {
        // What each range costs, one after the other as on a line that all of them share.
        if range(asked, bytes.len()).is_some_and(|(start, _)| start > 0) {
            std::thread::sleep(Duration::from_millis(10));
        }
        serve(asked, &bytes)
    })
    .await;
    let source = divided(server.client(), &server);
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    let asked = ranges(&server.asked());
    // The first, those that show how fast they are and those on their way then, and the rest.
    assert!((22..=30).contains(&asked.len()), "{}", asked.len());
    let rest = asked.last().unwrap();
    assert!(rest.ends_with('-'), "{rest}");
}

#[tokio::test]
async fn a_first_range_that_comes_fast_is_followed_by_all_the_rest() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server = Server::start(move |asked| serve(asked, &bytes)).await;
    let plan = Parallel { below: 1, ..PLAN };
    let client = server.client().parallel(plan).build().unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    let rest = format!("bytes={PART}-");
    assert_eq!(ranges(&server.asked()), ["bytes=0-65535", &rest]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_fetched_ahead_is_bounded_for_all_blobs_together() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server = Server::start(move |asked| serve(asked, &bytes)).await;
    let source = divided(server.client(), &server);
    let mut first = source.blob(&descriptor(&blob)).await.unwrap();
    past_first_range(&mut first).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.paths().len() < 4 {
        assert!(Instant::now() < deadline, "{:?}", server.paths().len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first range and three ahead; a second blob has the first range and must have one more.
    let mut second = source.blob(&descriptor(&blob)).await.unwrap();
    past_first_range(&mut second).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.paths().len(), 6);
    // Both go on to their ends, with what room there is.
    drop(first);
    while second.chunk().await.unwrap().is_some() {}
    assert_eq!(server.paths().len(), 4 + 11);
}

#[tokio::test]
async fn the_first_odd_answer_leads_back_to_one_response() {
    type Odd = fn(&[u8]) -> Reply;
    let odd: [(&str, Odd); 7] = [
        ("the whole", |blob| Reply::ok(blob)),
        ("another range", |blob| part(blob, 0, PART - 1)),
        ("a longer range", |blob| part(blob, 3 * PART, SIZE - 1)),
        ("no range", |_| Reply::error(416, "no such range")),
        ("no Content-Range", |blob| {
            Reply::new(206, &blob[3 * PART..4 * PART])
        }),
        ("overload", |_| {
            Reply::error(503, "later").with("retry-after", "3600")
        }),
        ("a limit", |_| Reply::error(429, "slow down")),
    ];
    for (name, odd) in odd {
        let (blob, server) = odd_at(3 * PART, odd).await;
        let source = divided(server.client(), &server);
        assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob, "{name}");
        let asked = ranges(&server.asked());
        // What came before it was returned; the last request is for all that was missing.
        assert_eq!(
            asked.last().unwrap(),
            &format!("bytes={}-", 3 * PART),
            "{name}: {asked:?}"
        );
        assert!(asked.len() <= 3 + 4 + 1, "{name}: {asked:?}");
    }
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_once() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server = Server::start(move |_| Reply::ok(&bytes[..])).await;
    let source = divided(server.client(), &server);
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn a_server_that_refuses_the_first_range_is_asked_for_the_whole() {
    for odd in [
        Reply::error(416, "no such range"),
        Reply::new(206, "x").with("content-range", "bytes 5-5/9"),
    ] {
        let (blob, server) = odd_at(0, move |_| odd.clone()).await;
        let source = divided(server.client(), &server);
        assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
        let asked = ranges(&server.asked());
        assert_eq!(asked[1..], ["none"]);
    }
}

#[tokio::test]
async fn a_range_that_breaks_is_taken_up_by_itself() {
    let (blob, server) = odd_at(3 * PART, |blob| {
        let (start, end) = (3 * PART, 4 * PART);
        Reply::new(206, &blob[start..start + 1000])
            .with("content-range", format!("bytes {start}-{}/{SIZE}", end - 1))
            .claiming(PART as u64)
    })
    .await;
    let source = divided(server.client(), &server);
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    let asked = ranges(&server.asked());
    assert_eq!(asked.len(), 12);
    let rest = format!("bytes={}-{}", 3 * PART + 1000, 4 * PART - 1);
    assert!(asked.contains(&rest), "{asked:?}");
}

#[tokio::test]
async fn ranges_with_wrong_bytes_are_found_out_and_lost_blobs_are_told() {
    let (blob, server) = odd_at(3 * PART, |blob| {
        let mut other = blob.to_vec();
        other[3 * PART + 5] ^= 1;
        part(&other, 3 * PART, 4 * PART - 1)
    })
    .await;
    let source = divided(server.client(), &server);
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::Digest, "another digest");

    let bytes = blob.clone();
    let server = Server::start(move |asked| match range(asked, SIZE) {
        Some((start, _)) if start >= 3 * PART => Reply::error(404, "gone"),
        _ => serve(asked, &bytes),
    })
    .await;
    let source = divided(server.client(), &server);
    let outcome = read(&source, &descriptor(&blob)).await;
    assert_error(outcome, ErrorKind::NotFound, "gone");
}

#[tokio::test]
async fn single_bytes_in_a_range_are_gathered() {
    let (blob, server) = odd_at(3 * PART, |blob| {
        part(blob, 3 * PART, 4 * PART - 1).paced(7000, Duration::from_millis(1))
    })
    .await;
    let source = divided(server.client(), &server);
    assert_eq!(read(&source, &descriptor(&blob)).await.unwrap(), blob);
    assert_eq!(server.paths().len(), 11);
}

#[tokio::test]
async fn the_place_that_the_registry_sent_us_to_is_asked_directly() {
    let blob = noise(SIZE);
    let (wanted, bytes) = (descriptor(&blob), blob.clone());
    // Each address is good for five requests.
    let count = AtomicUsize::new(0);
    let storage = Server::start(move |asked| {
        let good = count.load(Ordering::SeqCst) / 5;
        if asked.path != format!("/blob?sig={good}") {
            return Reply::error(403, "expired");
        }
        count.fetch_add(1, Ordering::SeqCst);
        serve(asked, &bytes)
    })
    .await;
    let (there, signed) = (storage.host(), AtomicUsize::new(0));
    let server = Server::start(move |asked| match asked.header("authorization") {
        None => Reply::challenge("Basic"),
        Some(_) => {
            // The third of these addresses would be the first one that is not needed.
            let number = signed.fetch_add(1, Ordering::SeqCst).min(2);
            Reply::redirect(307, format!("http://{there}/blob?sig={number}"))
        }
    })
    .await;
    let credential = distribution::Credential::basic("u", "p");
    let builder = server
        .client()
        .plain_http(&storage.host())
        .credential(&server.host(), credential);
    let client = builder
        .retry(QUICK)
        // One at a time ahead, so that the order is known.
        .parallel(Parallel { ranges: 2, ..PLAN })
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    assert_eq!(read(&source, &wanted).await.unwrap(), blob);
    // A challenge, the first address, and one more for each that expired.
    assert_eq!(server.paths().len(), 4);
    assert_eq!(storage.paths().len(), 11 + 2);
    assert!(
        storage
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_dropped_blob_asks_for_nothing_more() {
    let blob = noise(SIZE);
    let bytes = blob.clone();
    let server =
        Server::start(move |asked| serve(asked, &bytes).paced(PART / 8, Duration::from_millis(5))).await;
    let source = divided(server.client(), &server);
    let mut stream = source.blob(&descriptor(&blob)).await.unwrap();
    past_first_range(&mut stream).await;
    drop(stream);
    let asked = server.paths().len();
    assert!(asked <= 5, "{asked}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.paths().len(), asked);
}
