// SPDX-License-Identifier: Apache-2.0
//! Through proxies: CONNECT, forwarding and SOCKS5.

use std::time::Duration;

use distribution::{ClientBuilder, Error, ErrorKind, MirrorLimits, Proxies, Registries, Source};
use tokio::net::TcpListener;

use crate::image::{assert_error, chain, image, pull, registry, tag};
use crate::middle::{Manner, Middle};
use crate::server::{Authority, Reply, Server, wary};

/// `u:p q`
const BASIC: &str = "Basic dTpwIHE=";

fn through(proxies: Result<Proxies, Error>) -> ClientBuilder {
    wary().proxies(proxies.unwrap())
}

async fn tls(authority: &Authority) -> Server {
    Server::start_tls(authority.server(None, &[]), |asked| image().serve(asked)).await
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_names_are_resolved_by_the_proxy() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    for manner in [Manner::Connect, Manner::ConnectTls, Manner::Socks] {
        let proxy = Middle::start(manner, &server, &authority, None).await;
        let scheme = match manner {
            Manner::Connect => "http",
            Manner::ConnectTls => "https",
            Manner::Socks => "socks5h",
        };
        // This name leads nowhere: only the proxy knows where it is.
        let host = "localhost.invalid:5000";
        let client = through(Proxies::none().all(&format!("{scheme}://{}", proxy.host())))
            .ca_pem(authority.pem())
            .build()
            .unwrap();
        let error = registry(&client, host).document(&tag()).await.unwrap_err();
        // The tunnel is there; the certificate behind it is for another name.
        assert_eq!(error.kind(), ErrorKind::Tls, "{}", chain(&error));
        assert_eq!(proxy.log()[0], host, "{manner:?}");
        let client = through(
            Proxies::none()
                .all(&format!("{scheme}://{}", proxy.host()))
                .map(Proxies::with_loopback),
        )
        .ca_pem(authority.pem())
        .build()
        .unwrap();
        let host = format!("localhost:{}", server.address.port());
        assert_eq!(pull(&registry(&client, &host)).await.unwrap(), image().layer);
        assert_eq!(proxy.log()[1..], [host]);
    }
}

#[tokio::test]
async fn socks5_without_h_resolves_names_itself() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    let proxy = Middle::start(Manner::Socks, &server, &authority, None).await;
    let proxies = Proxies::none().all(&format!("socks5://{}", proxy.host()));
    let client = through(proxies.map(Proxies::with_loopback))
        .ca_pem(authority.pem())
        .build()
        .unwrap();
    let port = server.address.port();
    pull(&registry(&client, &format!("localhost:{port}")))
        .await
        .unwrap();
    let last = proxy.log().pop().unwrap();
    assert!(
        [format!("127.0.0.1:{port}"), format!("[::1]:{port}")].contains(&last),
        "{last}"
    );
}

