// SPDX-License-Identifier: Apache-2.0
//! Credentials as `docker login` and `podman login` store them (containers-auth.json(5)).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use zeroize::Zeroizing;

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
/// Docker Hub are one. `credHelpers` go before all `auths`, and these before `credsStore`.
#[derive(Clone, Default)]
pub struct AuthFile {
    auths: BTreeMap<String, Kept>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// What an entry of `auths` holds.
#[derive(Clone)]
enum Kept {
    Credential(Credential),
    /// Left by a login that gave the secret to a helper, or by hand.
    Nothing,
    /// `auth` cannot be read.
    Malformed,
}

/// What a file says about a repository.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    Nothing,
    Credential(Credential),
    /// A helper program keeps the credential; one that is `certain` was named for this registry.
    Helper {
        name: String,
        certain: bool,
    },
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    cred_helpers: Option<BTreeMap<String, Option<String>>>,
    creds_store: Option<String>,
}

/// In order of precedence.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    registrytoken: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    auth: Option<Zeroizing<String>>,
    username: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
}

impl AuthFile {
    /// Reads the JSON text.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) if it is no such JSON, [`TooLarge`](ErrorKind::TooLarge)
    /// over 1 MiB. A malformed `auth` shows in [`lookup`](Self::lookup).
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
        for (key, entry) in file.auths.unwrap_or_default() {
            let kept = entry.unwrap_or_default().keep();
            // The plain key beats Docker's URL form of the same host.
            match key.contains("://") {
                true => drop(auths.entry(key_of(&key)).or_insert(kept)),
                false => drop(auths.insert(key_of(&key), kept)),
            }
        }
        let helpers = file.cred_helpers.unwrap_or_default();
        let helpers = helpers
            .into_iter()
            .filter_map(|(key, name)| Some((key_of(&key), name.filter(|name| !name.is_empty())?)))
            .collect();
        Ok(Self {
            auths,
            helpers,
            store: file.creds_store.filter(|name| !name.is_empty()),
        })
    }

    /// The credential for a repository such as `library/busybox` on a host such as `docker.io`
    /// or `localhost:5000`, if there is one. Starts no helper.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if a credential helper keeps it;
    /// [`Invalid`](ErrorKind::Invalid) if the entry that counts is malformed.
    pub fn lookup(&self, host: &str, repository: &str) -> Result<Option<Credential>, Error> {
        match self.find(host, repository)? {
            Found::Credential(credential) => Ok(Some(credential)),
            Found::Helper { name, certain: true } => Err(Error::unsupported(format!(
                "credential helper `{}`, which keeps `{}`",
                clean(&name),
                clean(host)
            ))),
            Found::Helper { .. } | Found::Nothing => Ok(None),
        }
    }

    /// The same, with the name of the helper that would have to be asked.
    pub(crate) fn find(&self, host: &str, repository: &str) -> Result<Found, Error> {
        let path = format!("{}/{repository}", hub(&host.to_ascii_lowercase()));
        if let Some(name) = scopes(&path).find_map(|scope| self.helpers.get(scope)) {
            return Ok(Found::Helper {
                name: name.clone(),
                certain: true,
            });
        }
        let mut listed = false;
        for scope in scopes(&path) {
            match self.auths.get(scope) {
                Some(Kept::Credential(credential)) => return Ok(Found::Credential(credential.clone())),
                Some(Kept::Malformed) => {
                    let message = format!(
                        "auth file entry `{}`: `auth` is not base64 of `user:password`",
                        clean(scope)
                    );
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                Some(Kept::Nothing) => listed = true,
                None => {}
            }
        }
        Ok(match &self.store {
            Some(name) => Found::Helper {
                name: name.clone(),
                certain: listed,
            },
            None => Found::Nothing,
        })
    }
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile")
            .field("entries", &self.auths.len())
            .finish_non_exhaustive()
    }
}

impl Entry {
    fn keep(self) -> Kept {
        let present = |text: Option<Zeroizing<String>>| text.filter(|text| !text.is_empty());
        if let Some(token) = present(self.registrytoken) {
            return Kept::Credential(Credential::registry_token(&**token));
        }
        let pair = present(self.auth).map(|auth| decode(&auth));
        if let Some(token) = present(self.identitytoken) {
            // `auth` holds the user alone, or nothing of use.
            let user = pair.flatten().map(|(user, _)| user).unwrap_or_default();
            return Kept::Credential(Credential::identity(user, token));
        }
        match (pair, present(self.username), self.password) {
            (Some(Some((user, password))), ..) if !user.is_empty() => {
                Kept::Credential(Credential::basic(&**user, &**password))
            }
            (Some(_), ..) => Kept::Malformed,
            (None, Some(user), Some(password)) => Kept::Credential(Credential::basic(&**user, &**password)),
            _ => Kept::Nothing,
        }
    }
}

