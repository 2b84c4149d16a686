// SPDX-License-Identifier: Apache-2.0
//! Nothing that is printed, logged or told as an error holds a secret.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use distribution::{AuthFile, Credential, Source};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::image::{chain, image, pull, registry, tag};
use crate::server::{Asked, Reply, Server};

const SECRET: &str = "swordfish";

/// Everything that must not be seen: the password, `alice:swordfish` and `:swordfish` in base64, and tokens.
const HIDDEN: [&str; 5] = [SECRET, "YWxpY2U6c3dvcmRmaXNo", "OnN3b3JkZmlzaA", "tok-1", "tok-2"];

/// Writes down all events and spans of all crates.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Line(&mut self.0.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().unwrap();
        write!(log, "\n{}", event.metadata().target()).unwrap();
        event.record(&mut Line(&mut log));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[track_caller]
pub(crate) fn assert_hidden(text: &str) {
    for secret in HIDDEN {
        assert!(!text.contains(secret), "`{secret}` is in: {text}");
    }
}

fn credentials() -> [Credential; 3] {
    [
        Credential::basic("alice", SECRET),
        Credential::identity_token(SECRET),
        Credential::registry_token(SECRET),
    ]
}

/// What somebody was sent, as far as it might be a secret.
fn echo(asked: &Asked) -> String {
    let authorization = asked.header("authorization").unwrap_or_default();
    let value = authorization.split(' ').nth(1).unwrap_or_default();
    format!(
        "`{value}`, that is {SECRET}, in {authorization} {} is wrong",
        asked.body
    )
}

#[tokio::test]
async fn the_log_of_everything_holds_no_secret() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    for challenge in ["Basic", "Bearer realm=\"http://HOST/token\""] {
        for credential in credentials() {
            let tokens = Mutex::new(0);
            let server = Server::start(move |asked| {
                let challenge = challenge.replace("HOST", asked.header("host").unwrap());
                if asked.path.starts_with("/token") {
                    let mut count = tokens.lock().unwrap();
                    *count += 1;
                    return Reply::ok(format!(
                        r#"{{"token":"tok-{count}","refresh_token":"{SECRET}-{count}"}}"#
                    ));
                }
                match asked.header("authorization") {
                    // A token that ends, a refusal, a broken connection.
                    Some("Bearer tok-1") if asked.path.contains("/blobs/") => Reply::challenge(challenge),
                    Some(sent) if asked.path.contains("/gone") => Reply::error(404, sent),
                    Some(_) if asked.path.contains("/cut") => Reply::ok("").claiming(5),
                    Some(_) => image().serve(asked),
                    None => Reply::challenge(challenge),
                }
            })
            .await;
            let host = server.host();
            let client = server.client().credential(&host, credential).build().unwrap();
            let source = registry(&client, &host);
            assert_hidden(&format!("{client:?} {source:?} {:?}", server.client()));
            // Not all pairs of challenge and credential fit; all of them may log something.
            let outcome = pull(&source).await;
            for name in ["gone", "cut", "tag"] {
                let target = distribution::Target::Tag(name.to_owned());
                if let Err(error) = source.document(&target).await {
                    assert_hidden(&format!("{error} {error:?} {} {:?}", chain(&error), error.hint()));
                }
            }
            assert_hidden(&format!("{client:?} {source:?} {:?}", outcome.err()));
        }
    }
    let log = log.text();
    assert!(
        log.contains("distribution::http") && log.contains("url="),
        "{log}"
    );
    assert_hidden(&log);
}

#[tokio::test]
async fn what_a_peer_repeats_is_not_repeated() {
    for credential in credentials() {
        // The one who says it is the registry, the token server, or the token server with OAuth2's words.
        for (basic, document) in [
            (true, "message"),
            (false, "message"),
            (false, "error_description"),
        ] {
            let server = Server::start(move |asked| {
                let host = asked.header("host").unwrap();
                let refusal = serde_json::json!({document: echo(asked)}).to_string();
                match (asked.header("authorization"), basic) {
                    _ if asked.path.starts_with("/token") => Reply::new(401, refusal),
                    (Some(_), _) => Reply::new(403, refusal),
                    (None, true) => Reply::challenge("Basic"),
                    (None, false) => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
                }
            })
            .await;
            let builder = server.client().credential(&server.host(), credential.clone());
            let source = registry(&builder.build().unwrap(), &server.host());
            let error = source.document(&tag()).await.unwrap_err();
            assert_hidden(&format!("{error} {error:?} {} {:?}", chain(&error), error.hint()));
            if server.asked().len() > 1 {
                assert!(chain(&error).contains("that is ***"), "{}", chain(&error));
            }
        }
    }
}

#[test]
fn a_file_shows_nothing() {
    let text = format!(
        r#"{{"auths":{{"a":{{"auth":"YWxpY2U6c3dvcmRmaXNo"}},"b":{{"identitytoken":"{SECRET}"}},
            "c":{{"registrytoken":"{SECRET}"}},"d":{{"username":"alice","password":"{SECRET}"}}}}}}"#
    );
    let file = AuthFile::parse(text.as_bytes()).unwrap();
    assert_hidden(&format!("{file:?} {:?}", file.lookup("b", "r")));
    for end in 0..text.len() {
        let error = AuthFile::parse(&text.as_bytes()[..end]).unwrap_err();
        assert_hidden(&format!("{error} {error:?}"));
    }
    for wrong in [
        r#"{"auths":{"a":"swordfish"}}"#,
        r#"{"auths":{"a":{"auth":["swordfish"]}}}"#,
    ] {
        assert_hidden(&format!("{:?}", AuthFile::parse(wrong.as_bytes()).unwrap_err()));
    }
}