#[tokio::test]
async fn plain_http_is_forwarded_and_the_proxy_gets_its_own_password() {
    // It answers itself, in place of the registry.
    let proxy = Server::start(|asked| match asked.header("proxy-authorization") {
        Some(BASIC) => image().serve(asked),
        _ => Reply::error(407, "who are you"),
    })
    .await;
    let client = |user: &str| {
        through(Proxies::none().http(&format!("http://{user}{}", proxy.host())))
            .plain_http("registry.invalid:5000")
            .build()
            .unwrap()
    };
    let good = client("u:p%20q@");
    pull(&registry(&good, "registry.invalid:5000")).await.unwrap();
    let want: Vec<String> = image()
        .paths("ns/app")
        .iter()
        .map(|path| format!("http://registry.invalid:5000{path}"))
        .collect();
    assert_eq!(proxy.paths(), want);
    assert_eq!(proxy.connections(), 1);
    assert_eq!(proxy.asked()[0].header("host"), Some("registry.invalid:5000"));
    for user in ["", "u:swordfish@"] {
        let error = registry(&client(user), "registry.invalid:5000")
            .document(&tag())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let text = format!("{} {error:?} {:?}", chain(&error), error.hint());
        assert!(
            text.contains("407") && text.contains("its URL") && !text.contains("swordfish"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn tunnels_want_the_password_too() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    let host = server.host();
    for manner in [Manner::Connect, Manner::Socks] {
        let proxy = Middle::start(manner, &server, &authority, Some(("u", "p q"))).await;
        let scheme = if matches!(manner, Manner::Socks) {
            "socks5h"
        } else {
            "http"
        };
        let client = |user: &str| {
            let proxies = Proxies::none().https(&format!("{scheme}://{user}{}", proxy.host()));
            through(proxies.map(Proxies::with_loopback))
                .ca_pem(authority.pem())
                .build()
                .unwrap()
        };
        pull(&registry(&client("u:p%20q@"), &host)).await.unwrap();
        for user in ["", "u:swordfish@"] {
            let error = registry(&client(user), &host).document(&tag()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unreachable, "{}", chain(&error));
            assert!(!error.is_transient());
            let text = format!("{} {error:?} {:?}", chain(&error), error.hint());
            assert!(
                text.contains(&proxy.host()) && !text.contains("swordfish"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_tunnel_keeps_its_connection() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    let proxy = Middle::start(Manner::Connect, &server, &authority, None).await;
    let proxies = Proxies::none().all(&proxy.host());
    let client = through(proxies.map(Proxies::with_loopback))
        .ca_pem(authority.pem())
        .build()
        .unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!((proxy.log().len(), server.connections()), (1, 1));
}

#[tokio::test]
async fn hosts_of_the_list_and_loopback_are_reached_directly() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    let proxy = Middle::start(Manner::Connect, &server, &authority, None).await;
    let proxies = || Proxies::none().all(&proxy.host()).unwrap();
    for (proxies, host, proxied) in [
        (proxies(), "127.0.0.1", false),
        (proxies(), "localhost", false),
        (proxies(), "0.0.0.0", true),
        (proxies().except("0.0.0.0/8").unwrap(), "0.0.0.0", false),
        (proxies().except("*").unwrap().with_loopback(), "localhost", false),
        (
            proxies().except("10.0.0.0/8, other").unwrap().with_loopback(),
            "localhost",
            true,
        ),
    ] {
        let before = proxy.log().len();
        let client = through(Ok(proxies.clone()))
            .ca_pem(authority.pem())
            .build()
            .unwrap();
        let host = format!("{host}:{}", server.address.port());
        registry(&client, &host).document(&tag()).await.unwrap();
        assert_eq!(
            proxy.log().len() - before,
            usize::from(proxied),
            "{host} {proxies:?}"
        );
    }
    assert_error(proxies().except("<local>"), ErrorKind::Invalid, "`<local>`");
}

#[tokio::test]
async fn a_proxy_that_refuses_or_breaks_the_rules_is_named() {
    let authority = Authority::new();
    for (answer, kind, part) in [
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            ErrorKind::Denied,
            "answered 403 Forbidden",
        ),
        (
            "HTTP/1.1 502 \u{1b}[2JBad\r\n\r\n",
            ErrorKind::Unreachable,
            "answered 502 [2JBad",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n",
            ErrorKind::BadResponse,
            "answered 302",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nsurprise",
            ErrorKind::BadResponse,
            "more than its head",
        ),
        ("SSH-2.0-x\r\n\r\n", ErrorKind::BadResponse, "no HTTP"),
        ("HTTP/1.1 200", ErrorKind::Unreachable, "before its answer"),
    ] {
        let proxy = Server::start(move |_| Reply::raw(answer)).await;
        let client = through(Proxies::none().all(&proxy.host())).build().unwrap();
        let outcome = registry(&client, "registry.invalid").document(&tag()).await;
        assert_error(outcome, kind, part);
    }
    let endless = Server::start(|_| Reply::endless("HTTP/1.1 200 OK\r\nx: ", "y")).await;
    let client = through(Proxies::none().all(&endless.host())).build().unwrap();
    let outcome = registry(&client, "registry.invalid").document(&tag()).await;
    assert_error(outcome, ErrorKind::BadResponse, "endless head");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for scheme in ["http", "https", "socks5h"] {
        let url = format!("{scheme}://{}", silent.local_addr().unwrap());
        let client = through(Proxies::none().all(&url))
            .ca_pem(authority.pem())
            .connect_timeout(Duration::from_millis(100))
            .build()
            .unwrap();
        let outcome = registry(&client, "registry.invalid").document(&tag()).await;
        assert_error(outcome, ErrorKind::Timeout, &url);
    }
    let gone = silent.local_addr().unwrap();
    drop(silent);
    let client = through(Proxies::none().all(&gone.to_string())).build().unwrap();
    let outcome = registry(&client, "registry.invalid").document(&tag()).await;
    assert_error(
        outcome,
        ErrorKind::Unreachable,
        &format!("no connection to the proxy `http://{gone}`"),
    );
}

#[tokio::test]
async fn socks_answers_are_read_strictly() {
    for (bytes, kind, part) in [
        (
            &b"HTTP/1.1 400\r\n"[..],
            ErrorKind::BadResponse,
            "does not speak SOCKS5",
        ),
        (b"\x05\xff", ErrorKind::Unreachable, "another way to log in"),
        (b"\x05\x02", ErrorKind::Unreachable, "another way to log in"),
        (
            b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0",
            ErrorKind::Unreachable,
            "not allowed",
        ),
        (
            b"\x05\x00\x05\x04\x00\x01\0\0\0\0\0\0",
            ErrorKind::Unreachable,
            "host unreachable",
        ),
        (
            b"\x05\x00\x05\x00\x00\x09",
            ErrorKind::BadResponse,
            "does not speak SOCKS5",
        ),
        (
            b"\x05\x00\x05\x00\x00\x03\xff",
            ErrorKind::Unreachable,
            "before its answer",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("socks5h://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            while let Ok((mut socket, _)) = listener.accept().await {
                socket.write_all(bytes).await.unwrap();
                socket.shutdown().await.unwrap();
                let _ = socket.read_to_end(&mut Vec::new()).await;
            }
        });
        let client = through(Proxies::none().all(&url)).build().unwrap();
        let outcome = registry(&client, "registry.invalid").document(&tag()).await;
        assert_error(outcome, kind, part);
    }
}

#[tokio::test]
async fn mirrors_are_behind_the_proxy_too() {
    let authority = Authority::new();
    let server = tls(&authority).await;
    let proxy = Middle::start(Manner::Connect, &server, &authority, None).await;
    // The mirror's address is dead, and the proxy takes its time to find out.
    let conf = format!(
        "[[registry]]\nlocation = \"localhost:{}\"\n[[registry.mirror]]\nlocation = \"slow.invalid\"",
        server.address.port()
    );
    let limits = MirrorLimits {
        connect: Duration::from_millis(100),
        ..MirrorLimits::default()
    };
    let proxies = Proxies::none().all(&proxy.host()).map(Proxies::with_loopback);
    let client = through(proxies)
        .ca_pem(authority.pem())
        .registries(Registries::parse(&conf).unwrap())
        .mirror_limits(limits)
        .build()
        .unwrap();
    let host = format!("localhost:{}", server.address.port());
    pull(&registry(&client, &host)).await.unwrap();
    assert_eq!(proxy.log(), ["slow.invalid:443", host.as_str()]);
}
