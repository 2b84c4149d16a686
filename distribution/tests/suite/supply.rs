// SPDX-License-Identifier: Apache-2.0
//! Where credentials come from, in which order, and how often anybody is asked for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use distribution::{AuthFile, BoxFuture, Credential, Credentials, ErrorKind, Source, Supplied};

use crate::image::{assert_error, chain, image, pull, registry, repository, tag};
use crate::server::{Reply, Server};

/// Gives these passwords of `u`, one after the other, and then nothing.
#[derive(Debug)]
struct Broker {
    passwords: Mutex<VecDeque<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Broker {
    fn with(passwords: &[&'static str]) -> Arc<Self> {
        Arc::new(Self {
            passwords: Mutex::new(passwords.iter().copied().collect()),
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Credentials for Broker {
    fn supply<'a>(&'a self, registry: &'a str, repository: &'a str) -> BoxFuture<'a, Supplied> {
        Box::pin(async move {
            self.asked
                .lock()
                .unwrap()
                .push(format!("{registry} {repository}"));
            tokio::task::yield_now().await;
            match self.passwords.lock().unwrap().pop_front() {
                Some("broken") => Err("the broker is not attested".into()),
                Some(password) => Ok(Some(Credential::basic("u", password))),
                None => Ok(None),
            }
        })
    }
}

/// The Basic header for `u:PASSWORD`, with passwords of one letter.
fn basic(password: &str) -> &'static str {
    match password {
        "p" => "Basic dTpw",
        "q" => "Basic dTpx",
        _ => "Basic dTpy",
    }
}

/// A registry that lets `u` in with the password of the moment.
async fn changing(password: &Arc<Mutex<&'static str>>) -> Server {
    let password = Arc::clone(password);
    Server::start(move |asked| match asked.header("authorization") {
        Some(header) if header == basic(&password.lock().unwrap()) => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await
}

fn fixed(password: &'static str) -> Arc<Mutex<&'static str>> {
    Arc::new(Mutex::new(password))
}

#[tokio::test]
async fn nobody_is_asked_before_the_registry_asks() {
    let server = Server::start(|asked| image().serve(asked)).await;
    let broker = Broker::with(&["broken"]);
    // Broken files do not matter either, as long as nobody needs them.
    let file = format!(r#"{{"auths":{{"{}":{{"auth":"?"}}}}}}"#, server.host());
    let builder = server.client().credentials(broker.clone());
    let client = builder
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap())
        .build()
        .unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
    assert!(broker.asked().is_empty());
}

#[tokio::test]
async fn a_supplier_is_asked_once_for_each_repository() {
    let server = changing(&fixed("p")).await;
    let host = server.host();
    let broker = Broker::with(&["p", "p"]);
    let client = server.client().credentials(broker.clone()).build().unwrap();
    let source = Arc::new(registry(&client, &host));
    let pulls: Vec<_> = (0..4)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { pull(&*source).await.map(drop) })
        })
        .collect();
    for pull in pulls {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(broker.asked(), [format!("{host} ns/app")]);
    pull(&repository(&client, &host, "ns/two")).await.unwrap();
    assert_eq!(broker.asked()[1..], [format!("{host} ns/two")]);
}

#[tokio::test]
async fn what_is_refused_after_a_while_is_asked_for_again() {
    let password = fixed("p");
    let server = changing(&password).await;
    let broker = Broker::with(&["p", "q", "q"]);
    let client = server.client().credentials(broker.clone()).build().unwrap();
    let source = registry(&client, &server.host());
    pull(&source).await.unwrap();
    *password.lock().unwrap() = "q";
    pull(&source).await.unwrap();
    assert_eq!(broker.asked().len(), 2);
    // The same one again is not sent again.
    *password.lock().unwrap() = "r";
    let before = server.paths().len();
    assert_error(
        pull(&source).await,
        ErrorKind::Unauthorized,
        "refused the user name",
    );
    assert_eq!(server.paths().len(), before + 1);
    assert_eq!(broker.asked().len(), 3);
}

#[tokio::test]
async fn a_token_server_that_refuses_gets_the_newer_credential_once() {
    let password = fixed("p");
    let now = Arc::clone(&password);
    // Tokens are good for one request, so that each one is a matter of the credential.
    let server = Server::start(move |asked| {
        let host = asked.header("host").unwrap();
        let authorization = asked.header("authorization");
        let challenge = || Reply::challenge(format!("Bearer realm=\"http://{host}/token\""));
        if asked.path.starts_with("/token") {
            let password = *now.lock().unwrap();
            return match authorization == Some(basic(password)) {
                true => Reply::ok(format!(r#"{{"token":"{password}"}}"#)),
                false => Reply::error(401, "incorrect password"),
            };
        }
        match authorization {
            Some(header) if header == format!("Bearer {}", now.lock().unwrap()) => image().serve(asked),
            _ => challenge(),
        }
    })
    .await;
    let broker = Broker::with(&["p", "q", "q"]);
    let client = server.client().credentials(broker.clone()).build().unwrap();
    let source = registry(&client, &server.host());
    let tokens = || {
        server
            .paths()
            .iter()
            .filter(|path| path.starts_with("/token"))
            .count()
    };
    pull(&source).await.unwrap();
    assert_eq!((broker.asked().len(), tokens()), (1, 1));
    *password.lock().unwrap() = "q";
    pull(&source).await.unwrap();
    assert_eq!((broker.asked().len(), tokens()), (2, 3));
    *password.lock().unwrap() = "r";
    assert_error(pull(&source).await, ErrorKind::Unauthorized, "incorrect password");
    assert_eq!((broker.asked().len(), tokens()), (3, 4));
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_for_a_while() {
    let server = changing(&fixed("p")).await;
    let broker = Broker::with(&[]);
    let client = server.client().credentials(broker.clone()).build().unwrap();
    let source = registry(&client, &server.host());
    for _ in 0..3 {
        let error = source.document(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
    assert_eq!(broker.asked().len(), 1);
    assert_eq!(server.paths().len(), 3);
}

#[tokio::test]
async fn a_supplier_that_fails_ends_the_request() {
    let server = changing(&fixed("p")).await;
    let broker = Broker::with(&["broken", "p"]);
    let client = server.client().credentials(broker.clone()).build().unwrap();
    let source = registry(&client, &server.host());
    let error = source.document(&tag()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    let host = server.host();
    assert_eq!(
        chain(&error),
        format!(
            "document `tag` of `{host}/ns/app`: cannot get the credential for `{host}` <- the broker is not attested"
        )
    );
    assert_eq!(server.paths().len(), 1);
    // It may do better the next time.
    pull(&source).await.unwrap();
}

#[tokio::test]
async fn the_first_place_with_a_credential_counts() {
    let server = changing(&fixed("p")).await;
    let host = server.host();
    let file = |key: &str, auth: &str| {
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#);
        AuthFile::parse(text.as_bytes()).unwrap()
    };
    let (good, wrong) = (&basic("p")[6..], &basic("q")[6..]);
    let client = || server.client();
    let rows = [
        (
            client()
                .auth_file(file(&host, good))
                .auth_file(file(&host, wrong)),
            true,
        ),
        (
            client()
                .auth_file(file(&host, wrong))
                .auth_file(file(&host, good)),
            false,
        ),
        // A closer match in a later file does not count.
        (
            client()
                .auth_file(file(&host, good))
                .auth_file(file(&format!("{host}/ns/app"), wrong)),
            true,
        ),
        (
            client()
                .auth_file(file(&format!("{host}/other"), wrong))
                .auth_file(file(&host, good)),
            true,
        ),
        (
            client()
                .auth_file(file("other.example", wrong))
                .auth_file(file(&host, good)),
            true,
        ),
        // A file that is reached and cannot be read is not passed over.
        (
            client().auth_file(file(&host, "?")).auth_file(file(&host, good)),
            false,
        ),
        (
            client()
                .auth_file(file(&host, wrong))
                .credentials(Broker::with(&["p"])),
            true,
        ),
        (
            client()
                .auth_file(file(&host, good))
                .credentials(Broker::with(&[])),
            true,
        ),
        (
            client()
                .credentials(Broker::with(&[]))
                .credentials(Broker::with(&["p"])),
            true,
        ),
        (
            client()
                .credentials(Broker::with(&["q"]))
                .credential(&host, Credential::basic("u", "p")),
            true,
        ),
    ];
    for (row, (builder, works)) in rows.into_iter().enumerate() {
        let outcome = pull(&registry(&builder.build().unwrap(), &host)).await;
        assert_eq!(outcome.is_ok(), works, "row {row}: {:?}", outcome.err());
    }
}

#[tokio::test]
async fn a_helper_does_not_run_unless_allowed() {
    let server = changing(&fixed("p")).await;
    let host = server.host();
    for (file, hint) in [
        (
            format!(r#"{{"credHelpers":{{"{host}":"ecr-login"}}}}"#),
            format!(
                "the credential for `{host}` is kept by the helper `ecr-login`, which was not run: \
                 allow credential helpers"
            ),
        ),
        (
            format!(r#"{{"auths":{{"{host}":{{}}}},"credsStore":"pass"}}"#),
            format!(
                "the credential for `{host}` is kept by the helper `pass`, which was not run: \
                 allow credential helpers"
            ),
        ),
        // Nothing says that this one has a credential for the registry.
        (
            r#"{"credsStore":"pass"}"#.to_owned(),
            format!("give a credential for `{host}`"),
        ),
    ] {
        let builder = server
            .client()
            .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
        let source = registry(&builder.build().unwrap(), &host);
        let error = source.document(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!(error.hint(), Some(hint.as_str()), "{file}");
    }
    // An anonymous token may be enough.
    let open = Server::start(|asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return Reply::ok(r#"{"token":"t"}"#);
        }
        match asked.header("authorization") {
            Some("Bearer t") => image().serve(asked),
            _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    let file = format!(r#"{{"credHelpers":{{"{}":"ecr-login"}}}}"#, open.host());
    let builder = open.client().auth_file(AuthFile::parse(file.as_bytes()).unwrap());
    let source = registry(&builder.build().unwrap(), &open.host());
    pull(&source).await.unwrap();
    let gone = distribution::Target::Tag("gone".to_owned());
    let error = source.document(&gone).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("`ecr-login`"),
        "{:?}",
        error.hint()
    );
}
