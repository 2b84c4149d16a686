// SPDX-License-Identifier: Apache-2.0
//! Archives as docker saves them, good and hostile.

use std::fs;

use distribution::{DockerArchive, Error, ErrorKind, Listing, Resolved, Source, Target, config, resolve};
use image_spec::{Compression, Descriptor, Digest, ImageConfig, MediaType};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

use crate::blobs::noise;
use crate::image::{amd64, assert_error, layer_type};

const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 1, 2, 3];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3];

/// Members and what `manifest.json` says of them.
struct Save {
    tar: Builder<Vec<u8>>,
    items: Vec<Value>,
}

impl Save {
    fn new() -> Self {
        Self {
            tar: Builder::new(Vec::new()),
            items: Vec::new(),
        }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> &mut Self {
        self.member(EntryType::Regular, name, bytes, "")
    }

    fn link(&mut self, name: &str, target: &str) -> &mut Self {
        self.member(EntryType::Symlink, name, b"", target)
    }

    fn member(&mut self, kind: EntryType, name: &str, bytes: &[u8], target: &str) -> &mut Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // The tar crate's own setters refuse what these tests are about.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.tar.append(&header, bytes).unwrap();
        self
    }

    /// An image of these layers, under the names that `docker save` gives.
    fn image(&mut self, tag: &str, layers: &[&str]) -> &mut Self {
        let config = settings(layers.len(), tag);
        let name = format!("{}.json", Digest::sha256(&config).hex());
        self.file(&name, &config);
        self.item(json!({"Config": name, "RepoTags": [tag], "Layers": layers}))
    }

    fn item(&mut self, item: Value) -> &mut Self {
        self.items.push(item);
        self
    }

    fn write(&mut self) -> NamedTempFile {
        let listing = Value::from(std::mem::take(&mut self.items)).to_string();
        self.file("manifest.json", listing.as_bytes());
        self.raw()
    }

    fn raw(&mut self) -> NamedTempFile {
        let tar = std::mem::replace(&mut self.tar, Builder::new(Vec::new()));
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), tar.into_inner().unwrap()).unwrap();
        file
    }
}

/// A config of so many layers, whose diff ids nobody here looks at; each author has another one.
fn settings(layers: usize, author: &str) -> Vec<u8> {
    let ids = (0..layers)
        .map(|number| Digest::sha256(&[number as u8]))
        .collect();
    let mut config = ImageConfig::new(&amd64(), ids);
    config.author = Some(author.to_owned());
    config.to_vec()
}

async fn read(file: &NamedTempFile, target: &Target) -> Result<(Resolved, Vec<Vec<u8>>), Error> {
    let archive = DockerArchive::open(file.path())?;
    let found = resolve(&archive, target, &amd64()).await?;
    ImageConfig::parse(&config(&archive, &found.manifest).await?).unwrap();
    let mut layers = Vec::new();
    for layer in &found.manifest.layers {
        layers.push(archive.blob(layer).await?.read_all(u64::MAX).await?.to_vec());
    }
    Ok((found, layers))
}

async fn refused(save: &mut Save, kind: ErrorKind, part: &str) {
    assert_error(read(&save.write(), &Target::Only).await, kind, part);
}

fn tag(name: &str) -> Target {
    Target::Tag(name.to_owned())
}

#[tokio::test]
async fn a_manifest_is_made_of_what_was_computed() {
    let layer = noise(3_000_000);
    let mut save = Save::new();
    save.file("one/layer.tar", &layer);
    save.file("two/layer.tar", GZIP);
    save.file("three/layer.tar", ZSTD);
    save.file("four/layer.tar", b"");
    save.image(
        "busybox:1",
        &[
            "one/layer.tar",
            "./two//layer.tar",
            "three/layer.tar",
            "four/layer.tar",
        ],
    );
    let file = save.write();
    let (found, layers) = read(&file, &Target::Only).await.unwrap();
    assert_eq!(layers, [&layer[..], GZIP, ZSTD, b""]);
    let kinds: Vec<_> = found
        .manifest
        .layers
        .iter()
        .map(|layer| &layer.media_type)
        .collect();
    let compressions = [
        Compression::None,
        Compression::Gzip,
        Compression::Zstd,
        Compression::None,
    ];
    for (kind, want) in kinds.iter().zip(compressions) {
        assert!(
            matches!(kind, MediaType::Layer(kind) if kind.compression == want),
            "{kind}"
        );
    }
    assert_eq!(found.top.digest, Digest::sha256(&found.top.bytes));
    // The same again, and by its digest.
    let digest = Target::Digest(found.top.digest);
    assert_eq!(read(&file, &digest).await.unwrap().0.top.bytes, found.top.bytes);
    let none = Target::Digest(Digest::sha256(b"none"));
    assert_error(
        read(&file, &none).await,
        ErrorKind::NotFound,
        "no image of the archive",
    );
}

