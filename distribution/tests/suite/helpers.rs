// SPDX-License-Identifier: Apache-2.0
//! Programs that keep credentials, and those that only say so.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use distribution::{AuthFile, Client, CredentialHelpers, ErrorKind, Source};

use crate::image::{assert_error, chain, image, pull, registry, repository, tag};
use crate::server::{Reply, Server};

/// What the helper NAME does, as shell script; `$0` is its own path.
const HELPERS: [(&str, &str); 12] = [
    (
        "good",
        r#"read -r server; echo "$1 $server $PWD" >> "$0.asked"
           printf '{"ServerURL":"%s","Username":"alice","Secret":"swordfish"}\n' "$server""#,
    ),
    (
        "deaf",
        r#"exec 0<&-; echo '{"Username":"alice","Secret":"swordfish"}'"#,
    ),
    (
        "turning",
        r#"echo >> "$0.asked"; printf '{"Username":"u","Secret":"%s"}' "$(wc -l < "$0.asked")""#,
    ),
    (
        "token",
        r#"echo '{"ServerURL":"x","Username":"<token>","Secret":"swordfish"}'"#,
    ),
    ("none", "echo 'credentials not found in native keychain'; exit 1"),
    ("empty", r#"echo '{"ServerURL":"x","Username":"","Secret":""}'"#),
    (
        "broken",
        r#"echo '{"Username":"alice","Secret":"swordfish"}'; echo swordfish >&2; exit 3"#,
    ),
    ("garbage", "echo swordfish"),
    ("flood", "echo $$ > \"$0.pids\"; exec yes swordfish"),
    ("hang", "sleep 1000 & echo $$ $! > \"$0.pids\"; wait"),
    ("late", "echo $$ > \"$0.pids\"; exec 1>&-; exec sleep 1000"),
    ("killed", "kill -9 $$"),
];

/// A folder with all of them. Written before the first one runs: a program that is being written
/// cannot be run, and every other test's helper would keep the file open for a moment.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("helpers-{}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    for (name, script) in HELPERS {
        let program = folder.join(format!("docker-credential-{name}"));
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
});

/// What a helper wrote down.
fn noted(name: &str, what: &str) -> String {
    fs::read_to_string(FOLDER.join(format!("docker-credential-{name}.{what}"))).unwrap_or_default()
}

/// A client that may run the helper of this name for this server.
fn helped(server: &Server, name: &str) -> Client {
    helped_by(server, name, CredentialHelpers::in_folders([FOLDER.clone()]))
}

fn helped_by(server: &Server, name: &str, helpers: CredentialHelpers) -> Client {
    let file = serde_json::json!({"credHelpers": {server.host(): name}}).to_string();
    let builder = server
        .client()
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
    builder.credential_helpers(helpers).build().unwrap()
}