fn decode(auth: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let bytes = Zeroizing::new(BASE64.decode(auth.trim()).ok()?);
    let text = std::str::from_utf8(&bytes).ok()?;
    // Docker pads the password with NUL.
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((
        Zeroizing::new(user.to_owned()),
        Zeroizing::new(password.to_owned()),
    ))
}

/// A path and all that it begins with, the longest first: `h/a/b`, `h/a`, `h`.
fn scopes(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |scope| Some(scope.rsplit_once('/')?.0))
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
    use crate::credential::Kind;

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
    fn helpers_go_before_entries_and_the_store_after_them() {
        let file = r#"{"auths":{"h":{},"helped":{"auth":"dTpw"},"good":{"auth":"dTpw"},"good/sub":{}},
            "credHelpers":{"helped":"ecr-login","https://index.docker.io/v1/":"hub","unset":"","null":null},
            "credsStore":"pass","HttpHeaders":{"a":"b"}}"#;
        let file = AuthFile::parse(file.as_bytes()).unwrap();
        for (host, repository, want) in [
            ("h", "r", "pass true"),
            ("helped", "r", "ecr-login true"),
            ("docker.io", "library/busybox", "hub true"),
            ("good", "sub", "Basic dTpw"),
            ("unset", "r", "pass false"),
            ("null", "r", "pass false"),
            ("absent", "r", "pass false"),
        ] {
            let found = match file.find(host, repository).unwrap() {
                Found::Nothing => String::new(),
                Found::Credential(found) => found.header().unwrap().to_str().unwrap().to_owned(),
                Found::Helper { name, certain } => format!("{name} {certain}"),
            };
            assert_eq!(found, want, "{host}");
            let public = file.lookup(host, repository).err().map(|error| error.to_string());
            let named = want.strip_suffix(" true");
            let want =
                named.map(|name| format!("not supported: credential helper `{name}`, which keeps `{host}`"));
            assert_eq!(public, want, "{host}");
        }
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        for (entry, want) in [
            (r#"{"auth":"dTpw"}"#, Some((Kind::Password, "Basic dTpw"))),
            (
                r#"{"auth":"dTpw","username":"x","password":"y"}"#,
                Some((Kind::Password, "Basic dTpw")),
            ),
            (
                r#"{"username":"u","password":"p","email":"x"}"#,
                Some((Kind::Password, "Basic dTpw")),
            ),
            (
                r#"{"auth":"","username":"u","password":""}"#,
                Some((Kind::Password, "Basic dTo=")),
            ),
            (
                r#"{"identitytoken":"p","auth":"dTo="}"#,
                Some((Kind::Identity, "Basic dTpw")),
            ),
            (
                r#"{"identitytoken":"p","auth":"?"}"#,
                Some((Kind::Identity, "Basic OnA=")),
            ),
            (
                r#"{"registrytoken":"t","identitytoken":"p","auth":"dTpw"}"#,
                Some((Kind::Registry, "Bearer t")),
            ),
            (r#"{"username":"u"}"#, None),
            (r#"{"password":"p"}"#, None),
            (r#"{"auth":null,"email":"x"}"#, None),
            (r#"{"auth":"","identitytoken":""}"#, None),
            ("{}", None),
            ("null", None),
        ] {
            let file = format!(r#"{{"auths":{{"h":{entry}}},"credHelpers":null}}"#);
            let found = AuthFile::parse(file.as_bytes())
                .unwrap()
                .lookup("h", "r")
                .unwrap();
            let found = found.map(|found| (found.kind(), found.header().unwrap()));
            let found = found
                .as_ref()
                .map(|(kind, header)| (*kind, header.to_str().unwrap()));
            assert_eq!(found, want, "{entry}");
        }
    }

    #[test]
    fn a_bad_entry_spoils_only_itself_and_no_error_shows_a_secret() {
        let file =
            r#"{"auths":{"bad":{"auth":"c2VjcmV0"},"nobody":{"auth":"OnA="},"good":{"auth":"dTpwAAA="}}}"#;
        assert_eq!(lookup(file, "good", "r").unwrap().as_deref(), Some("Basic dTpw"));
        for bad in ["bad", "nobody"] {
            let error = lookup(file, bad, "r").unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("auth file entry `{bad}`: `auth` is not base64 of `user:password`")
            );
        }
        let wrong = AuthFile::parse(br#"{"auths":"hunter2"}"#).unwrap_err();
        assert!(!format!("{wrong:?}").contains("hunter2"));
    }
}
