// SPDX-License-Identifier: Apache-2.0
//! registries.conf: other places for a name, in order, and what happens when they fail.

use std::time::{Duration, Instant};

use distribution::{
    Client, ClientBuilder, Credential, ErrorKind, MirrorLimits, Registries, Registry, Source, Target,
};
use image_spec::{Descriptor, Digest};
use tokio::net::TcpListener;

use crate::image::{assert_error, chain, image, layer_type, pull, registry, tag};
use crate::server::{Reply, Server, wary};

/// A client for plain servers with a configuration for the last of them, and mirrors before it.
fn client(servers: &[&Server], conf: &str) -> ClientBuilder {
    servers
        .iter()
        .fold(wary(), |builder, server| builder.plain_http(&server.host()))
        .registries(Registries::parse(conf).unwrap())
}

/// The last server's repository, with the others as mirrors in order.
fn mirrored(servers: &[&Server], more: &str) -> (Client, Registry) {
    let (last, mirrors) = servers.split_last().unwrap();
    let mut conf = format!("[[registry]]\nlocation = \"{}\"\n", last.host());
    for mirror in mirrors {
        conf += &format!("[[registry.mirror]]\nlocation = \"{}\"\n{more}\n", mirror.host());
    }
    let client = client(servers, &conf).build().unwrap();
    let registry = registry(&client, &last.host());
    (client, registry)
}

async fn honest() -> Server {
    Server::start(|asked| image().serve(asked)).await
}

#[tokio::test]
async fn a_mirror_serves_a_whole_pull_under_its_own_path() {
    let (mirror, last) = (honest().await, honest().await);
    let conf = format!(
        "[[registry]]\nprefix = \"{0}/ns\"\nlocation = \"{0}/ns\"\n[[registry.mirror]]\nlocation = \"{1}/cache/of\"",
        last.host(),
        mirror.host()
    );
    let client = client(&[&mirror, &last], &conf).build().unwrap();
    assert_eq!(
        pull(&registry(&client, &last.host())).await.unwrap(),
        image().layer
    );
    assert_eq!(mirror.paths(), image().paths("cache/of/app"));
    assert!(last.paths().is_empty());
}

#[tokio::test]
async fn a_location_takes_the_place_of_a_prefix() {
    let moved = honest().await;
    let conf = format!(
        "[[registry]]\nprefix = \"*.example.com\"\nlocation = \"{0}/x\"\n\
         [[registry]]\nprefix = \"docker.io\"\nlocation = \"{0}\"",
        moved.host()
    );
    let client = client(&[&moved], &conf).build().unwrap();
    for (name, path) in [
        ("a.example.com/ns/app:tag", "x/ns/app"),
        ("busybox:tag", "library/busybox"),
    ] {
        let before = moved.paths().len();
        pull(&client.registry(&name.parse().unwrap()).unwrap())
            .await
            .unwrap();
        assert_eq!(moved.paths()[before..], image().paths(path));
    }
}

#[tokio::test]
async fn a_prefix_inside_another_name_moves_nothing() {
    let (evil, last) = (honest().await, honest().await);
    let conf = format!(
        "[[registry]]\nprefix = \"example.com\"\nlocation = \"{}\"",
        evil.host()
    );
    let client = client(&[&evil, &last], &conf).build().unwrap();
    let name = format!("{}/example.com/small:tag", last.host());
    pull(&client.registry(&name.parse().unwrap()).unwrap())
        .await
        .unwrap();
    assert!(evil.paths().is_empty());
    assert_eq!(last.paths(), image().paths("example.com/small"));
}

#[tokio::test]
async fn whatever_a_mirror_answers_instead_the_next_one_is_asked() {
    for bad in [
        Reply::error(404, "not here"),
        Reply::error(403, "not for you"),
        Reply::challenge("Basic realm=\"r\""),
        Reply::challenge("Negotiate"),
        Reply::error(429, "later").with("retry-after", "3600"),
        Reply::error(500, "oops"),
        Reply::error(503, "later").with("retry-after", "3600"),
        Reply::ok("{}").with("docker-content-digest", Digest::sha256(b"other").to_string()),
        Reply::ok("").claiming(10),
        Reply::redirect(302, "/again"),
        Reply::raw("no HTTP\r\n\r\n"),
        Reply::ok("x").with("content-encoding", "gzip"),
        Reply::endless("HTTP/1.1 200 OK\r\nx: ", "y"),
    ] {
        let shown = format!("{bad:?}");
        let mirror = Server::start(move |_| bad.clone()).await;
        let last = honest().await;
        let (_, registry) = mirrored(&[&mirror, &last], "");
        let pulled = tokio::time::timeout(Duration::from_secs(30), pull(&registry)).await;
        assert_eq!(pulled.unwrap().unwrap(), image().layer, "{shown}");
        assert_eq!(last.paths(), image().paths("ns/app"), "{shown}");
        assert!(!mirror.paths().is_empty());
    }
}

