// SPDX-License-Identifier: Apache-2.0
//! Layouts in folders, good and hostile.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use distribution::{ErrorKind, Layout, Source, Target, config, resolve};
use image_spec::{Descriptor, Dialect, Digest, Index, MediaType};
use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::image::{Image, amd64, assert_error, chain, image, layer_type};

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// A folder with marker, blobs and no index yet.
pub(crate) struct Folder {
    dir: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir }
    }

    /// With one image, in the index without a name.
    pub(crate) fn of(image: &Image) -> Self {
        let folder = Self::new();
        for blob in [&image.config, &image.layer, &image.manifest] {
            folder.blob(blob);
        }
        folder.index(vec![image.entry()]);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        fs::write(self.at(&digest), bytes).unwrap();
        digest
    }

    pub(crate) fn at(&self, digest: &Digest) -> PathBuf {
        self.path().join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn index(&self, entries: Vec<Descriptor>) -> Vec<u8> {
        let bytes = Index::new(Dialect::Oci, entries).to_vec();
        fs::write(self.path().join("index.json"), &bytes).unwrap();
        bytes
    }

    pub(crate) fn open(&self) -> Layout {
        Layout::open(self.path()).unwrap()
    }
}

fn named(mut entry: Descriptor, annotation: &str, name: &str) -> Descriptor {
    entry.annotations.insert(annotation.to_owned(), name.to_owned());
    entry
}

/// Another manifest, told apart by its annotation.
fn manifest(text: &str) -> Vec<u8> {
    let mut manifest = image_spec::Manifest::new(
        Dialect::Oci,
        Descriptor::of(MediaType::Config(Dialect::Oci), b"{}"),
        Vec::new(),
    );
    manifest.annotations.insert("text".to_owned(), text.to_owned());
    manifest.to_vec()
}

async fn layer(layout: &Layout, image: &Image) -> Result<Vec<u8>, distribution::Error> {
    let blob = layout.blob(&image.layer_descriptor()).await?;
    blob.read_all(u64::MAX).await.map(Vec::from)
}

#[tokio::test]
async fn a_layouts_only_image_is_found_and_read() {
    let mut image = image();
    // More than two chunks, and not a whole number of them.
    image.layer = vec![7; (2 << 20) + 12_345];
    let folder = Folder::of(&image);
    let layout = folder.open();
    let found = resolve(&layout, &Target::Only, &amd64()).await.unwrap();
    assert_eq!(found.top.bytes, image.manifest);
    assert_eq!(found.top.media_type, Some(MediaType::Manifest(Dialect::Oci)));
    assert_eq!(config(&layout, &found.manifest).await.unwrap(), image.config);
    assert_eq!(layer(&layout, &image).await.unwrap(), image.layer);
}

#[tokio::test]
async fn entries_answer_to_each_of_their_names() {
    let folder = Folder::new();
    let documents = ["a", "b", "c"].map(manifest);
    let [a, b, c] = documents.each_ref().map(|bytes| {
        folder.blob(bytes);
        Descriptor::of(MediaType::Manifest(Dialect::Oci), bytes)
    });
    folder.index(vec![
        named(
            named(a.clone(), REF_NAME, "1.0"),
            FULL_NAME,
            "docker.io/library/a:1.0",
        ),
        named(a.clone(), REF_NAME, "latest"),
        named(a.clone(), REF_NAME, "latest"),
        named(b.clone(), REF_NAME, "2.0"),
        named(b.clone(), REF_NAME, "twice"),
        named(c.clone(), REF_NAME, "twice"),
    ]);
    let layout = folder.open();
    for (name, want) in [
        ("1.0", &a),
        ("docker.io/library/a:1.0", &a),
        ("latest", &a),
        ("2.0", &b),
    ] {
        let found = layout.document(&Target::Tag(name.to_owned())).await.unwrap();
        assert_eq!(found.digest, want.digest, "{name}");
    }
    let twice = layout
        .document(&Target::Tag("twice".to_owned()))
        .await
        .unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Ambiguous);
    for entry in [&b, &c] {
        assert!(twice.to_string().contains(&entry.digest.short()), "{twice}");
    }
    let absent = layout.document(&Target::Tag("1".to_owned())).await;
    assert_error(absent, ErrorKind::NotFound, "`2.0` (sha256:");
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::Ambiguous,
        "3 images fit: `1.0`",
    );
}

