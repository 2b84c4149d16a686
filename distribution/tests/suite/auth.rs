// SPDX-License-Identifier: Apache-2.0
//! Who is told which secret, and how often anybody is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{AuthFile, Credential, ErrorKind, Source};

use crate::image::{assert_error, chain, image, pull, registry, repository, tag};
use crate::server::{Asked, Reply, Server, authority};

const SECRET: &str = "swordfish";
/// `alice:swordfish`
const BASIC: &str = "Basic YWxpY2U6c3dvcmRmaXNo";

fn alice() -> Credential {
    Credential::basic("alice", SECRET)
}

/// An honest registry that wants Bearer tokens, and the token server beside it.
fn bearer(asked: &Asked) -> Reply {
    let host = asked.header("host").unwrap();
    if asked.path.starts_with("/token") {
        return Reply::ok(r#"{"token":"t1","expires_in":300}"#);
    }
    match asked.header("authorization") {
        Some("Bearer t1") => image().serve(asked),
        _ => Reply::challenge(format!(
            "Bearer realm=\"http://{host}/token\",service=\"svc one\",scope=\"repository:ns/app:pull,push\""
        )),
    }
}

#[tokio::test]
async fn basic_is_sent_when_asked_for_and_then_at_once() {
    let image = image();
    let paths = image.paths("ns/app");
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some(BASIC) => image.serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let client = server
        .client()
        .credential(&server.host(), alice())
        .build()
        .unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(server.paths()[1..], paths);
    assert_eq!(server.paths().len(), 4);
    assert_eq!(server.asked()[0].header("authorization"), None);
    // What is known about a registry counts for its other repositories.
    pull(&repository(&client, &server.host(), "ns/two"))
        .await
        .unwrap();
    assert_eq!(server.paths().len(), 7);
}

#[tokio::test]
async fn an_anonymous_token_costs_two_requests() {
    let server = Server::start(bearer).await;
    let client = server.client().build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    let paths = server.paths();
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert_eq!(paths[1], "/token?service=svc%20one&scope=repository:ns/app:pull");
    assert_eq!(server.asked()[1].header("authorization"), None);
    assert_eq!(server.connections(), 1);
    // The token server is known now, so that another repository needs no 401 first.
    pull(&repository(&client, &server.host(), "ns/two"))
        .await
        .unwrap();
    assert_eq!(
        server.paths()[5],
        "/token?service=svc%20one&scope=repository:ns/two:pull"
    );
    assert_eq!(server.paths().len(), 9);
    // And the token is used again by whoever asks for the same repository.
    pull(&registry(&client.clone(), &server.host())).await.unwrap();
    assert_eq!(server.paths().len(), 12);
}

#[tokio::test]
async fn the_credential_goes_to_the_token_server_and_not_to_the_registry() {
    let server = Server::start(bearer).await;
    let client = server
        .client()
        .credential(&server.host(), alice())
        .build()
        .unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    for asked in server.asked() {
        let basic = asked.header("authorization") == Some(BASIC);
        assert_eq!(basic, asked.path.starts_with("/token"), "{}", asked.path);
    }
}

#[tokio::test]
async fn parallel_requests_share_one_token() {
    let server = Server::start(bearer).await;
    let client = server.client().build().unwrap();
    let source = Arc::new(registry(&client, &server.host()));
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.document(&tag()).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let tokens = server
        .paths()
        .iter()
        .filter(|path| path.starts_with("/token"))
        .count();
    assert_eq!(tokens, 1);
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_replaced_once() {
    let issued = AtomicUsize::new(0);
    let image = image();
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return Reply::ok(format!(
                r#"{{"access_token":"t{}"}}"#,
                issued.fetch_add(1, Ordering::SeqCst)
            ));
        }
        // The first token is good for the manifest only.
        let wanted = if asked.path.contains("manifests") {
            "Bearer t0"
        } else {
            "Bearer t1"
        };
        match asked.header("authorization") {
            Some(found) if found == wanted => image.serve(asked),
            _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    let client = server.client().build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    let kinds: Vec<&str> = server
        .paths()
        .iter()
        .map(|path| {
            if path.starts_with("/token") {
                "token"
            } else {
                "get"
            }
        })
        .collect();
    assert_eq!(kinds, ["get", "token", "get", "get", "token", "get", "get"]);
}

#[tokio::test]
async fn endless_401s_end() {
    for (challenge, credential, requests) in [
        ("Basic realm=\"r\"", Some(alice()), 2),
        ("Basic realm=\"r\"", None, 1),
        ("Bearer realm=\"http://HOST/token\"", Some(alice()), 3),
        ("Bearer realm=\"http://HOST/token\"", None, 3),
        ("", None, 1),
    ] {
        let server = Server::start(move |asked| {
            if asked.path.starts_with("/token") {
                return Reply::ok(r#"{"token":"t"}"#);
            }
            let challenge = challenge.replace("HOST", asked.header("host").unwrap());
            if challenge.is_empty() {
                Reply::error(401, "authentication required")
            } else {
                Reply::challenge(challenge)
            }
        })
        .await;
        let mut builder = server.client();
        if let Some(credential) = credential {
            builder = builder.credential(&server.host(), credential);
        }
        let client = builder.build().unwrap();
        let error = registry(&client, &server.host())
            .document(&tag())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{challenge}");
        assert!(
            error
                .to_string()
                .contains("401 Unauthorized: authentication required"),
            "{error}"
        );
        assert!(!chain(&error).contains(SECRET));
        assert_eq!(server.paths().len(), requests, "{challenge}");
    }
}

#[tokio::test]
async fn refused_credentials_are_not_tried_twice_and_not_printed() {
    let server = Server::start(|_| Reply::challenge("Basic realm=\"r\"")).await;
    let client = server
        .client()
        .credential(&server.host(), alice())
        .build()
        .unwrap();
    let source = registry(&client, &server.host());
    source.document(&tag()).await.unwrap_err();
    let error = source.document(&tag()).await.unwrap_err();
    assert_eq!(server.paths().len(), 3);
    assert!(
        chain(&error).contains("refused the user name or password"),
        "{}",
        chain(&error)
    );
    for text in [
        format!("{error:?}"),
        chain(&error),
        format!("{client:?}"),
        format!("{source:?}"),
    ] {
        assert!(!text.contains(SECRET) && !text.contains("YWxpY2U6"), "{text}");
    }
}

#[tokio::test]
async fn without_a_credential_the_hint_says_for_which_host() {
    let server = Server::start(|_| Reply::challenge("Basic realm=\"r\"")).await;
    let client = server.client().build().unwrap();
    let error = registry(&client, &server.host())
        .document(&tag())
        .await
        .unwrap_err();
    assert_eq!(
        error.hint().unwrap(),
        format!("give a credential for `{}`", server.host())
    );
}

#[tokio::test]
async fn challenges_that_cannot_be_answered_are_named() {
    for (challenge, kind, part) in [
        (
            "Negotiate",
            ErrorKind::Unsupported("authentication scheme `negotiate`".to_owned()),
            "negotiate",
        ),
        ("Bearer realm=\"open", ErrorKind::BadResponse, "malformed"),
        ("Bearer service=\"s\"", ErrorKind::BadResponse, "malformed"),
        ("Bearer realm=\"/token\"", ErrorKind::BadResponse, "malformed"),
        (
            "Bearer realm=\"ftp://h/token\"",
            ErrorKind::BadResponse,
            "malformed",
        ),
        (
            "Bearer realm=\"https://user:pw@h/token\"",
            ErrorKind::BadResponse,
            "malformed",
        ),
    ] {
        let server = Server::start(move |_| Reply::challenge(challenge)).await;
        let client = server.client().build().unwrap();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            kind,
            part,
        );
        assert_eq!(server.paths().len(), 1);
    }
}

#[tokio::test]
async fn a_token_server_is_believed_as_little_as_a_registry() {
    let large = format!(r#"{{"token":"{}"}}"#, "t".repeat(70_000));
    for (reply, kind, part) in [
        (Reply::ok(large.clone()), ErrorKind::TooLarge, "65536"),
        (Reply::ok(large).chunked(), ErrorKind::TooLarge, "65536"),
        (Reply::ok("hunter2"), ErrorKind::BadResponse, "not a token"),
        (Reply::ok("{}"), ErrorKind::BadResponse, "no token"),
        (Reply::ok(r#"{"token":""}"#), ErrorKind::BadResponse, "no token"),
        (
            Reply::ok(r#"{"token":"a\r\nhost: x"}"#),
            ErrorKind::BadResponse,
            "no header can carry",
        ),
        (Reply::redirect(307, "/v2/"), ErrorKind::BadResponse, "307"),
        (
            Reply::new(401, r#"{"details":"incorrect password"}"#),
            ErrorKind::Unauthorized,
            "incorrect password",
        ),
        (Reply::error(503, "later"), ErrorKind::Unavailable, "later"),
        (
            Reply::ok("{").claiming(90),
            ErrorKind::Interrupted,
            "after 1 bytes",
        ),
    ] {
        let server = Server::start(move |asked| match asked.path.starts_with("/token") {
            true => reply.clone(),
            false => bearer(asked),
        })
        .await;
        let client = server.client().build().unwrap();
        let error = registry(&client, &server.host())
            .document(&tag())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        assert!(chain(&error).contains(part), "{}", chain(&error));
        assert!(chain(&error).contains("token for `ns/app`"), "{}", chain(&error));
        assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
        assert_eq!(server.paths().len(), 2);
    }
}

/// A registry on 127.0.0.1 whose token server is elsewhere: https on 0.0.0.0, which is the same
/// machine and no loopback address.
async fn foreign() -> (Vec<u8>, Server, Server) {
    let (ca, acceptor) = authority();
    let tokens = Server::start_tls(acceptor, |_| Reply::ok(r#"{"token":"t1"}"#)).await;
    let realm = format!("https://0.0.0.0:{}/token", tokens.address.port());
    let server = Server::start(move |asked| match asked.header("authorization") {
        Some("Bearer t1") => image().serve(asked),
        _ => Reply::challenge(format!("Bearer realm=\"{realm}\"")),
    })
    .await;
    (ca, server, tokens)
}

#[tokio::test]
async fn a_foreign_token_server_is_asked_without_the_secret() {
    let (ca, server, tokens) = foreign().await;
    let client = server
        .client()
        .ca_pem(ca)
        .credential(&server.host(), alice())
        .build()
        .unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(tokens.asked()[0].header("authorization"), None);
    let outcome = registry(&client, &server.host())
        .document(&distribution::Target::Tag("gone".to_owned()))
        .await;
    assert!(
        outcome
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("token server `0.0.0.0`")
    );
}

#[tokio::test]
async fn a_foreign_token_server_that_was_named_sees_the_secret() {
    let (ca, server, tokens) = foreign().await;
    let builder = server.client().ca_pem(ca).credential(&server.host(), alice());
    let client = builder.token_server(&server.host(), "0.0.0.0").build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(tokens.asked()[0].header("authorization"), Some(BASIC));
}

#[tokio::test]
async fn a_foreign_token_server_without_tls_is_not_asked() {
    let tokens = Server::start(|_| Reply::ok(r#"{"token":"t1"}"#)).await;
    let port = tokens.address.port();
    let server =
        Server::start(move |_| Reply::challenge(format!("Bearer realm=\"http://0.0.0.0:{port}/token\"")))
            .await;
    let builder = server.client().plain_http(&format!("0.0.0.0:{port}"));
    let client = builder.credential(&server.host(), alice()).build().unwrap();
    assert_error(
        registry(&client, &server.host()).document(&tag()).await,
        ErrorKind::Denied,
        "without TLS",
    );
    assert_eq!(tokens.connections(), 0);
}

#[tokio::test]
async fn the_auth_file_is_asked_by_host_and_repository() {
    let server = Server::start(|asked| match asked.header("authorization") {
        Some(BASIC) => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let host = server.host();
    let file = format!(r#"{{"auths":{{"{host}/ns":{{"auth":"YWxpY2U6c3dvcmRmaXNo"}}}}}}"#);
    let client = server
        .client()
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap())
        .build()
        .unwrap();
    pull(&registry(&client, &host)).await.unwrap();
    let outcome = repository(&client, &host, "other/app").document(&tag()).await;
    assert_error(outcome, ErrorKind::Unauthorized, "wants a user name");
}
