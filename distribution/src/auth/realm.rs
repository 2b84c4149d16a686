// SPDX-License-Identifier: Apache-2.0
//! Which token server may be asked for a registry's tokens, and which may see its secret.
//!
//! The registry names the token server in its challenge, so a cut connection, a pull-through
//! cache or a compromised front end can name any. Two rules:
//!
//! 1. Any request needs https, or plain HTTP where the registry itself is spoken to without TLS
//!    and the server is on the same host (or both are on the loopback).
//! 2. The secret goes along only if the server's host is the registry's host, is below it or above
//!    it, is one that a known registry is known to use, or is named by the user. Otherwise the
//!    token is asked for without the secret.
//!
//! Below and above mean the tree of names: whoever runs a domain decides where the names below it
//! lead, and what certificates they get. Two hosts beside each other are strangers, as tenants
//! of `azurecr.io` or `amazonaws.com` are. No list of public suffixes would help to tell: it does
//! not have the domains of registries, and a guest's copy would be old.

use std::collections::BTreeSet;

use crate::http::Origin;
use crate::{Error, ErrorKind};

/// Refuses a token server that must not be asked at all.
pub(crate) fn admit(registry: &Origin, realm: &Origin) -> Result<(), Error> {
    let local = registry.loopback() && realm.loopback();
    if !realm.plain() || registry.plain() && (realm.host() == registry.host() || local) {
        return Ok(());
    }
    let message = format!("the registry `{registry}` names a token server without TLS: `{realm}`");
    Err(Error::new(ErrorKind::Denied, message))
}

/// Domains of registries, and the one token server beside them that they use. All have been seen in
/// challenges of these registries. Hosts that only their provider can have.
const KNOWN: [(&str, &str); 3] = [
    ("docker.io", "auth.docker.io"),
    ("registry.digitalocean.com", "api.digitalocean.com"),
    ("aliyuncs.com", "dockerauth.cn-hangzhou.aliyuncs.com"),
];

/// Whether the secret of `registry` may be sent to `realm`, which was admitted before.
pub(crate) fn may_see_secret(registry: &Origin, realm: &Origin, named: &BTreeSet<String>) -> bool {
    let (host, realm_host) = (registry.host(), realm.host());
    if host == realm_host || registry.loopback() && realm.loopback() || named.contains(realm_host) {
        return true;
    }
    if registry.ip().is_some() || realm.ip().is_some() {
        return false;
    }
    let known =
        |(domain, server): &(&str, &str)| realm_host == *server && (host == *domain || under(host, domain));
    // A name of one label is a top level, or a machine on some local network.
    let above = realm_host.contains('.') && under(host, realm_host);
    above || under(realm_host, host) || KNOWN.iter().any(known)
}

fn under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        let (scheme, authority) = text.split_once("://").unwrap();
        Origin::new(authority, scheme == "http").unwrap()
    }

    #[test]
    fn a_secret_goes_to_whoever_runs_the_registry() {
        let named = BTreeSet::from(["named.org".to_owned()]);
        for (registry, realms) in [
            ("registry-1.docker.io", "auth.docker.io"),
            ("ghcr.io", "ghcr.io"),
            ("quay.io", "quay.io"),
            ("us-docker.pkg.dev", "us-docker.pkg.dev"),
            ("registry.gitlab.com", "gitlab.com"),
            ("team.azurecr.io", "team.azurecr.io"),
            ("nvcr.io", "nvcr.io"),
            ("registry.redhat.io", "registry.redhat.io"),
            ("registry.digitalocean.com", "api.digitalocean.com"),
            (
                "registry.cn-shanghai.aliyuncs.com",
                "dockerauth.cn-hangzhou.aliyuncs.com",
            ),
            ("harbor.example.com:8443", "harbor.example.com named.org"),
            (
                "registry.gitlab.example.com:5000",
                "gitlab.example.com example.com",
            ),
            ("example.com", "auth.example.com login.auth.example.com"),
            ("localhost:5000", "127.0.0.1:5001 [::1]:5002"),
            ("192.0.2.1:5000", "192.0.2.1:5001 named.org"),
        ] {
            for realm in realms.split(' ') {
                let (registry, realm) = (
                    origin(&format!("https://{registry}")),
                    origin(&format!("https://{realm}")),
                );
                assert!(may_see_secret(&registry, &realm, &named), "{registry} {realm}");
            }
        }
    }

    #[test]
    fn strangers_see_no_secret() {
        for (registry, realms) in [
            ("ghcr.io", "evil.io notghcr.io ghcr.io.evil.io io"),
            ("a.azurecr.io", "b.azurecr.io x.a.b.azurecr.io"),
            (
                "1.dkr.ecr.us-east-1.amazonaws.com",
                "2.dkr.ecr.us-east-1.amazonaws.com x.s3.amazonaws.com",
            ),
            (
                "registry.example.com",
                "auth.example.com evil.com registry.example.com.evil.com",
            ),
            ("registry-1.docker.io", "auth.docker.io.evil.com evil.docker.io"),
            ("evil.com", "auth.docker.io api.digitalocean.com"),
            ("evildocker.io", "auth.docker.io"),
            (
                "registry.cn-shanghai.aliyuncs.com",
                "dockerauth.oss-cn-hangzhou.aliyuncs.com",
            ),
            ("shop.co.uk", "evil.co.uk uk"),
            ("192.0.2.1", "192.0.2.2 2.1 example.com"),
            ("1.2.example.com", "[2001:db8::1]"),
            ("registry.example.com", "127.0.0.1 localhost"),
        ] {
            for realm in realms.split(' ') {
                let (registry, realm) = (
                    origin(&format!("https://{registry}")),
                    origin(&format!("https://{realm}")),
                );
                assert!(
                    !may_see_secret(&registry, &realm, &BTreeSet::new()),
                    "{registry} {realm}"
                );
            }
        }
    }

    #[test]
    fn a_plain_token_server_is_for_a_plain_registry_on_its_host() {
        for (registry, realm, want) in [
            ("https://a.example", "https://b.example", true),
            ("http://a.example", "http://a.example:5001", true),
            ("http://localhost:5000", "http://127.0.0.1:5001", true),
            ("https://a.example", "http://a.example", false),
            ("http://a.example", "http://b.example", false),
            ("https://localhost", "http://localhost", false),
        ] {
            assert_eq!(
                admit(&origin(registry), &origin(realm)).is_ok(),
                want,
                "{registry} {realm}"
            );
        }
    }
}
