// SPDX-License-Identifier: Apache-2.0
//! Programs that keep credentials: the protocol of docker-credential-helpers.
//!
//! `docker-credential-NAME get` reads the server's name from stdin and prints a JSON object. It
//! is a program of the user's choice that runs with the user's rights, so it runs only if the
//! user said so, and gets what Docker gives it, the environment of this process among it: helpers
//! of clouds take their settings from there. It is not believed to end, or to print little.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::clean;
use crate::{Credential, Error, ErrorKind};

/// Time for a helper: those of clouds take seconds, one that asks a person for a passphrase more.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Bytes that a helper may print. Tokens of cloud registries have some 4 KiB.
const MAX_OUTPUT: usize = 64 << 10;
/// Bytes of a helper's name.
const MAX_NAME: usize = 64;
/// What a helper says, and fails, if it has nothing.
const NOT_FOUND: &[u8] = b"credentials not found in native keychain";
/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";
/// What `docker login` calls Docker Hub, and what `podman login` does.
const HUB_NAMES: [&str; 2] = ["https://index.docker.io/v1/", "docker.io"];

/// Allows the programs that auth files name under `credHelpers` and `credsStore` to be run, when
/// a registry asks for a credential.
///
/// A file's name for a helper may hold letters, digits, `.`, `_` and `-`. The program runs
/// without a shell, with `/` as its folder, the environment of this process and a process group
/// of its own, which is killed if it takes too long or prints more than 64 KiB, or if the request
/// is dropped. What it prints to stderr is not looked at.
#[derive(Clone, Debug)]
pub struct CredentialHelpers {
    folders: Vec<PathBuf>,
    limit: Duration,
}

impl CredentialHelpers {
    /// Looks for programs in these folders, in order, as of the variable `PATH`. Those that are
    /// not absolute are passed over.
    pub fn in_folders(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            folders: folders
                .into_iter()
                .filter(|folder| folder.is_absolute())
                .collect(),
            limit: TIME_LIMIT,
        }
    }

    /// Replaces the limit of 60 s on each run of a helper.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }
}

/// The helpers of one client, and what they have given.
#[derive(Debug)]
pub(crate) struct Helpers {
    setting: CredentialHelpers,
    /// By helper and registry.
    given: Mutex<HashMap<(String, String), Arc<Slot>>>,
}

/// Held while a helper runs, so that parallel requests share one run.
type Slot = tokio::sync::Mutex<Option<Credential>>;

/// What a helper prints.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Username", default)]
    user: Zeroizing<String>,
    #[serde(rename = "Secret", default)]
    secret: Zeroizing<String>,
}

/// A running helper and what it may have started itself.
struct Group(Child);

impl Helpers {
    pub(crate) fn new(setting: CredentialHelpers) -> Self {
        Self {
            setting,
            given: Mutex::default(),
        }
    }

    /// What the helper has for a registry. It is remembered until it is `refused`; that there is
    /// nothing is not, since the user may log in meanwhile.
    pub(crate) async fn get(
        &self,
        name: &str,
        host: &str,
        refused: Option<&Credential>,
    ) -> Result<Option<Credential>, Error> {
        let slot = {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(given.entry((name.to_owned(), host.to_owned())).or_default())
        };
        let mut slot = slot.lock().await;
        let known = slot
            .as_ref()
            .filter(|known| refused.is_none_or(|refused| !refused.is(known)));
        if let Some(known) = known {
            return Ok(Some(known.clone()));
        }
        *slot = self.ask(name, host).await?;
        Ok(slot.clone())
    }