#[tokio::test]
async fn a_digest_finds_what_is_listed_and_what_is_not() {
    let image = image();
    let folder = Folder::of(&image);
    let inner = manifest("inner");
    let unlisted = folder.blob(&inner);
    let index = folder.index(vec![image.entry()]);
    let layout = folder.open();
    let listed = layout
        .document(&Target::Digest(Digest::sha256(&image.manifest)))
        .await
        .unwrap();
    assert!(listed.media_type.is_some());
    let found = layout.document(&Target::Digest(unlisted)).await.unwrap();
    assert_eq!((found.bytes, found.media_type), (inner.into(), None));
    let itself = layout
        .document(&Target::Digest(Digest::sha256(&index)))
        .await
        .unwrap();
    assert_eq!(itself.bytes, index);
    assert_error(
        layout.document(&Target::Digest(Digest::sha256(b"?"))).await,
        ErrorKind::NotFound,
        "cannot be opened",
    );
}

#[tokio::test]
async fn unnamed_entries_for_platforms_are_one_image() {
    let folder = Folder::new();
    let entries: Vec<Descriptor> = ["linux/arm64", "linux/amd64", "unknown/unknown"]
        .into_iter()
        .map(|platform| {
            let bytes = manifest(platform);
            folder.blob(&bytes);
            let mut entry = Descriptor::of(MediaType::Manifest(Dialect::Oci), &bytes);
            entry.platform = Some(platform.parse().unwrap());
            entry
        })
        .collect();
    let index = folder.index(entries.clone());
    let found = resolve(&folder.open(), &Target::Only, &amd64()).await.unwrap();
    assert_eq!(
        (found.top.bytes, found.top.digest),
        (index.clone().into(), Digest::sha256(&index))
    );
    assert_eq!(found.manifest_bytes.digest, entries[1].digest);
    assert_eq!(found.platform, Some(amd64()));
    // One name among them, and it is a choice again.
    let mut mixed = entries;
    mixed[0] = named(mixed[0].clone(), REF_NAME, "arm");
    folder.index(mixed);
    assert_error(
        resolve(&folder.open(), &Target::Only, &amd64()).await,
        ErrorKind::Ambiguous,
        "3 images fit",
    );
}

#[tokio::test]
async fn blobs_are_checked_against_their_descriptor() {
    let image = image();
    let folder = Folder::of(&image);
    let layout = folder.open();
    let at = folder.at(&image.layer_descriptor().digest);
    let mut wrong = image.layer.clone();
    wrong[1] ^= 1;
    fs::write(&at, &wrong).unwrap();
    assert_error(layer(&layout, &image).await, ErrorKind::Digest, "another digest");
    fs::write(&at, &image.layer[1..]).unwrap();
    assert_error(
        layer(&layout, &image).await,
        ErrorKind::Size,
        "it has 199999 bytes, the manifest says 200000",
    );
    fs::remove_file(&at).unwrap();
    assert_error(layer(&layout, &image).await, ErrorKind::NotFound, "No such file");

    let document = folder.at(&Digest::sha256(&image.manifest));
    fs::write(&document, [&image.manifest[..], b" "].concat()).unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::Size,
        "`index.json` says",
    );
    fs::write(&document, vec![b' '; image.manifest.len()]).unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::Digest,
        "another digest",
    );
    fs::File::create(&document)
        .unwrap()
        .set_len((4 << 20) + 1)
        .unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::TooLarge,
        "4194305",
    );
}

#[tokio::test]
async fn a_file_that_is_cut_while_it_is_read_is_noticed() {
    let mut image = image();
    image.layer = vec![7; 3 << 20];
    let folder = Folder::of(&image);
    let mut blob = folder.open().blob(&image.layer_descriptor()).await.unwrap();
    assert_eq!(blob.chunk().await.unwrap().unwrap().len(), 1 << 20);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.at(&image.layer_descriptor().digest))
        .unwrap();
    file.set_len(1 << 20).unwrap();
    assert_error(
        blob.chunk().await,
        ErrorKind::Size,
        "ended after 1048576 of 3145728 bytes",
    );
}

