// SPDX-License-Identifier: Apache-2.0
//! The policy: read as a whole or not at all, asked for every image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::admit::{Admitted, Candidate, Verdict};
use crate::error::{Error, ErrorKind};
use crate::identity::Identity;
use crate::json::{self, Fields};
use crate::requirement::Requirement;
use crate::scope;

/// Bytes of a policy. Real ones have a few KiB; keys may be given inside.
const MAX_POLICY: u64 = 1 << 20;

/// Which images are admitted: a containers-policy.json(5).
///
/// The file is the one that skopeo and podman read, by the same rules: the most specific scope
/// decides alone, and all of its requirements must hold. Nothing is skipped over: an unknown key,
/// a key that appears twice, an unknown requirement or an empty list refuses the whole file.
#[derive(Clone, Debug)]
pub struct Policy {
    source: String,
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

impl Policy {
    /// Where a policy is looked for when none is named, in this order. A user's own file is not
    /// among them: in a guest there is one user, and what decides must lie where it is measured.
    pub const DEFAULT_PATHS: [&str; 2] = ["/etc/image-client/policy.json", "/etc/containers/policy.json"];

    /// Reads a policy.
    ///
    /// # Errors
    /// `Malformed` with the place in the text, `TooLarge` beyond 1 MiB.
    pub fn parse(text: &[u8]) -> Result<Policy, Error> {
        if text.len() as u64 > MAX_POLICY {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "a policy has at most 1 MiB, this one",
                text.len(),
            ));
        }
        let mut fields = json::object(text)?;
        let default = Requirement::list(&mut fields, "default")?;
        let mut transports = BTreeMap::new();
        if let Some(mut all) = fields.take_object("transports")? {
            for transport in all.keys() {
                if let Some(scopes) = all.take_object(&transport)? {
                    transports.insert(transport.clone(), read_scopes(&transport, scopes)?);
                }
            }
        }
        fields.end()?;
        Ok(Policy {
            source: "given text".into(),
            default,
            transports,
        })
    }

    /// Reads a policy from a file.
    ///
    /// # Errors
    /// As [`parse`](Policy::parse), and `Io`; the file is named.
    pub fn load(path: &Path) -> Result<Policy, Error> {
        let failed = |kind| Error::new(kind, "cannot use the policy", path.display());
        let text = read(path).map_err(|source| failed(ErrorKind::Io).caused(source))?;
        let mut policy = Policy::parse(&text).map_err(|source| failed(source.kind()).caused(source))?;
        policy.source = path.display().to_string();
        Ok(policy)
    }

    /// Reads the named policy or, without one, the first that exists in `places`, usually
    /// [`DEFAULT_PATHS`](Policy::DEFAULT_PATHS). A policy that exists and cannot be used is an
    /// error: the next one is not tried.
    ///
    /// # Errors
    /// As [`load`](Policy::load), and `NoPolicy`, whose hint says how to name one.
    pub fn find(named: Option<&Path>, places: &[impl AsRef<Path>]) -> Result<Policy, Error> {
        if let Some(path) = named {
            return Policy::load(path);
        }
        for path in places.iter().map(AsRef::as_ref) {
            match fs::symlink_metadata(path) {
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                _ => return Policy::load(path),
            }
        }
        let places: Vec<String> = places
            .iter()
            .map(|path| path.as_ref().display().to_string())
            .collect();
        let what = "no policy says which images are admitted, none found at";
        Err(Error::new(ErrorKind::NoPolicy, what, places.join("`, `")))
    }

    /// The policy that admits every image, from whomever. For laboratories.
    pub fn insecure_accept_anything() -> Policy {
        Policy {
            source: "insecure: every image is accepted".into(),
            default: vec![Requirement::InsecureAcceptAnything],
            transports: BTreeMap::new(),
        }
    }

    /// Asks whether the image may be used. The answer holds for the very bytes given, and is to be
    /// asked for again each time, also for an image that is in the store already.
    ///
    /// # Errors
    /// `Digest` when the bytes are not those that the reference names; `Refused`, or `Unsupported`
    /// with the requirement's type when this version cannot verify it. Either names the policy, the
    /// scope that decided, and the image.
    pub fn admit(&self, candidate: Candidate) -> Result<Admitted, Error> {
        candidate.check_pin()?;
        let (scope, requirements) = self.lookup(&candidate.identity);
        for requirement in requirements {
            let (kind, why) = match requirement {
                Requirement::InsecureAcceptAnything => continue,
                Requirement::Reject => (ErrorKind::Refused, "refuses by"),
                Requirement::Unverifiable(name) => {
                    (ErrorKind::Unsupported(name), "asks for what is not supported,")
                }
            };
            let what = format!(
                "scope `{}` of policy `{}` {why} `{}`",
                scope.escape_debug(),
                self.source.escape_debug(),
                requirement.name()
            );
            return Err(Error::new(kind, what, &candidate.identity));
        }
        let requirements = requirements
            .iter()
            .map(|requirement| requirement.name())
            .collect();
        Ok(Admitted::new(
            candidate,
            Verdict {
                scope,
                source: self.source.clone(),
                requirements,
            },
        ))
    }

    /// The scope that decides, and what it asks.
    fn lookup(&self, identity: &Identity) -> (String, &[Requirement]) {
        let transport = identity.transport().as_str();
        let Some(scopes) = self.transports.get(transport) else {
            return self.fallback();
        };
        let own = String::new();
        identity
            .scopes()
            .iter()
            .chain([&own])
            .find_map(|scope| Some((format!("{transport}:{scope}"), scopes.get(scope)?.as_slice())))
            .unwrap_or_else(|| self.fallback())
    }

    fn fallback(&self) -> (String, &[Requirement]) {
        ("default".into(), &self.default)
    }
}

fn read_scopes(transport: &str, mut fields: Fields) -> Result<BTreeMap<String, Vec<Requirement>>, Error> {
    let mut scopes = BTreeMap::new();
    for key in fields.keys() {
        let requirements = Requirement::list(&mut fields, &key)?;
        let scope = scope::checked(transport, key.clone()).map_err(|what| fields.wrong(what, &key))?;
        if scopes.insert(scope, requirements).is_some() {
            return Err(fields.wrong("the same scope twice", &key));
        }
    }
    Ok(scopes)
}

/// A file's bytes, a few more than allowed at most. Only what is a file is opened: a pipe would
/// make the pull wait.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_POLICY + 1).read_to_end(&mut text)?;
    Ok(text)
}