    async fn ask(&self, name: &str, host: &str) -> Result<Option<Credential>, Error> {
        let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.len() > MAX_NAME || !name.bytes().all(letter) {
            let message = format!("not the name of a credential helper: `{}`", clean(name));
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let names = match host {
            "docker.io" => HUB_NAMES.as_slice(),
            host => &[host],
        };
        for server in names {
            tracing::debug!(helper = name, server, "ask for a credential");
            let answer = timeout(self.setting.limit, self.run(name, server)).await;
            let late = || failed(name, format!("took longer than {:?}", self.setting.limit));
            if let Some(found) = answer.map_err(|_| late())?? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn run(&self, name: &str, server: &str) -> Result<Option<Credential>, Error> {
        let mut helper = self.start(name)?;
        // One that knows its answer without listening is fine; so the outcome is not looked at.
        if let Some(mut input) = helper.0.stdin.take() {
            let _ = input.write_all(server.as_bytes()).await;
        }
        // All of it at once: growing would leave copies behind.
        let mut output = Zeroizing::new(Vec::with_capacity(MAX_OUTPUT + 1));
        if let Some(stdout) = helper.0.stdout.take() {
            let mut stdout = stdout.take(MAX_OUTPUT as u64 + 1);
            while stdout
                .read_buf(&mut *output)
                .await
                .map_err(|cause| broken(name, cause))?
                > 0
            {}
        }
        if output.len() > MAX_OUTPUT {
            return Err(failed(name, format!("printed more than {MAX_OUTPUT} bytes")));
        }
        let status = helper.0.wait().await.map_err(|cause| broken(name, cause))?;
        parse(&output, status).map_err(|why| {
            failed(name, why).hinting(format!(
                "`docker-credential-{name} get`, given `{server}` on stdin, shows why, and perhaps the secret"
            ))
        })
    }

    fn start(&self, name: &str) -> Result<Group, Error> {
        let program = format!("docker-credential-{name}");
        for folder in &self.setting.folders {
            let started = Command::new(folder.join(&program))
                .arg("get")
                .current_dir("/")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .process_group(0)
                .kill_on_drop(true)
                .spawn();
            match started {
                Ok(child) => return Ok(Group(child)),
                Err(cause) if passed_over(&cause) => {}
                Err(cause) => return Err(broken(name, cause)),
            }
        }
        Err(failed(name, format!("is not there: no program `{program}`")))
    }
}

impl Drop for Group {
    /// Ends what still runs. There is an id only as long as nobody else can have it.
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            // It may have ended by itself, which is as good.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

/// The credential in a helper's answer; what is wrong with it must not be told in its own words.
fn parse(output: &[u8], status: ExitStatus) -> Result<Option<Credential>, String> {
    if output.trim_ascii() == NOT_FOUND {
        return Ok(None);
    }
    if !status.success() {
        return Err(format!("failed: {status}"));
    }
    let document: Document =
        serde_json::from_slice(output).map_err(|_| "printed no credential".to_owned())?;
    Ok(match (document.user.as_str(), document.secret.as_str()) {
        ("", "") => None,
        (TOKEN_USER, secret) => Some(Credential::identity_token(secret)),
        (user, secret) => Some(Credential::basic(user, secret)),
    })
}

/// What shells, too, make of a folder of PATH that has no such program.
fn passed_over(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

fn failed(name: &str, why: String) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("credential helper `{name}` {why}"),
    )
}

fn broken(name: &str, cause: io::Error) -> Error {
    failed(name, "cannot be run".to_owned()).because(cause)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn docker_hub_is_asked_for_by_both_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let script = "#!/bin/sh\nread -r server\necho \"$server\" >> \"$0.asked\"\n\
            [ \"$server\" = docker.io ] || { echo credentials not found in native keychain; exit 1; }\n\
            echo '{\"Username\":\"u\",\"Secret\":\"p\"}'\n";
        let program = dir.path().join("docker-credential-two");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let helpers = Helpers::new(CredentialHelpers::in_folders([dir.path().to_owned()]));
        let found = runtime
            .block_on(helpers.get("two", "docker.io", None))
            .unwrap()
            .unwrap();
        assert!(found.is(&Credential::basic("u", "p")));
        let asked = fs::read_to_string(dir.path().join("docker-credential-two.asked")).unwrap();
        assert_eq!(asked, "https://index.docker.io/v1/\ndocker.io\n");
    }
}
