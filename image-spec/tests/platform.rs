// SPDX-License-Identifier: Apache-2.0
//! Which entry of an index suits a machine.

use image_spec::{Descriptor, Dialect, Digest, ErrorKind, Index, MediaType, Platform};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn index(offers: &[&str]) -> Index {
    let entry = |offer: &&str| {
        let mut entry = Descriptor::new(
            MediaType::Manifest(Dialect::Oci),
            Digest::sha256(offer.as_bytes()),
            1,
        );
        match *offer {
            "-" => {}
            "attestation" => {
                entry.platform = Some(platform("linux/amd64"));
                let note = (
                    "vnd.docker.reference.type".to_owned(),
                    "attestation-manifest".to_owned(),
                );
                entry.annotations.extend([note]);
            }
            "xml" => {
                entry.media_type = "application/xml".parse().unwrap();
                entry.platform = Some(platform("linux/amd64"));
            }
            offer => entry.platform = Some(platform(offer)),
        }
        entry
    };
    Index::new(Dialect::Oci, offers.iter().map(entry).collect())
}

#[test]
fn the_best_entry_is_chosen() {
    let rows: &[(&str, &[&str], Option<&str>)] = &[
        (
            "linux/amd64",
            &["linux/arm64", "linux/amd64"],
            Some("linux/amd64"),
        ),
        ("linux/x86_64", &["linux/amd64"], Some("linux/amd64")),
        ("linux/amd64", &["linux/x86_64"], Some("linux/x86_64")),
        ("linux/amd64", &["windows/amd64", "freebsd/amd64"], None),
        ("linux/amd64", &["linux/amd64/v2", "linux/amd64/v3"], None),
        ("linux/amd64/v1", &["linux/amd64"], Some("linux/amd64")),
        ("linux/amd64/v2", &["linux/amd64"], Some("linux/amd64")),
        (
            "linux/amd64/v3",
            &["linux/amd64", "linux/amd64/v2"],
            Some("linux/amd64/v2"),
        ),
        (
            "linux/amd64/v3",
            &["linux/amd64/v4", "linux/amd64/v3", "linux/amd64"],
            Some("linux/amd64/v3"),
        ),
        ("linux/amd64/v3", &["linux/amd64/v4"], None),
        (
            "linux/arm64",
            &["linux/arm/v7", "linux/arm64/v8"],
            Some("linux/arm64/v8"),
        ),
        ("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64")),
        ("linux/arm64/8", &["linux/arm64"], Some("linux/arm64")),
        ("linux/aarch64", &["linux/arm64/v8"], Some("linux/arm64/v8")),
        ("linux/arm64", &["linux/arm64/v9"], None),
        ("linux/arm64", &["linux/arm64/v8.2"], None),
        (
            "linux/arm64/v9",
            &["linux/arm64", "linux/arm64/v8.2"],
            Some("linux/arm64/v8.2"),
        ),
        ("linux/arm64", &["linux/arm/v7"], None),
        (
            "linux/arm",
            &["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"],
            Some("linux/arm/v7"),
        ),
        (
            "linux/arm/v7",
            &["linux/arm/v5", "linux/arm/v6"],
            Some("linux/arm/v6"),
        ),
        ("linux/arm/v7", &["linux/arm/v5"], Some("linux/arm/v5")),
        ("linux/arm/v7", &["linux/arm"], Some("linux/arm")),
        ("linux/arm/v6", &["linux/arm/v7", "linux/arm"], None),
        ("linux/arm/v6", &["linux/arm/v5"], Some("linux/arm/v5")),
        ("linux/armhf", &["linux/arm/v7"], Some("linux/arm/v7")),
        (
            "linux/armel",
            &["linux/arm/v7", "linux/arm/v6"],
            Some("linux/arm/v6"),
        ),
        ("linux/i686", &["linux/386"], Some("linux/386")),
        ("Linux/AMD64", &["linux/amd64"], Some("linux/amd64")),
        ("macos/arm64", &["darwin/arm64"], Some("darwin/arm64")),
        ("linux/s390x", &["linux/s390x"], Some("linux/s390x")),
        ("linux/mips64le/hardfloat", &["linux/mips64le/softfloat"], None),
        (
            "linux/mips64le/hardfloat",
            &["linux/mips64le/hardfloat"],
            Some("linux/mips64le/hardfloat"),
        ),
        ("linux/arm64/vX", &["linux/arm64"], None),
        (
            "linux/amd64",
            &["attestation", "linux/amd64"],
            Some("linux/amd64"),
        ),
        ("linux/amd64", &["attestation"], None),
        ("unknown/unknown", &["unknown/unknown"], None),
        ("linux/amd64", &["xml", "linux/amd64"], Some("linux/amd64")),
        ("linux/amd64", &["xml"], None),
        ("linux/amd64", &["-"], Some("-")),
        ("linux/amd64", &["-", "linux/amd64"], Some("linux/amd64")),
        ("linux/amd64", &["-", "linux/arm64"], Some("-")),
        ("linux/amd64", &["-", "-"], None),
        ("linux/amd64", &[], None),
    ];
    for (wanted, offers, best) in rows {
        let index = index(offers);
        let chosen = index.select(&platform(wanted)).ok().map(|entry| entry.digest);
        assert_eq!(
            chosen,
            best.map(|best| Digest::sha256(best.as_bytes())),
            "{wanted} of {offers:?}"
        );
    }
}

