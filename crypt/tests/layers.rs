// SPDX-License-Identifier: Apache-2.0
//! Which layers are taken for clear, which for encrypted, and which for neither.

use crypt::{ErrorKind, Protection, Scheme, check, check_all, protection};
use image_spec::{Descriptor, Digest};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const KEYS: &str = "org.opencontainers.image.enc.keys.";

fn layer(media_type: &str, annotations: &[(&str, &str)]) -> Descriptor {
    let mut layer = Descriptor::new(media_type.parse().unwrap(), Digest::sha256(b"layer"), 5);
    layer.annotations = annotations
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    layer
}

fn encrypted(annotations: &[(&str, &str)]) -> Descriptor {
    layer(&format!("{GZIP}+encrypted"), annotations)
}

#[test]
fn clear_layers_are_clear() {
    let types = [
        GZIP,
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/x-encrypted",
    ];
    for media_type in types {
        let clear = layer(
            media_type,
            &[
                ("org.opencontainers.image.title", "x"),
                ("org.opencontainers.image.encore", "x"),
            ],
        );
        assert_eq!(protection(&clear), Ok(Protection::Clear), "{media_type}");
        assert_eq!(check(&clear, 0), Ok(()), "{media_type}");
    }
}

#[test]
fn every_type_with_the_suffix_is_encrypted() {
    let stems = [
        "application/vnd.oci.image.layer.v1.tar",
        GZIP,
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.unheard.of",
    ];
    for stem in stems {
        let layer = layer(&format!("{stem}+encrypted"), &[(&format!("{KEYS}jwe"), "e30=")]);
        assert_eq!(
            protection(&layer),
            Ok(Protection::Encrypted(vec![Scheme::Jwe])),
            "{stem}"
        );
        assert!(
            matches!(check(&layer, 0).unwrap_err().kind(), ErrorKind::Unsupported(_)),
            "{stem}"
        );
    }
}

#[test]
fn schemes_are_listed_in_the_order_of_trying() {
    let key = |name: &str| format!("{KEYS}{name}");
    let names = [
        "pkcs11",
        "pgp",
        "jwe",
        "pkcs7",
        "provider.kbs",
        "provider.attestation-agent",
        "rot13",
        "provider.",
    ];
    let keys = names.map(key);
    let annotations: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "e30=")).collect();
    let want = vec![
        Scheme::Provider("attestation-agent".into()),
        Scheme::Provider("kbs".into()),
        Scheme::Jwe,
        Scheme::Pkcs7,
        Scheme::Pgp,
        Scheme::Pkcs11,
        Scheme::Other("provider.".into()),
        Scheme::Other("rot13".into()),
    ];
    assert_eq!(
        protection(&encrypted(&annotations)),
        Ok(Protection::Encrypted(want))
    );
}

#[test]
fn encrypted_type_without_a_key_is_refused() {
    let empty = format!("{KEYS}jwe");
    let table: [&[(&str, &str)]; 4] = [
        &[],
        &[("org.opencontainers.image.enc.pubopts", "e30=")],
        &[(&empty, "")],
        &[("org.opencontainers.image.title", "x")],
    ];
    for annotations in table {
        assert_eq!(
            protection(&encrypted(annotations)).unwrap_err().kind(),
            &ErrorKind::NoKey,
            "{annotations:?}"
        );
    }
}

#[test]
fn annotations_of_encryption_on_a_clear_type_are_refused() {
    let keys = [
        "org.opencontainers.image.enc.keys.jwe",
        "org.opencontainers.image.enc.keys.provider.attestation-agent",
        "org.opencontainers.image.enc.pubopts",
        "org.opencontainers.image.enc.of-tomorrow",
        "org.opencontainers.image.enc",
        "Org.OpenContainers.image.ENC.keys.jwe",
    ];
    for media_type in [
        GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "text/plain",
    ] {
        for key in keys {
            for value in ["e30=", ""] {
                let error = protection(&layer(media_type, &[(key, value)])).unwrap_err();
                assert_eq!(
                    error.kind(),
                    &ErrorKind::Inconsistent(key.into()),
                    "{media_type} {key}"
                );
            }
        }
    }
}

#[test]
fn annotations_have_bounds() {
    let list = |count: usize| vec!["e30="; count].join(",");
    let table = [
        (list(16), true),
        (list(17), false),
        ("e".repeat(64 << 10), true),
        ("e".repeat((64 << 10) + 1), false),
    ];
    for (value, good) in table {
        for key in [
            "org.opencontainers.image.enc.pubopts",
            "org.opencontainers.image.enc.keys.pgp",
        ] {
            let layer = encrypted(&[("org.opencontainers.image.enc.keys.jwe", "e30="), (key, &value)]);
            let done = protection(&layer);
            assert_eq!(done.is_ok(), good, "{key} {}", value.len());
            if let Err(error) = done {
                assert_eq!(error.kind(), &ErrorKind::Limit(key.into()));
            }
        }
    }
}

#[test]
fn refusal_names_layer_digest_and_schemes() {
    let bad = encrypted(&[
        (&format!("{KEYS}provider.kbs"), "e30="),
        (&format!("{KEYS}jwe"), "e30="),
    ]);
    let good = layer(GZIP, &[]);
    let digest = Digest::sha256(b"layer");
    let layers = [good.clone(), good.clone(), bad.clone(), good.clone(), bad.clone()];
    let error = check_all(&layers).unwrap_err();
    assert_eq!(error.index(), Some(2));
    assert_eq!(error.digest(), &digest);
    assert_eq!(
        error.to_string(),
        format!(
            "layer 3 of 5 is encrypted, which is not supported, its key wrapped by `provider.kbs`, `jwe`: `{digest}`"
        )
    );
    let error = check(&bad, 2).unwrap_err().to_string();
    assert!(error.starts_with("layer 3 is encrypted"), "{error}");
    assert_eq!(check_all(&[good]), Ok(()));
    assert_eq!(check_all(&[]), Ok(()));
}

#[test]
fn other_refusals_name_layer_and_annotation() {
    let table = [
        (
            encrypted(&[]),
            "layer 1 of 1 is encrypted, but no annotation holds its key",
        ),
        (
            layer(GZIP, &[("org.opencontainers.image.enc.pubopts", "x")]),
            "layer 1 of 1 has a media type that is not encrypted, but the annotation \
             `org.opencontainers.image.enc.pubopts`",
        ),
    ];
    for (layer, want) in table {
        let digest = layer.digest;
        assert_eq!(
            check_all(&[layer]).unwrap_err().to_string(),
            format!("{want}: `{digest}`")
        );
    }
}

#[test]
fn names_from_outside_are_short_and_printable() {
    let long = format!("{KEYS}provider.{}\n\u{1b}[31m", "x".repeat(500));
    let Ok(Protection::Encrypted(schemes)) = protection(&encrypted(&[(&long, "e30=")])) else {
        panic!()
    };
    assert_eq!(schemes, [Scheme::Provider("x".repeat(64))]);
    let odd = format!("{KEYS}\u{1b}[31m");
    let error = check(&encrypted(&[(&odd, "e30=")]), 0).unwrap_err().to_string();
    assert!(!error.contains('\u{1b}'), "{error}");
}