#[tokio::test]
async fn an_image_is_chosen_by_name_or_number() {
    let mut save = Save::new();
    save.file("a.tar", b"a").file("b.tar", b"b");
    save.image("busybox:1", &["a.tar"])
        .image("localhost:5000/x/y:latest", &["b.tar"]);
    save.item(json!({"Config": "none.json", "RepoTags": null, "Layers": null}));
    let file = save.write();
    for (target, want) in [
        (tag("busybox:1"), "a"),
        (tag("docker.io/library/busybox:1"), "a"),
        (tag("localhost:5000/x/y"), "b"),
        (Target::Number(0), "a"),
        (Target::Number(1), "b"),
    ] {
        let (_, layers) = read(&file, &target).await.unwrap();
        assert_eq!(layers, [want.as_bytes()], "{target}");
    }
    for target in [tag("busybox"), tag("y:latest"), tag("UPPER"), Target::Number(3)] {
        let outcome = read(&file, &target).await;
        assert_error(
            outcome,
            ErrorKind::NotFound,
            "`busybox:1` (@0), `localhost:5000/x/y:latest` (@1), @2",
        );
    }
    assert_error(
        read(&file, &Target::Only).await,
        ErrorKind::Ambiguous,
        "3 images fit",
    );
    assert_error(
        read(&file, &Target::Number(2)).await,
        ErrorKind::NotFound,
        "no such member: `none.json`",
    );
    let archive = DockerArchive::open(file.path()).unwrap();
    let names = archive.tags(&Listing::default()).await.unwrap();
    assert_eq!(names, ["busybox:1", "localhost:5000/x/y:latest"]);
    // A blob is found without the image, and an image that is broken hides no other.
    let digest = Digest::sha256(b"b");
    assert_eq!(archive.size(&digest).await.unwrap(), 1);
    let blob = DockerArchive::open(file.path()).unwrap();
    let blob = blob.blob(&Descriptor::of(layer_type(), b"b")).await.unwrap();
    assert_eq!(blob.read_all(9).await.unwrap(), "b");
    let outcome = archive.size(&Digest::sha256(b"c")).await;
    assert_error(outcome, ErrorKind::NotFound, "no such blob");
    let mut empty = Save::new();
    refused(&mut empty, ErrorKind::NotFound, "it holds no image").await;
}

#[tokio::test]
async fn layers_may_be_links_to_others() {
    let mut save = Save::new();
    save.file("real/layer.tar", b"layer");
    save.link("same/layer.tar", "../real/layer.tar");
    save.link("again/layer.tar", "../same/./layer.tar");
    save.image("a", &["real/layer.tar", "same/layer.tar", "again/layer.tar"]);
    let (found, layers) = read(&save.write(), &Target::Only).await.unwrap();
    assert_eq!(layers, [b"layer"; 3]);
    assert_eq!(found.manifest.layers[0], found.manifest.layers[2]);
    for (target, kind, part) in [
        (
            "../../x/layer.tar",
            ErrorKind::BadResponse,
            "leads out of the archive",
        ),
        (
            "/real/layer.tar",
            ErrorKind::BadResponse,
            "leads out of the archive",
        ),
        ("layer.tar", ErrorKind::BadResponse, "symbolic links in a row"),
        (
            "../b/layer.tar",
            ErrorKind::BadResponse,
            "symbolic links in a row",
        ),
        (
            "../none/layer.tar",
            ErrorKind::NotFound,
            "no such member: `none/layer.tar`",
        ),
        ("../real", ErrorKind::NotFound, "no such member: `real`"),
        ("", ErrorKind::NotFound, "no such member: `a`"),
    ] {
        let mut save = Save::new();
        save.file("real/layer.tar", b"layer");
        save.link("a/layer.tar", target);
        save.link("b/layer.tar", "../a/layer.tar");
        save.image("a", &["a/layer.tar"]);
        refused(&mut save, kind, part).await;
    }
}

