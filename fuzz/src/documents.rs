// SPDX-License-Identifier: Apache-2.0
//! Names and documents: what is accepted has one form, and comes back when it is written and read.

use distribution::{AuthFile, Client, ErrorKind, Hosts, Proxies, Registries};
use image_spec::{Digest, Document, ImageConfig, MediaType, Platform, Reference};
use signature::{Candidate, Identity, Policy};

/// An image's name.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<Reference>() {
        let canonical = name.to_string();
        assert_eq!(canonical.parse().as_ref(), Ok(&name), "{canonical}");
        assert!(
            !name.registry().is_empty() && !name.repository().is_empty(),
            "{canonical}"
        );
        assert!(
            !name
                .repository()
                .split('/')
                .any(|part| matches!(part, "" | "." | "..")),
            "{canonical}"
        );
    }
}

/// A digest.
pub fn digest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
    }
}

/// A manifest or an index.
pub fn document(bytes: &[u8]) {
    let _ = MediaType::from_content_type(&String::from_utf8_lossy(bytes));
    let Ok(document) = Document::parse(bytes, None) else {
        return;
    };
    let written = match &document {
        Document::Manifest(manifest) => manifest.to_vec(),
        Document::Index(index) => {
            let _ = index.select(&Platform::new("linux", "amd64"));
            index.to_vec()
        }
    };
    let again = Document::parse(&written, None).expect("what was written can be read");
    assert_eq!(again, document);
}

/// An image's configuration.
pub fn config(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes) else {
        return;
    };
    let again = ImageConfig::parse(&config.to_vec()).expect("what was written can be read");
    assert_eq!(again, config);
}

/// A policy, asked about two images.
pub fn policy(bytes: &[u8]) {
    let Ok(policy) = Policy::parse(bytes) else { return };
    for name in ["docker.io/library/busybox:1", "quay.io/a/b/c:latest"] {
        let identity = Identity::docker(&name.parse().expect("a name"));
        let ask = || {
            let candidate = Candidate {
                identity: identity.clone(),
                top: "{}".into(),
                manifest: "{}".into(),
            };
            policy.admit(candidate).is_ok()
        };
        let admitted = ask();
        assert_eq!(ask(), admitted);
        // Nothing but this word admits an image that nobody has signed.
        let word = b"insecureAcceptAnything";
        let escaped = bytes.contains(&b'\\');
        assert!(!admitted || escaped || bytes.windows(word.len()).any(|part| part == word));
    }
}

/// Credentials, looked up for some names.
pub fn auth_file(bytes: &[u8]) {
    let Ok(file) = AuthFile::parse(bytes) else { return };
    for (host, repository) in [
        ("docker.io", "library/busybox"),
        ("localhost:5000", "a/b"),
        ("", ""),
    ] {
        let _ = file.lookup(host, repository);
    }
    assert!(format!("{file:?}").len() < 100);
}

/// A registries.conf, a hosts.toml or a list of hosts without proxy, whatever it is. An image that a later file
/// blocks by its full name is blocked, whatever stands before.
pub fn places(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = Proxies::none().all(text);
    let _ = Proxies::none().except(text);
    let hosts = Hosts::new().config("example.com", text).unwrap_or_default();
    let mut registries = Registries::parse(text).unwrap_or_default();
    for name in ["busybox", "team/app:1", "example.com/a", ""] {
        let _ = registries.candidates(name);
    }
    let block = "[[registry]]\nprefix = \"example.com/blocked:tag\"\nblocked = true";
    registries.merge(Registries::parse(block).expect("a configuration"));
    let builder = Client::builder().without_system_roots().hosts(hosts);
    let client = builder.registries(registries).build().expect("a client");
    for name in [
        "busybox",
        "example.com/a/b:tag",
        "a.example.com:5000/x",
        "[::1]:5000/x",
    ] {
        let _ = client.registry(&name.parse().expect("a name"));
    }
    let blocked = client.registry(&"example.com/blocked:tag".parse().expect("a name"));
    assert_eq!(blocked.expect_err("blocked").kind(), ErrorKind::Denied);
}
