// SPDX-License-Identifier: Apache-2.0
//! Identity tokens, registry tokens, and the two forms of asking for a token.

use std::sync::atomic::{AtomicUsize, Ordering};

use distribution::{AuthFile, Credential, ErrorKind, Source};

use crate::image::{assert_error, chain, image, pull, registry, repository, tag};
use crate::server::{Asked, Reply, Server, authority};

const SECRET: &str = "r1+/=";
const FORM: &str = "application/x-www-form-urlencoded";
/// What a POST of the identity token looks like.
const REFRESH: &str = "grant_type=refresh_token&refresh_token=r1%2B/%3D&service=svc%20one\
    &scope=repository:ns/app:pull&client_id=image-client";
const PASSWORD: &str = "grant_type=password&username=a%26b&password=r1%2B/%3D&service=svc%20one\
    &scope=repository:ns/app:pull&client_id=image-client";
/// `:r1+/=`, as those token servers want it that know passwords only.
const AS_PASSWORD: &str = "Basic OnIxKy89";
/// `a&b:r1+/=`
const BASIC: &str = "Basic YSZiOnIxKy89";

/// An honest registry with a token server on its host that gives `t1` as `answer` does.
async fn bearer(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return answer(asked);
        }
        match asked.header("authorization") {
            Some("Bearer t1") => image().serve(asked),
            _ => Reply::challenge(format!(
                "Bearer realm=\"http://{host}/token\",service=\"svc one\""
            )),
        }
    })
    .await
}

fn token() -> Reply {
    Reply::ok(r#"{"access_token":"t1","expires_in":300}"#)
}

/// What the token server was asked: method, body, and authorization where there was one.
fn tokens(server: &Server) -> Vec<String> {
    let asked = server
        .asked()
        .into_iter()
        .filter(|asked| asked.path.starts_with("/token"));
    asked
        .map(|asked| {
            let authorization = asked.header("authorization").unwrap_or_default();
            format!("{} {} {authorization}", asked.method, asked.body)
                .trim_end()
                .to_owned()
        })
        .collect()
}

#[tokio::test]
async fn an_identity_token_is_posted_to_the_token_server_alone() {
    let server = bearer(
        |asked| match (asked.method.as_str(), asked.path.as_str(), asked.body.as_str()) {
            ("POST", "/token", REFRESH) if asked.header("content-type") == Some(FORM) => token(),
            _ => Reply::error(400, "not so"),
        },
    )
    .await;
    let builder = server
        .client()
        .credential(&server.host(), Credential::identity_token(SECRET));
    let client = builder.build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert_eq!(tokens(&server), [format!("POST {REFRESH}")]);
    for asked in server
        .asked()
        .iter()
        .filter(|asked| !asked.path.starts_with("/token"))
    {
        assert_eq!((asked.method.as_str(), asked.body.as_str()), ("GET", ""));
        assert!(
            asked.headers.iter().all(|(_, value)| !value.contains("r1")),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn the_other_form_is_tried_only_where_the_first_is_not_served() {
    let identity = Credential::identity_token(SECRET);
    let password = Credential::basic("a&b", SECRET);
    let (refresh, as_password) = (format!("POST {REFRESH}"), format!("GET  {AS_PASSWORD}"));
    let (basic, password_form) = (format!("GET  {BASIC}"), format!("POST {PASSWORD}"));
    for (credential, served, status, want, kind) in [
        (&identity, "GET", 404, vec![&refresh, &as_password], None),
        (&identity, "GET", 405, vec![&refresh, &as_password], None),
        (
            &identity,
            "GET",
            400,
            vec![&refresh],
            Some(ErrorKind::BadResponse),
        ),
        (
            &identity,
            "GET",
            401,
            vec![&refresh],
            Some(ErrorKind::Unauthorized),
        ),
        (&identity, "GET", 403, vec![&refresh], Some(ErrorKind::Denied)),
        (
            &identity,
            "GET",
            500,
            vec![&refresh],
            Some(ErrorKind::Unavailable),
        ),
        (
            &identity,
            "",
            404,
            vec![&refresh, &as_password],
            Some(ErrorKind::NotFound),
        ),
        (&password, "POST", 404, vec![&basic, &password_form], None),
        (&password, "POST", 405, vec![&basic, &password_form], None),
        (
            &password,
            "POST",
            401,
            vec![&basic],
            Some(ErrorKind::Unauthorized),
        ),
        (&password, "POST", 307, vec![&basic], Some(ErrorKind::BadResponse)),
        (
            &password,
            "",
            405,
            vec![&basic, &password_form],
            Some(ErrorKind::BadResponse),
        ),
    ] {
        let server = bearer(move |asked| match asked.method == served {
            true => token(),
            false => Reply::error(status, "not so"),
        })
        .await;
        let builder = server.client().credential(&server.host(), credential.clone());
        let client = builder.build().unwrap();
        let outcome = pull(&registry(&client, &server.host())).await;
        let found = outcome.as_ref().err().map(distribution::Error::kind);
        assert_eq!(found, kind, "{served} {status}");
        assert_eq!(
            tokens(&server).iter().collect::<Vec<_>>(),
            want,
            "{served} {status}"
        );
        if let Err(error) = outcome {
            assert!(
                chain(&error).contains(&format!("answered {status}")),
                "{}",
                chain(&error)
            );
        }
    }
}

#[tokio::test]
async fn the_user_of_an_entry_goes_with_its_identity_token() {
    let server = bearer(|asked| match asked.method.as_str() {
        "GET" => token(),
        _ => Reply::error(404, "no such form"),
    })
    .await;
    let host = server.host();
    // `a&b:`
    let file = format!(r#"{{"auths":{{"{host}":{{"auth":"YSZiOg==","identitytoken":"{SECRET}"}}}}}}"#);
    let builder = server
        .client()
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
    pull(&registry(&builder.build().unwrap(), &host)).await.unwrap();
    assert_eq!(tokens(&server)[1], format!("GET  {BASIC}"));
}

#[tokio::test]
async fn a_renewed_identity_token_replaces_the_old_one_everywhere() {
    let given = AtomicUsize::new(1);
    // Each identity token is good for one token, and each token for one request.
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        let now = given.load(Ordering::SeqCst);
        if asked.path.starts_with("/token") {
            return match asked.body.contains(&format!("refresh_token=r{now}&")) {
                true => {
                    given.store(now + 1, Ordering::SeqCst);
                    Reply::ok(format!(
                        r#"{{"access_token":"t{now}","refresh_token":"r{}"}}"#,
                        now + 1
                    ))
                }
                false => Reply::error(401, "spent"),
            };
        }
        match asked.header("authorization") {
            Some(header)
                if header == format!("Bearer t{}", now - 1)
                    && asked.path.contains("/blobs/") == (now > 2) =>
            {
                image().serve(asked)
            }
            _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    let host = server.host();
    let file = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"r1"}}}}}}"#);
    let builder = server
        .client()
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
    let client = builder.build().unwrap();
    pull(&registry(&client, &host)).await.unwrap();
    // Another repository has another token, but the same identity.
    let outcome = repository(&client, &host, "ns/two").document(&tag()).await;
    assert_error(outcome, ErrorKind::Unauthorized, "401");
    let spent = |form: &String| form.split_once("&refresh_token=").unwrap().1[..2].to_owned();
    let spent: Vec<String> = tokens(&server).iter().map(spent).collect();
    assert_eq!(spent, ["r1", "r2", "r3", "r4"]);
}