#[tokio::test]
async fn names_are_looked_up_and_lead_nowhere_else() {
    for (name, kind, part) in [
        (
            "../etc/passwd",
            ErrorKind::BadResponse,
            "leads out of the archive",
        ),
        ("/etc/passwd", ErrorKind::BadResponse, "leads out of the archive"),
        ("none", ErrorKind::NotFound, "no such member: `none`"),
        ("", ErrorKind::NotFound, "no such member"),
    ] {
        // A member of just that name does not help.
        let mut save = Save::new();
        save.file("../etc/passwd", b"x")
            .file("/etc/passwd", b"x")
            .image("a", &[name]);
        refused(&mut save, kind.clone(), part).await;
        let mut save = Save::new();
        save.item(json!({"Config": name, "Layers": []}));
        refused(&mut save, kind, part).await;
    }
    for kind in [EntryType::Link, EntryType::Fifo, EntryType::Char] {
        let mut save = Save::new();
        save.file("real.tar", b"x")
            .member(kind, "a.tar", b"", "real.tar")
            .image("a", &["a.tar"]);
        refused(&mut save, ErrorKind::BadResponse, "not a regular file: `a.tar`").await;
    }
    let mut save = Save::new();
    save.file("a.tar", b"one")
        .file("./a.tar", b"two")
        .image("a", &["a.tar"]);
    refused(
        &mut save,
        ErrorKind::BadResponse,
        "two members of the same name: `a.tar`",
    )
    .await;
    // Twice the same name harms nobody who is not asked for.
    let mut save = Save::new();
    save.file("b.tar", b"one")
        .file("b.tar", b"two")
        .file("a.tar", b"a")
        .image("a", &["a.tar"]);
    assert_eq!(read(&save.write(), &Target::Only).await.unwrap().1, [b"a"]);
    let mut save = Save::new();
    save.file("manifest.json", b"[]");
    let outcome = DockerArchive::open(save.write().path()).map(drop);
    assert_error(
        outcome,
        ErrorKind::BadResponse,
        "two members of the same name: `manifest.json`",
    );
    let mut save = Save::new();
    save.member(EntryType::GNUSparse, "a.tar", b"", "")
        .image("a", &["a.tar"]);
    let outcome = DockerArchive::open(save.write().path()).map(drop);
    let kind = ErrorKind::Unsupported("sparse member in an image archive".to_owned());
    assert_error(outcome, kind, "sparse");
}

#[tokio::test]
async fn what_a_name_says_of_its_content_must_hold() {
    let (layer, other) = (b"layer".as_slice(), Digest::sha256(b"other").hex());
    let mut save = Save::new();
    let lie = format!("blobs/sha256/{other}");
    save.file(&lie, layer).image("a", &[&lie]);
    refused(&mut save, ErrorKind::Digest, "another digest than `sha256:").await;
    let mut save = Save::new();
    save.file(&lie, &settings(0, ""))
        .item(json!({"Config": lie, "Layers": []}));
    refused(&mut save, ErrorKind::Digest, "another digest than `sha256:").await;
    // The older form has names of all kinds, which nobody relies on.
    let mut save = Save::new();
    save.file("sha256:ab", &settings(0, ""))
        .item(json!({"Config": "sha256:ab", "Layers": []}));
    read(&save.write(), &Target::Only).await.unwrap();
}

