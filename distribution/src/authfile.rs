// SPDX-License-Identifier: Apache-2.0
//! Credentials as `docker login` and `podman login` store them (containers-auth.json(5)).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use zeroize::{Zeroize, Zeroizing};

use crate::error::clean;
use crate::{Credential, Error, ErrorKind};

/// Bytes of an auth file; one with a hundred registries has some 30 KiB.
const MAX_FILE: usize = 1 << 20;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A parsed `config.json` or `auth.json`.
///
/// Keys are a host or a host with the beginning of a repository path; the longest match wins.
/// Keys with a scheme, as Docker writes them, count by their host alone, and all names of
/// Docker Hub are one. Entries without `auth` are skipped.
#[derive(Clone, Default)]
pub struct AuthFile {
    auths: BTreeMap<String, Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    identitytoken: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct File {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

/// Text that is wiped on drop.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl AuthFile {
    /// Reads the JSON text.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if it is no such JSON, [`TooLarge`](ErrorKind::TooLarge)
    /// over 1 MiB. A single entry's faults show in [`lookup`](Self::lookup).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_FILE {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the auth file is longer than {MAX_FILE} bytes"),
            ));
        }
        // The JSON error is not a source: it could repeat a secret that stands in the wrong place.
        let file: File = serde_json::from_slice(bytes).map_err(|cause| {
            let place = format!("line {}, column {}", cause.line(), cause.column());
            Error::new(ErrorKind::Invalid, format!("not an auth file: {place}"))
        })?;
        let mut auths = BTreeMap::new();
        for (key, entry) in file.auths {
            // The plain key beats Docker's URL form of the same host.
            match key.contains("://") {
                true => drop(auths.entry(key_of(&key)).or_insert(entry)),
                false => drop(auths.insert(key_of(&key), entry)),
            }
        }
        let helpers = file
            .cred_helpers
            .into_iter()
            .map(|(key, name)| (key_of(&key), name))
            .collect();
        Ok(Self {
            auths,
            helpers,
            store: file.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// The credential for a repository such as `library/busybox` on a host such as `docker.io`
    /// or `localhost:5000`, if there is one.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if the entry that counts is kept by a credential
    /// helper or is an identity token; [`Invalid`](ErrorKind::Invalid) if it is malformed.
    pub fn lookup(&self, host: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let host = hub(&host.to_ascii_lowercase()).to_owned();
        let path = format!("{host}/{repository}");
        let mut scope = path.as_str();
        loop {
            if let Some(helper) = self.helpers.get(scope) {
                return Err(helped(scope, helper));
            }
            if let Some(entry) = self.auths.get(scope) {
                if present(&entry.identitytoken).is_some() {
                    return Err(Error::unsupported(format!(
                        "identity token, stored for `{}`",
                        clean(scope)
                    )));
                }
                if let Some(auth) = present(&entry.auth) {
                    return decode(scope, auth).map(Some);
                }
                if let Some(helper) = &self.store {
                    return Err(helped(scope, helper));
                }
            }
            match scope.rsplit_once('/') {
                Some((shorter, _)) => scope = shorter,
                None => return Ok(None),
            }
        }
    }
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile")
            .field("entries", &self.auths.len())
            .finish_non_exhaustive()
    }
}

fn present(secret: &Option<Secret>) -> Option<&str> {
    secret
        .as_ref()
        .map(|secret| secret.0.as_str())
        .filter(|text| !text.is_empty())
}

fn helped(scope: &str, helper: &str) -> Error {
    Error::unsupported(format!(
        "credential helper `{}`, which keeps `{}`",
        clean(helper),
        clean(scope)
    ))
}

fn decode(scope: &str, auth: &str) -> Result<Credential, Error> {
    let invalid = || {
        let message = format!(
            "auth file entry `{}`: `auth` is not base64 of `user:password`",
            clean(scope)
        );
        Error::new(ErrorKind::Invalid, message)
    };
    let bytes = Zeroizing::new(BASE64.decode(auth.trim()).map_err(|_| invalid())?);
    let text = std::str::from_utf8(&bytes).map_err(|_| invalid())?;
    // Docker pads the password with NUL.
    Credential::parse(text.trim_end_matches('\0')).map_err(|_| invalid())
}