#[tokio::test]
async fn a_registry_token_is_the_registrys_own_business() {
    // Also with a token server that is nobody's, and with none at all.
    for challenge in ["Bearer", "Bearer realm=\"https://evil.example/token\""] {
        let storage = Server::start(|_| Reply::ok(image().layer)).await;
        let store = storage.host();
        let server = Server::start(move |asked| match asked.header("authorization") {
            Some("Bearer ready")
                if asked
                    .path
                    .ends_with(&image().layer_descriptor().digest.to_string()) =>
            {
                Reply::redirect(307, format!("http://{store}/layer"))
            }
            Some("Bearer ready") => image().serve(asked),
            _ => Reply::challenge(challenge),
        })
        .await;
        let host = server.host();
        let file = format!(r#"{{"auths":{{"{host}":{{"registrytoken":"ready","auth":"dTpw"}}}}}}"#);
        let builder = server
            .client()
            .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
        let client = builder.plain_http(&storage.host()).build().unwrap();
        pull(&registry(&client, &host)).await.unwrap();
        assert_eq!(server.paths().len(), 4);
        assert_eq!(storage.asked()[0].header("authorization"), None);
    }
}

#[tokio::test]
async fn a_registry_token_that_is_refused_is_not_tried_again() {
    let server = Server::start(|_| Reply::challenge("Bearer")).await;
    let builder = server
        .client()
        .credential(&server.host(), Credential::registry_token("ready"));
    let client = builder.build().unwrap();
    let source = registry(&client, &server.host());
    assert_error(source.document(&tag()).await, ErrorKind::Unauthorized, "401");
    assert_error(
        source.document(&tag()).await,
        ErrorKind::Unauthorized,
        "refused the registry token",
    );
    assert_eq!(server.paths().len(), 3);
}

#[tokio::test]
async fn a_token_is_no_password() {
    for credential in [
        Credential::identity_token(SECRET),
        Credential::registry_token(SECRET),
    ] {
        let server = Server::start(|_| Reply::challenge("Basic realm=\"r\"")).await;
        let builder = server.client().credential(&server.host(), credential);
        let client = builder.build().unwrap();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            ErrorKind::Unauthorized,
            "not a token",
        );
        assert_eq!(server.asked().len(), 1);
        assert_eq!(server.asked()[0].header("authorization"), None);
    }
}

#[tokio::test]
async fn a_strange_token_server_sees_no_credential_of_any_kind() {
    for credential in [
        Credential::basic("a&b", SECRET),
        Credential::identity_token(SECRET),
    ] {
        let (ca, acceptor) = authority();
        // Another host as far as names tell.
        let strange = Server::start_tls(acceptor, |_| token()).await;
        let realm = format!("https://0.0.0.0:{}/token", strange.address.port());
        let server = Server::start(move |_| Reply::challenge(format!("Bearer realm=\"{realm}\""))).await;
        let builder = server.client().ca_pem(ca).credential(&server.host(), credential);
        let client = builder.build().unwrap();
        let error = registry(&client, &server.host())
            .document(&tag())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(
            error.hint().unwrap().ends_with("allow it by name"),
            "{:?}",
            error.hint()
        );
        let asked = strange.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].method.as_str(), asked[0].body.as_str()), ("GET", ""));
        assert_eq!(asked[0].header("authorization"), None);
        assert_eq!(asked[0].path, "/token?scope=repository:ns/app:pull");
    }
}

#[tokio::test]
async fn a_form_is_sent_to_nowhere_else() {
    let other = Server::start(|_| token()).await;
    let there = other.host();
    for status in [301, 302, 303, 307, 308] {
        let to = format!("http://{there}/token");
        let server = bearer(move |_| Reply::redirect(status, to.clone())).await;
        let builder = server.client().plain_http(&other.host());
        let client = builder
            .credential(&server.host(), Credential::identity_token(SECRET))
            .build()
            .unwrap();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            ErrorKind::BadResponse,
            &format!("answered {status}"),
        );
    }
    assert_eq!(other.connections(), 0);
}
