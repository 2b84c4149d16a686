// SPDX-License-Identifier: Apache-2.0
//! What all places on this machine can do: ranges, sizes, names, and what refers to an image.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use distribution::{Archive, ErrorKind, Layout, Listing, Source, Target};
use image_spec::{Descriptor, Dialect, Digest, Index, Manifest, MediaType};
use tokio::time::timeout;

use crate::image::{assert_error, image, layer_type};

const NAME: &str = "org.opencontainers.image.ref.name";

/// A layout of these documents, each listed under its name if it has one.
fn layout(documents: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let mut entries = Vec::new();
    for (name, bytes) in documents {
        fs::write(path(dir.path(), bytes), bytes).unwrap();
        let mut entry = Descriptor::of(MediaType::Manifest(Dialect::Oci), bytes);
        if !name.is_empty() {
            entry.annotations.insert(NAME.to_owned(), (*name).to_owned());
        }
        entries.push(entry);
    }
    let index = Index::new(Dialect::Oci, entries).to_vec();
    fs::write(dir.path().join("index.json"), index).unwrap();
    dir
}

fn path(layout: &Path, bytes: &[u8]) -> PathBuf {
    layout.join("blobs/sha256").join(Digest::sha256(bytes).hex())
}

/// A document that refers to `subject` as `artifact`.
fn referring(subject: &[u8], artifact: Option<&str>) -> Vec<u8> {
    let config = MediaType::Other("application/vnd.example.config".into());
    let mut manifest = Manifest::new(Dialect::Oci, Descriptor::of(config, b"{}"), Vec::new());
    manifest.subject = Some(Descriptor::of(MediaType::Manifest(Dialect::Oci), subject));
    manifest.artifact_type = artifact.map(str::to_owned);
    manifest.to_vec()
}

#[tokio::test]
async fn a_range_is_read_where_it_lies() {
    // Nobody could read the 64 GiB before it in that time.
    let size = 64 << 30;
    let digest = Digest::sha256(b"never asked for");
    let wanted = Descriptor::new(layer_type(), digest, size);
    let dir = layout(&[]);
    let file = File::create(path(dir.path(), b"never asked for")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"12345", size - 5).unwrap();
    let source = Layout::open(dir.path()).unwrap();
    assert_eq!(source.size(&digest).await.unwrap(), size);
    let reading = source.range(&wanted, size - 7..size);
    let got = timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    assert_eq!(got, "\x00\x0012345");
    let mut short = wanted.clone();
    short.size -= 1;
    assert_error(
        source.range(&short, 0..1).await,
        ErrorKind::Size,
        "the manifest says",
    );
    assert_error(
        source.range(&wanted, size..size + 1).await,
        ErrorKind::Invalid,
        "outside",
    );
    assert_error(
        source.range(&wanted, 0..size).await,
        ErrorKind::TooLarge,
        "more than 16777216",
    );
    let none = Descriptor::of(layer_type(), b"none");
    assert_error(
        source.range(&none, 0..1).await,
        ErrorKind::NotFound,
        "blob `sha256:",
    );
}

#[tokio::test]
async fn a_range_in_an_archive_is_that_of_its_member() {
    let image = image();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add(
        &format!("blobs/sha256/{}", Digest::sha256(&image.layer).hex()),
        &image.layer,
    );
    add(
        "index.json",
        &Index::new(Dialect::Oci, vec![image.entry()]).to_vec(),
    );
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), tar.into_inner().unwrap()).unwrap();
    let source = Archive::open(file.path()).unwrap();
    for range in [0..1, 100_000..200_000, 199_999..200_000, 7..7] {
        let got = source
            .range(&image.layer_descriptor(), range.clone())
            .await
            .unwrap();
        assert_eq!(got, image.layer[range.start as usize..range.end as usize]);
    }
}

#[tokio::test]
async fn images_of_a_layout_have_names_and_numbers() {
    let documents = ["b", "a", "", "c"].map(|name| (name, referring(name.as_bytes(), None)));
    let dir = layout(&documents);
    let source = Layout::open(dir.path()).unwrap();
    assert_eq!(source.tags(&Listing::default()).await.unwrap(), ["a", "b", "c"]);
    let some = Listing {
        after: Some("a".to_owned()),
        limit: Some(1),
    };
    assert_eq!(source.tags(&some).await.unwrap(), ["b"]);
    for (number, (_, bytes)) in documents.iter().enumerate() {
        let fetched = source.document(&Target::Number(number)).await.unwrap();
        assert_eq!(fetched.bytes, bytes[..]);
    }
    assert_error(
        source.document(&Target::Number(4)).await,
        ErrorKind::NotFound,
        "only 4 images",
    );
}

#[tokio::test]
async fn referrers_of_a_layout_are_what_says_so_itself() {
    let base = image().manifest;
    let bill = referring(&base, Some("text/spdx"));
    let old = referring(&base, None);
    let dir = layout(&[
        ("a", base.clone()),
        ("", bill.clone()),
        ("b", bill.clone()),
        ("", old.clone()),
        ("", referring(b"another", Some("text/spdx"))),
        ("", b"no document".to_vec()),
    ]);
    let source = Layout::open(dir.path()).unwrap();
    let subject = Digest::sha256(&base);
    let found = source.referrers(&subject, None).await.unwrap();
    let told: Vec<_> = found
        .iter()
        .map(|entry| (entry.digest, entry.artifact_type.as_deref()))
        .collect();
    let want = [
        (Digest::sha256(&bill), Some("text/spdx")),
        (Digest::sha256(&old), Some("application/vnd.example.config")),
    ];
    assert_eq!(told, want);
    assert_eq!(
        source.referrers(&subject, Some("text/spdx")).await.unwrap(),
        found[..1]
    );
    // A layout need not hold all that it lists, but what it holds must be right.
    fs::remove_file(path(dir.path(), &bill)).unwrap();
    assert_eq!(source.referrers(&subject, None).await.unwrap(), found[1..]);
    let mut wrong = old.clone();
    wrong[0] ^= 1;
    fs::write(path(dir.path(), &old), wrong).unwrap();
    assert_error(
        source.referrers(&subject, None).await,
        ErrorKind::Digest,
        "referrers in layout",
    );
}