#[tokio::test]
async fn a_mirror_that_knows_only_some_things_serves_those() {
    let mirror = Server::start(|asked| match asked.path.contains("/blobs/") {
        true => image().serve(asked),
        false => Reply::error(404, "no documents here"),
    })
    .await;
    let last = honest().await;
    let (_, registry) = mirrored(&[&mirror, &last], "");
    pull(&registry).await.unwrap();
    assert_eq!(last.paths(), image().paths("ns/app")[..1]);
    assert_eq!(mirror.paths(), image().paths("ns/app"));
}

#[tokio::test]
async fn mirrors_of_digests_only_are_asked_for_no_tag() {
    for more in ["pull-from-mirror = \"digest-only\"", ""] {
        let (mirror, last) = (honest().await, honest().await);
        let mut conf = format!(
            "[[registry]]\nlocation = \"{}\"\nmirror-by-digest-only = {}\n",
            last.host(),
            more.is_empty()
        );
        conf += &format!("[[registry.mirror]]\nlocation = \"{}\"\n{more}\n", mirror.host());
        let client = client(&[&mirror, &last], &conf).build().unwrap();
        let registry = registry(&client, &last.host());
        pull(&registry).await.unwrap();
        assert_eq!(last.paths(), image().paths("ns/app")[..1]);
        assert_eq!(mirror.paths(), image().paths("ns/app")[1..]);
        registry
            .document(&Target::Digest(Digest::sha256(&image().manifest)))
            .await
            .unwrap();
        assert_eq!(last.paths().len(), 1);
    }
}

#[tokio::test]
async fn mirrors_of_tags_only_are_left_out_for_a_name_with_a_digest() {
    let (mirror, last) = (honest().await, honest().await);
    let (client, registry) = mirrored(&[&mirror, &last], "pull-from-mirror = \"tag-only\"");
    pull(&registry).await.unwrap();
    assert_eq!(mirror.paths(), image().paths("ns/app"));
    let digest = Digest::sha256(&image().manifest);
    let name = format!("{}/ns/app@{digest}", last.host());
    let pinned = client.registry(&name.parse().unwrap()).unwrap();
    pinned.document(&Target::Digest(digest)).await.unwrap();
    assert_eq!((mirror.paths().len(), last.paths().len()), (3, 1));
}

#[tokio::test]
async fn what_is_blocked_is_refused_before_any_request() {
    let server = honest().await;
    let conf = format!(
        "[[registry]]\nlocation = \"{0}\"\n[[registry]]\nprefix = \"{0}/ns\"\nblocked = true\n\
         [[registry]]\nprefix = \"{0}/ns/app/sub\"\n[[registry]]\nprefix = \"{0}/x/y:bad\"\nblocked = true",
        server.host()
    );
    let client = client(&[&server], &conf).build().unwrap();
    for (name, blocked) in [
        ("ns/app:tag", true),
        ("ns/other", true),
        ("nsx/app:tag", false),
        ("ns/app/sub:tag", false),
        ("x/y:bad", true),
        ("x/y:good", false),
    ] {
        let outcome = client.registry(&format!("{}/{name}", server.host()).parse().unwrap());
        match blocked {
            true => assert_error(outcome, ErrorKind::Denied, "the configuration blocks `"),
            false => drop(outcome.unwrap()),
        }
    }
    assert_eq!(server.connections(), 0);
}

/// A listener that hangs up on everybody, or lets them wait.
async fn dead(wait: bool) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let count = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
    let counted = std::sync::Arc::clone(&count);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if wait {
                kept.push(socket);
            }
        }
    });
    (host, count)
}