#[test]
fn among_equals_the_first_is_chosen() {
    let mut index = index(&["linux/amd64", "linux/amd64"]);
    index.manifests[1].digest = Digest::sha256(b"second");
    assert_eq!(
        index.select(&platform("linux/amd64")).unwrap().digest,
        Digest::sha256(b"linux/amd64")
    );
}

#[test]
fn an_image_that_needs_a_feature_is_for_machines_that_have_it() {
    let mut index = index(&["linux/amd64"]);
    let needs = index.manifests[0].platform.as_mut().unwrap();
    needs.os_features.push("erofs".to_owned());
    let mut machine = platform("linux/amd64");
    assert!(index.select(&machine).is_err());
    machine.os_features.push("erofs".to_owned());
    assert!(index.select(&machine).is_ok());
}

#[test]
fn a_windows_build_counts_when_it_is_asked_for() {
    let mut index = index(&["windows/amd64"]);
    index.manifests[0].platform.as_mut().unwrap().os_version = Some("10.0.17763".to_owned());
    let mut machine = platform("windows/amd64");
    assert!(index.select(&machine).is_ok());
    machine.os_version = Some("10.0.20348".to_owned());
    assert!(index.select(&machine).is_err());
}

#[test]
fn the_error_says_what_there_is() {
    let error = index(&["linux/amd64", "linux/arm/v7", "attestation"])
        .select(&platform("linux/s390x"))
        .unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "no image for linux/s390x, only for: `linux/amd64, linux/arm/v7`"
    );
    let error = index(&["attestation"])
        .select(&platform("linux/amd64"))
        .unwrap_err();
    assert_eq!(error.to_string(), "index holds no image");
}

#[test]
fn platforms_are_written_as_they_are_read() {
    for text in ["linux/amd64", "linux/arm64/v8", "windows/amd64", "Linux/AARCH64"] {
        assert_eq!(platform(text).to_string(), text);
    }
    assert_eq!(
        platform("Linux/AARCH64/v8").normalised().to_string(),
        "linux/arm64"
    );
    assert_eq!(platform("linux/arm").normalised().to_string(), "linux/arm/v7");
    for text in [
        "",
        "linux",
        "linux/",
        "/amd64",
        "linux//v8",
        "linux/a/b/c",
        "linux/a b",
        "linux/é",
        "linux/a\n",
    ] {
        assert_eq!(
            *text.parse::<Platform>().unwrap_err().kind(),
            ErrorKind::Syntax,
            "{text}"
        );
    }
}

#[test]
fn the_host_runs_its_own_images() {
    let host = Platform::host();
    assert_eq!(host.os, std::env::consts::OS.replace("macos", "darwin"));
    assert_eq!(host, host.normalised());
    assert!(host.accepts(&host));
    let other = if host.architecture == "amd64" {
        "linux/arm64"
    } else {
        "linux/amd64"
    };
    assert!(!host.accepts(&platform(other)));
}