/// The form in which keys are compared.
fn key_of(key: &str) -> String {
    let scoped = match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    let (host, path) = scoped.split_once('/').unwrap_or((scoped, ""));
    let host = host.to_ascii_lowercase();
    match (hub(&host), path) {
        // `index.docker.io/v1` without a scheme is Docker Hub as a whole, too.
        (host, "" | "v1" | "v2") => host.to_owned(),
        (host, path) => format!("{host}/{path}"),
    }
}

/// The one name of Docker Hub for all it has.
pub(crate) fn hub(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(file: &str, host: &str, repository: &str) -> Result<Option<String>, Error> {
        let found = AuthFile::parse(file.as_bytes())?.lookup(host, repository)?;
        found
            .map(|credential| Ok(credential.header()?.to_str().unwrap_or_default().to_owned()))
            .transpose()
    }

    fn file(entries: &[(&str, &str)]) -> String {
        let list: Vec<String> = entries
            .iter()
            .map(|(key, pair)| format!(r#""{key}":{{"auth":"{}"}}"#, BASE64.encode(pair)))
            .collect();
        format!(r#"{{"auths":{{{}}}}}"#, list.join(","))
    }

    #[test]
    fn the_longest_scope_of_the_same_host_wins() {
        let file = file(&[
            ("h:1", "a:1"),
            ("h:1/ns", "b:2"),
            ("h:1/ns/repo", "c:3"),
            ("other", "d:4"),
        ]);
        for (host, repository, want) in [
            ("h:1", "x/y", Some("a:1")),
            ("h:1", "ns/other", Some("b:2")),
            ("h:1", "ns/repo", Some("c:3")),
            ("h:1", "ns/repo2", Some("b:2")),
            ("h:1", "nsx/repo", Some("a:1")),
            ("h", "ns/repo", None),
            ("evil", "h:1/ns/repo", None),
        ] {
            let want = want.map(|pair| format!("Basic {}", BASE64.encode(pair)));
            assert_eq!(
                lookup(&file, host, repository).unwrap(),
                want,
                "{host} {repository}"
            );
        }
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "docker.io",
            "index.docker.io/v1/",
            "https://registry-1.docker.io",
        ] {
            let found = lookup(&file(&[(key, "u:p")]), "docker.io", "library/busybox").unwrap();
            assert_eq!(found.as_deref(), Some("Basic dTpw"), "{key}");
        }
    }

    #[test]
    fn helpers_are_named_only_when_their_entry_counts() {
        let file = r#"{"auths":{"h":{},"token":{"identitytoken":"x"},"good":{"auth":"dTpw"}},
            "credHelpers":{"ecr":"ecr-login"},"credsStore":"pass","HttpHeaders":{"a":"b"}}"#;
        for (host, want) in [
            (
                "h",
                Some("not supported: credential helper `pass`, which keeps `h`"),
            ),
            (
                "ecr",
                Some("not supported: credential helper `ecr-login`, which keeps `ecr`"),
            ),
            ("token", Some("not supported: identity token, stored for `token`")),
            ("good", None),
            ("absent", None),
        ] {
            let error = lookup(file, host, "r").err().map(|error| error.to_string());
            assert_eq!(error.as_deref(), want, "{host}");
        }
        let skipped = r#"{"auths":{"h":{},"h/r":{"auth":null,"email":"x"}}}"#;
        assert_eq!(lookup(skipped, "h", "r").unwrap(), None);
    }

    #[test]
    fn a_bad_entry_spoils_only_itself_and_no_error_shows_a_secret() {
        let file = r#"{"auths":{"bad":{"auth":"c2VjcmV0"},"good":{"auth":"dTpwAAA="}}}"#;
        assert_eq!(lookup(file, "good", "r").unwrap().as_deref(), Some("Basic dTpw"));
        let error = lookup(file, "bad", "r").unwrap_err();
        assert_eq!(
            error.to_string(),
            "auth file entry `bad`: `auth` is not base64 of `user:password`"
        );
        let wrong = AuthFile::parse(br#"{"auths":"hunter2"}"#).unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
    }
}