#[tokio::test]
async fn a_listing_that_lies_is_refused() {
    let mut save = Save::new();
    save.file("c.json", &settings(2, "")).file("a.tar", b"a");
    save.item(json!({"Config": "c.json", "Layers": ["a.tar"]}));
    refused(
        &mut save,
        ErrorKind::BadResponse,
        "`manifest.json` lists 1 layers, the config 2",
    )
    .await;
    let mut save = Save::new();
    save.file("c.json", b"{}")
        .item(json!({"Config": "c.json", "Layers": []}));
    refused(&mut save, ErrorKind::Document, "architecture").await;
    let mut save = Save::new();
    save.file("c.json", &vec![b' '; (8 << 20) + 1])
        .item(json!({"Config": "c.json"}));
    refused(&mut save, ErrorKind::TooLarge, "8388609").await;
    let mut save = Save::new();
    save.file("a.tar", b"BZh91AY&SY").image("a", &["a.tar"]);
    let kind = ErrorKind::Unsupported("layer compressed with bzip2".to_owned());
    refused(&mut save, kind, "bzip2").await;

    let many = format!("[{}]", vec![r#"{"Config":"c"}"#; 4097].join(","));
    let layers = format!(r#"[{{"Config":"c","Layers":[{}]}}]"#, vec!["\"\""; 501].join(","));
    let deep = format!(r#"[{{"Config":"c","Parent":{}}}]"#, "[".repeat(100_000));
    for (text, part) in [
        ("", "EOF"),
        ("{}", "expected a list"),
        (r#"[{}]"#, "missing field `Config`"),
        (r#"[{"Config":"c","Config":"d"}]"#, "key twice: `Config`"),
        (
            r#"[{"Config":"c","Layers":null,"Layers":[]}]"#,
            "key twice: `Layers`",
        ),
        (
            r#"[{"Config":"c","config":"d"}]"#,
            "key in another case: `config`",
        ),
        (r#"[{"Config":1}]"#, "expected a string"),
        (&many, "more than 4096 items"),
        (&layers, "more than 500 items"),
        (&deep, "cannot be read"),
    ] {
        let mut save = Save::new();
        save.file("manifest.json", text.as_bytes());
        let outcome = DockerArchive::open(save.raw().path()).map(drop);
        assert_error(outcome, ErrorKind::BadResponse, part);
    }
    let mut save = Save::new();
    save.file("manifest.json", &vec![b' '; (4 << 20) + 1]);
    let outcome = DockerArchive::open(save.raw().path()).map(drop);
    assert_error(outcome, ErrorKind::TooLarge, "4194305");
}

#[tokio::test]
async fn a_layer_that_changes_after_it_was_hashed_is_noticed() {
    let mut save = Save::new();
    save.file("a.tar", &[b'a'; 5000]).image("a", &["a.tar"]);
    let file = save.write();
    let archive = DockerArchive::open(file.path()).unwrap();
    let found = resolve(&archive, &Target::Only, &amd64()).await.unwrap();
    let mut bytes = fs::read(file.path()).unwrap();
    let at = bytes
        .windows(9)
        .position(|window| window == b"aaaaaaaaa")
        .unwrap();
    bytes[at + 100] = b'b';
    fs::write(file.path(), bytes).unwrap();
    let blob = archive.blob(&found.manifest.layers[0]).await.unwrap();
    assert_error(blob.read_all(5000).await, ErrorKind::Digest, "another digest");
}

#[test]
fn what_is_no_archive_of_docker_is_refused_when_opened() {
    let mut save = Save::new();
    save.file("repositories", b"{}").file("id/layer.tar", b"");
    let outcome = DockerArchive::open(save.raw().path()).map(drop);
    assert!(
        matches!(outcome.unwrap_err().kind(), ErrorKind::Unsupported(name) if name.contains("before 1.10"))
    );
    let mut save = Save::new();
    save.file("oci-layout", b"{}");
    let outcome = DockerArchive::open(save.raw().path()).map(drop);
    assert_error(outcome, ErrorKind::NotFound, "no member `manifest.json`");
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), [GZIP, &[0; 600]].concat()).unwrap();
    let error = DockerArchive::open(file.path()).unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Unsupported("archive compressed with gzip".to_owned())
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("decompress")));
    let none = DockerArchive::open("/nonexistent/x.tar").map(drop);
    assert_error(none, ErrorKind::NotFound, "cannot be opened");
}

#[test]
fn names_do_not_fill_the_memory() {
    // 80,000 members with names of 255 bytes.
    let mut save = Save::new();
    let mut bytes = Vec::new();
    for number in 0..80_000 {
        let mut header = Header::new_ustar();
        header.set_size(0);
        let ustar = header.as_ustar_mut().unwrap();
        ustar.prefix = [b'p'; 155];
        ustar.name[..99].copy_from_slice(format!("{number:0>99}").as_bytes());
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
    }
    save.tar.get_mut().extend_from_slice(&bytes);
    let outcome = DockerArchive::open(save.raw().path()).map(drop);
    assert_error(outcome, ErrorKind::TooLarge, "names of more than 16777216 bytes");
}
