// SPDX-License-Identifier: Apache-2.0
//! Digests and the hasher.

use image_spec::{Algorithm, Digest, ErrorKind, Hasher};

/// FIPS 180 examples: the empty text and `abc`.
const KNOWN: [(Algorithm, &str, &str); 6] = [
    (
        Algorithm::Sha256,
        "",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        Algorithm::Sha256,
        "abc",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    (
        Algorithm::Sha384,
        "",
        "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b",
    ),
    (
        Algorithm::Sha384,
        "abc",
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
    ),
    (
        Algorithm::Sha512,
        "",
        "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
    ),
    (
        Algorithm::Sha512,
        "abc",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
];

#[test]
fn the_published_examples_hold() {
    for (algorithm, text, hex) in KNOWN {
        let digest = Digest::of(algorithm, text.as_bytes());
        assert_eq!(digest.hex(), hex);
        assert_eq!(digest.bytes().len() * 2, algorithm.hex_len());
        let written = format!("{algorithm}:{hex}");
        assert_eq!(digest.to_string(), written);
        assert_eq!(written.parse::<Digest>().unwrap(), digest);
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{written}\""));
        assert_eq!(
            serde_json::from_str::<Digest>(&format!("\"{written}\"")).unwrap(),
            digest
        );
        assert_eq!(algorithm.as_str().parse::<Algorithm>().unwrap(), algorithm);
    }
    assert_eq!(Digest::sha256(b"").short(), "sha256:e3b0c44298fc");
}

#[test]
fn pieces_hash_like_the_whole() {
    let bytes: Vec<u8> = (0..10_000u32).map(|n| n as u8).collect();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
        let mut hasher = Hasher::new(algorithm);
        for piece in bytes.chunks(37) {
            hasher.update(piece);
        }
        let fork = hasher.clone();
        hasher.update(b"more");
        assert_eq!(fork.bytes(), 10_000);
        assert_eq!(fork.finish(), Digest::of(algorithm, &bytes));
        assert_ne!(hasher.finish(), Digest::of(algorithm, &bytes));
    }
}

#[test]
fn one_text_for_one_digest() {
    let hex = KNOWN[0].2;
    let rows = [
        String::new(),
        "sha256".to_owned(),
        "sha256:".to_owned(),
        format!(":{hex}"),
        hex.to_owned(),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha512:{hex}"),
        format!("sha384:{hex}"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("Sha256:{hex}"),
        format!(" sha256:{hex}"),
        format!("sha256:{hex}\n"),
        format!("sha256: {}", &hex[1..]),
        format!("sha256:+{}", &hex[1..]),
        format!("sha256::{}", &hex[1..]),
        format!("sha256:../../{}", &hex[6..]),
        format!("sha256:{}/", &hex[1..]),
        format!("sha256:{}g", &hex[1..]),
        format!("sha256:{}é", &hex[2..]),
        format!("sha256+foo+-b:{hex}"),
        format!("sha256+:{hex}"),
        format!("+sha256:{hex}"),
        format!("../sha256:{hex}"),
    ];
    for text in rows {
        let error = text.parse::<Digest>().expect_err(&text);
        assert_eq!(*error.kind(), ErrorKind::Syntax, "{text}");
    }
}

#[test]
fn another_algorithm_is_well_formed_but_unsupported() {
    let hex = KNOWN[0].2;
    for algorithm in [
        "blake3",
        "md5",
        "sha1",
        "sha256+b64",
        "sha256.foo-bar",
        "multihash_base58",
    ] {
        let error = format!("{algorithm}:{hex}").parse::<Digest>().unwrap_err();
        assert_eq!(
            *error.kind(),
            ErrorKind::Unsupported(format!("digest algorithm `{algorithm}`"))
        );
    }
}