#[tokio::test]
async fn a_dead_mirror_costs_its_short_time_once() {
    let limits = MirrorLimits {
        connect: Duration::from_millis(100),
        idle: Duration::from_millis(100),
        rest: Duration::from_millis(800),
    };
    // Hangs up; says nothing to a request; says nothing in TLS.
    for (wait, plain) in [(false, true), (true, true), (true, false)] {
        let (mirror, count) = dead(wait).await;
        let asked = || count.load(std::sync::atomic::Ordering::SeqCst);
        let last = honest().await;
        let conf = format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{mirror}\"",
            last.host()
        );
        let mut builder = client(&[&last], &conf).mirror_limits(limits);
        if plain {
            builder = builder.plain_http(&mirror);
        }
        let client = builder.build().unwrap();
        let start = Instant::now();
        pull(&registry(&client, &last.host())).await.unwrap();
        pull(&registry(&client, &last.host())).await.unwrap();
        assert!(start.elapsed() < limits.rest, "{:?}", start.elapsed());
        assert_eq!(asked(), 1, "{wait} {plain}");
        // It is not forgotten for good.
        tokio::time::sleep(limits.rest).await;
        pull(&registry(&client, &last.host())).await.unwrap();
        assert_eq!(asked(), 2, "{wait} {plain}");
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_at_a_mirror_goes_on_at_the_next_place() {
    let half = image().layer.len() / 2;
    let mirror = Server::start(move |asked| {
        let image = image();
        match asked.path == image.paths("ns/app")[2] {
            true => Reply::ok(&image.layer[..half]).claiming(image.layer.len() as u64),
            false => image.serve(asked),
        }
    })
    .await;
    let last = Server::start(move |asked| {
        let image = image();
        assert_eq!(asked.header("range"), Some(format!("bytes={half}-").as_str()));
        let total = image.layer.len();
        Reply::new(206, &image.layer[half..])
            .with("content-range", format!("bytes {half}-{}/{total}", total - 1))
    })
    .await;
    let (_, registry) = mirrored(&[&mirror, &last], "");
    assert_eq!(pull(&registry).await.unwrap(), image().layer);
    assert_eq!(last.paths(), image().paths("ns/app")[2..]);
}

#[tokio::test]
async fn wrong_bytes_from_a_mirror_are_found_out_and_not_asked_for_again() {
    let mirror = Server::start(|asked| {
        let mut image = image();
        let last = image.layer.len() - 1;
        let paths = image.paths("ns/app");
        let reply = image.serve(asked);
        image.layer[last] ^= 1;
        match asked.path == paths[2] {
            true => Reply::ok(image.layer),
            false => reply,
        }
    })
    .await;
    let last = honest().await;
    let (_, registry) = mirrored(&[&mirror, &last], "");
    let error = pull(&registry).await.unwrap_err();
    assert!(error.is_from_mirror(), "{}", chain(&error));
    assert_error::<()>(Err(error), ErrorKind::Digest, &mirror.host());
    assert_eq!(pull(&registry).await.unwrap(), image().layer);
    assert_eq!((mirror.paths().len(), last.paths().len()), (3, 3));
}

#[tokio::test]
async fn a_wrong_config_from_a_mirror_is_fetched_again_at_once() {
    let mirror = Server::start(|asked| {
        let image = image();
        let reply = image.serve(asked);
        match asked.path == image.paths("ns/app")[1] {
            true => Reply::ok(vec![b' '; image.config.len()]),
            false => reply,
        }
    })
    .await;
    let last = honest().await;
    let (_, registry) = mirrored(&[&mirror, &last], "");
    assert_eq!(pull(&registry).await.unwrap(), image().layer);
    assert_eq!(last.paths(), image().paths("ns/app")[1..]);
}

#[tokio::test]
async fn an_error_tells_what_came_of_each_place() {
    let one = Server::start(|_| Reply::error(404, "one has it not")).await;
    let (two, _) = dead(false).await;
    let last = Server::start(|_| Reply::error(404, "the last has it not")).await;
    let conf = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{two}\"",
        last.host(),
        one.host()
    );
    let client = client(&[&one, &last], &conf).plain_http(&two).build().unwrap();
    let registry = registry(&client, &last.host());
    for words in ["closed the connection", "left alone for a while"] {
        let error = registry.document(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let text = error.to_string();
        for part in [
            "the last has it not",
            "one has it not",
            &format!("`http://{two}`"),
            &format!("`http://{}`", one.host()),
            words,
        ] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
    let missing = Descriptor::of(layer_type(), b"missing");
    let error = registry.blob(&missing).await.unwrap_err();
    assert!(error.to_string().contains("one has it not"), "{error}");
}

#[tokio::test]
async fn a_mirror_gets_its_own_credential_and_no_other() {
    let mirror = Server::start(|asked| match asked.header("authorization") {
        Some("Basic bTpt") => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let last = Server::start(|asked| match asked.header("authorization") {
        Some("Basic bDps") => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    for own in [true, false] {
        let conf = format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"",
            last.host(),
            mirror.host()
        );
        let mut builder =
            client(&[&mirror, &last], &conf).credential(&last.host(), Credential::basic("l", "l"));
        if own {
            builder = builder.credential(&mirror.host(), Credential::basic("m", "m"));
        }
        let client = builder.build().unwrap();
        pull(&registry(&client, &last.host())).await.unwrap();
        assert_eq!(last.paths().is_empty(), own);
    }
    assert!(
        mirror
            .asked()
            .iter()
            .all(|asked| asked.header("authorization") != Some("Basic bDps"))
    );
}

#[tokio::test]
async fn a_changed_tag_is_noticed_through_a_mirror() {
    let (mirror, last) = (honest().await, honest().await);
    let (_, registry) = mirrored(&[&mirror, &last], "");
    let known = Digest::sha256(&image().manifest);
    assert!(registry.changed(&tag(), &known).await.unwrap().is_none());
    assert!(
        registry
            .changed(&tag(), &Digest::sha256(b"old"))
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!((mirror.paths().len(), last.paths().len()), (3, 0));
    let layer = image().layer_descriptor();
    let part = registry.range(&layer, 4..12).await.unwrap();
    assert_eq!(part, image().layer[4..12]);
    assert!(last.paths().is_empty());
}
