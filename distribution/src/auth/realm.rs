// SPDX-License-Identifier: Apache-2.0
//! Which token server may be asked for a registry's tokens, and which may see its secret.
//!
//! The registry names the token server in its challenge, so a cut connection, a pull-through
//! cache or a compromised front end can name any. Two rules:
//!
//! 1. Any request needs https, or plain HTTP where the registry itself is spoken to without TLS
//!    and the server is on the same host (or both are on the loopback).
//! 2. The secret goes along only if the server's host is the registry's host, is under it, or
//!    belongs to the same domain: the registry's host without its first label. That domain needs
//!    two labels and must not look like a country's second level (`co.uk`). The user may name
//!    further hosts. Otherwise the token is asked for without the secret.

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

/// Whether the secret of `registry` may be sent to `realm`, which was admitted before.
pub(crate) fn may_see_secret(registry: &Origin, realm: &Origin, named: &BTreeSet<String>) -> bool {
    if registry.host() == realm.host() || registry.loopback() && realm.loopback() {
        return true;
    }
    if registry.ip().is_some() || realm.ip().is_some() {
        return named.contains(realm.host());
    }
    let domain = shared_domain(registry.host());
    named.contains(realm.host())
        || under(realm.host(), registry.host())
        || domain.is_some_and(|domain| realm.host() == domain || under(realm.host(), domain))
}

fn under(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

fn shared_domain(host: &str) -> Option<&str> {
    let (_, domain) = host.split_once('.')?;
    let (second, top) = domain.rsplit_once('.')?;
    let national = top.len() == 2 && second.len() <= 3 && !second.contains('.');
    (!national && !second.is_empty()).then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        let (scheme, authority) = text.split_once("://").unwrap();
        Origin::new(authority, scheme == "http").unwrap()
    }

    #[test]
    fn a_secret_stays_in_the_registrys_domain() {
        for (registry, realm, want) in [
            ("https://ghcr.io", "https://ghcr.io", true),
            (
                "https://registry.example.com:5000",
                "https://registry.example.com",
                true,
            ),
            ("https://registry-1.docker.io", "https://auth.docker.io", true),
            ("https://registry.gitlab.com", "https://gitlab.com", true),
            ("https://example.com", "https://auth.example.com", true),
            ("https://localhost:5000", "https://127.0.0.1:5001", true),
            ("https://ghcr.io", "https://evil.io", false),
            ("https://ghcr.io", "https://notghcr.io", false),
            ("https://registry.example.com", "https://evil.com", false),
            (
                "https://registry.example.com",
                "https://registry.example.com.evil.com",
                false,
            ),
            ("https://shop.co.uk", "https://evil.co.uk", false),
            ("https://192.0.2.1", "https://192.0.2.2", false),
            ("https://1.2.example.com", "https://[2001:db8::1]", false),
            ("https://registry.example.com", "https://named.org", true),
        ] {
            let named = BTreeSet::from(["named.org".to_owned()]);
            assert_eq!(
                may_see_secret(&origin(registry), &origin(realm), &named),
                want,
                "{registry} {realm}"
            );
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