#[tokio::test]
async fn only_regular_files_inside_the_folder_are_read() {
    let image = image();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("layer");
    fs::write(&target, &image.layer).unwrap();
    let digest = image.layer_descriptor().digest;

    let folder = Folder::of(&image);
    let layout = folder.open();
    fs::remove_file(folder.at(&digest)).unwrap();
    symlink(&target, folder.at(&digest)).unwrap();
    assert_error(
        layer(&layout, &image).await,
        ErrorKind::BadResponse,
        "not a regular file: `blobs/sha256/",
    );
    fs::remove_file(folder.at(&digest)).unwrap();
    nix::unistd::mkfifo(&folder.at(&digest), Mode::S_IRWXU).unwrap();
    assert_error(
        layer(&layout, &image).await,
        ErrorKind::BadResponse,
        "not a regular file",
    );
    fs::remove_file(folder.at(&digest)).unwrap();
    fs::create_dir(folder.at(&digest)).unwrap();
    assert_error(
        layer(&layout, &image).await,
        ErrorKind::BadResponse,
        "not a regular file",
    );

    fs::rename(folder.path().join("blobs"), outside.path().join("blobs")).unwrap();
    symlink(outside.path().join("blobs"), folder.path().join("blobs")).unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::BadResponse,
        "not a regular file",
    );

    fs::rename(
        folder.path().join("index.json"),
        outside.path().join("index.json"),
    )
    .unwrap();
    symlink(
        outside.path().join("index.json"),
        folder.path().join("index.json"),
    )
    .unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::BadResponse,
        "`index.json`",
    );
}

#[tokio::test]
async fn the_folders_own_path_may_be_a_link() {
    let image = image();
    let folder = Folder::of(&image);
    let outside = tempfile::tempdir().unwrap();
    symlink(folder.path(), outside.path().join("link")).unwrap();
    let layout = Layout::open(outside.path().join("link")).unwrap();
    assert_eq!(layer(&layout, &image).await.unwrap(), image.layer);
}

#[test]
fn what_is_no_layout_is_refused_when_opened() {
    let open = |write: &dyn Fn(&Path)| {
        let folder = Folder::new();
        write(folder.path());
        Layout::open(folder.path()).map(drop)
    };
    let marker = |text: &'static str| open(&move |path| fs::write(path.join("oci-layout"), text).unwrap());
    assert_error(
        marker(r#"{"imageLayoutVersion":"2.0.0"}"#),
        ErrorKind::Document,
        "version `2.0.0`",
    );
    assert_error(marker("{}"), ErrorKind::Document, "missing");
    let large = open(&|path| fs::write(path.join("oci-layout"), " ".repeat(5000)).unwrap());
    assert_error(large, ErrorKind::TooLarge, "4096");
    let none = open(&|path| fs::remove_file(path.join("oci-layout")).unwrap());
    assert_error(none, ErrorKind::NotFound, "no file `oci-layout`");
    let docker = open(&|path| fs::rename(path.join("oci-layout"), path.join("manifest.json")).unwrap());
    assert!(matches!(docker.unwrap_err().kind(), ErrorKind::Unsupported(name) if name.contains("Docker")));
    assert_error(
        Layout::open("/nonexistent").map(drop),
        ErrorKind::NotFound,
        "layout `/nonexistent`",
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_error(
        Layout::open(file.path()).map(drop),
        ErrorKind::Io,
        "Not a directory",
    );
}

#[tokio::test]
async fn a_bad_index_is_refused() {
    let image = image();
    let folder = Folder::of(&image);
    let layout = folder.open();
    for (index, kind, part) in [
        (b"{".to_vec(), ErrorKind::Document, "refused"),
        (
            image.manifest.clone(),
            ErrorKind::BadResponse,
            "a manifest, not an index",
        ),
        (
            br#"{"schemaVersion":2,"manifests":[]}"#.to_vec(),
            ErrorKind::NotFound,
            "holds no image",
        ),
        (
            br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_vec(),
            ErrorKind::Document,
            "duplicate",
        ),
        (vec![b' '; (4 << 20) + 1], ErrorKind::TooLarge, "4194305"),
    ] {
        fs::write(folder.path().join("index.json"), index).unwrap();
        let error = layout.document(&Target::Only).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", chain(&error));
        assert!(chain(&error).contains(part), "{}", chain(&error));
        assert!(
            error
                .to_string()
                .starts_with("document the only image of layout `/"),
            "{error}"
        );
    }
    fs::remove_file(folder.path().join("index.json")).unwrap();
    assert_error(
        layout.document(&Target::Only).await,
        ErrorKind::NotFound,
        "index.json",
    );
}

#[tokio::test]
async fn embedded_data_needs_no_file() {
    let folder = Folder::new();
    let layout = folder.open();
    let mut descriptor = Descriptor::of(layer_type(), b"embedded");
    descriptor.data = Some(b"embedded".to_vec());
    assert_eq!(
        layout.blob(&descriptor).await.unwrap().read_all(8).await.unwrap(),
        "embedded"
    );
    descriptor.data = Some(b"tampered".to_vec());
    assert_error(
        layout.blob(&descriptor).await.unwrap().read_all(8).await,
        ErrorKind::Digest,
        "another digest",
    );
}