async fn basic() -> Server {
    Server::start(|asked| match asked.header("authorization") {
        Some("Basic YWxpY2U6c3dvcmRmaXNo") => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await
}

/// Waits until none of these processes is there any more.
async fn gone(pids: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    for pid in pids.split_whitespace() {
        let process = PathBuf::from(format!("/proc/{pid}/stat"));
        // One that is dead and whose parent, or the system, has not looked yet is gone, too.
        let lives = || fs::read_to_string(&process).is_ok_and(|text| !text.contains(") Z "));
        while lives() {
            assert!(Instant::now() < end, "process {pid} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_helper_is_asked_once_for_a_registry_that_asks() {
    let open = Server::start(|asked| image().serve(asked)).await;
    pull(&registry(&helped(&open, "good"), &open.host()))
        .await
        .unwrap();
    let server = basic().await;
    let client = helped(&server, "good");
    for name in ["ns/app", "ns/two"] {
        let client = client.clone();
        pull(&repository(&client, &server.host(), name)).await.unwrap();
    }
    assert_eq!(noted("good", "asked"), format!("get {} /\n", server.host()));
}

#[tokio::test]
async fn a_store_is_asked_for_every_registry_after_the_entries() {
    let server = basic().await;
    let file = r#"{"auths":{"other.example":{"auth":"dTpw"}},"credsStore":"deaf"}"#;
    let builder = server
        .client()
        .auth_file(AuthFile::parse(file.as_bytes()).unwrap());
    let helpers = CredentialHelpers::in_folders([FOLDER.clone()]);
    let client = builder.credential_helpers(helpers).build().unwrap();
    pull(&registry(&client, &server.host())).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_is_asked_for_again() {
    let server = Server::start(|asked| match asked.header("authorization") {
        // `u:2`
        Some("Basic dToy") => image().serve(asked),
        _ => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let source = registry(&helped(&server, "turning"), &server.host());
    assert_error(source.document(&tag()).await, ErrorKind::Unauthorized, "401");
    pull(&source).await.unwrap();
    assert_eq!(noted("turning", "asked").lines().count(), 2);
}

#[tokio::test]
async fn a_helper_may_keep_an_identity_token() {
    let server = Server::start(|asked| {
        let host = asked.header("host").unwrap();
        if asked.path.starts_with("/token") {
            return match asked
                .body
                .contains("grant_type=refresh_token&refresh_token=swordfish&")
            {
                true => Reply::ok(r#"{"access_token":"t"}"#),
                false => Reply::error(401, "no"),
            };
        }
        match asked.header("authorization") {
            Some("Bearer t") => image().serve(asked),
            _ => Reply::challenge(format!("Bearer realm=\"http://{host}/token\"")),
        }
    })
    .await;
    pull(&registry(&helped(&server, "token"), &server.host()))
        .await
        .unwrap();
}

#[tokio::test]
async fn helpers_that_fail_are_named_and_not_quoted() {
    let server = basic().await;
    for (name, kind, part) in [
        (
            "none",
            ErrorKind::Unauthorized,
            "wants a user name and a password",
        ),
        (
            "empty",
            ErrorKind::Unauthorized,
            "wants a user name and a password",
        ),
        (
            "broken",
            ErrorKind::Credentials,
            "helper `broken` failed: exit status: 3",
        ),
        (
            "garbage",
            ErrorKind::Credentials,
            "helper `garbage` printed no credential",
        ),
        (
            "killed",
            ErrorKind::Credentials,
            "helper `killed` failed: signal: 9",
        ),
        (
            "flood",
            ErrorKind::Credentials,
            "helper `flood` printed more than 65536 bytes",
        ),
        (
            "absent",
            ErrorKind::Credentials,
            "no program `docker-credential-absent`",
        ),
        (
            "../docker-credential-good",
            ErrorKind::Invalid,
            "not the name of a credential helper",
        ),
        (
            "good get; reboot",
            ErrorKind::Invalid,
            "not the name of a credential helper",
        ),
        ("göod", ErrorKind::Invalid, "not the name of a credential helper"),
    ] {
        let source = registry(&helped(&server, name), &server.host());
        let error = source.document(&tag()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {}", chain(&error));
        assert!(chain(&error).contains(part), "{name}: {}", chain(&error));
        let hint = error.hint().unwrap_or_default();
        assert!(
            !format!("{} {error:?} {hint}", chain(&error)).contains("swordfish"),
            "{name}"
        );
    }
    gone(&noted("flood", "pids")).await;
    let last = server.asked().pop().unwrap();
    assert_eq!(last.header("authorization"), None);
}

#[tokio::test]
async fn helpers_that_do_not_end_are_ended_with_all_they_started() {
    let server = basic().await;
    for name in ["hang", "late"] {
        let helpers = CredentialHelpers::in_folders([FOLDER.clone()]);
        let client = helped_by(&server, name, helpers.time_limit(Duration::from_millis(700)));
        let start = Instant::now();
        assert_error(
            registry(&client, &server.host()).document(&tag()).await,
            ErrorKind::Credentials,
            &format!("credential helper `{name}` took longer than 700ms"),
        );
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_ne!(noted(name, "pids"), "");
        gone(&noted(name, "pids")).await;
    }
    // So are those for which nobody waits any more.
    fs::remove_file(FOLDER.join("docker-credential-hang.pids")).unwrap();
    let source = registry(&helped(&server, "hang"), &server.host());
    let request = tokio::spawn(async move { source.document(&tag()).await.map(drop) });
    while noted("hang", "pids").trim().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    request.abort();
    gone(&noted("hang", "pids")).await;
}

#[tokio::test]
async fn programs_are_looked_for_in_absolute_folders_in_order() {
    let server = basic().await;
    let dir = tempfile::tempdir().unwrap();
    let (plain, folder) = (dir.path().join("plain"), dir.path().join("folder"));
    fs::create_dir(&plain).unwrap();
    // Neither a file that is no program nor a folder of that name is in the way.
    fs::write(plain.join("docker-credential-deaf"), "").unwrap();
    fs::create_dir_all(folder.join("docker-credential-deaf")).unwrap();
    let file = plain.join("docker-credential-deaf");
    let folders = [dir.path().join("absent"), plain, folder, file, FOLDER.clone()];
    let client = helped_by(&server, "deaf", CredentialHelpers::in_folders(folders));
    pull(&registry(&client, &server.host())).await.unwrap();
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(FOLDER.strip_prefix("/").unwrap());
    assert!(relative.join("docker-credential-deaf").exists());
    let client = helped_by(
        &server,
        "deaf",
        CredentialHelpers::in_folders([relative, PathBuf::new()]),
    );
    assert_error(
        registry(&client, &server.host()).document(&tag()).await,
        ErrorKind::Credentials,
        "no program `docker-credential-deaf`",
    );
}
