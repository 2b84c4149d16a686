// SPDX-License-Identifier: Apache-2.0
//! Layouts in tar files, good and hostile.

use std::fs;
use std::path::Path;

use distribution::{Archive, Error, ErrorKind, Source, Target, config, resolve};
use image_spec::{Algorithm, Descriptor, Dialect, Digest, Index};
use tar::{Builder, EntryType, Header};
use tempfile::NamedTempFile;

use crate::image::{Image, amd64, assert_error, image, layer_type};

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

type Tar = Builder<Vec<u8>>;

fn add(tar: &mut Tar, name: &str, bytes: &[u8]) {
    add_as(tar, EntryType::Regular, name, bytes);
}

fn add_as(tar: &mut Tar, kind: EntryType, name: &str, bytes: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes).unwrap();
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::sha256(bytes).hex())
}

fn index(image: &Image) -> Vec<u8> {
    Index::new(Dialect::Oci, vec![image.entry()]).to_vec()
}

/// All members of a layout, below `prefix`.
fn layout(image: &Image, prefix: &str) -> Tar {
    let mut tar = Builder::new(Vec::new());
    add_as(
        &mut tar,
        EntryType::Directory,
        &format!("{prefix}blobs/sha256/"),
        b"",
    );
    for bytes in [&image.layer, &image.config, &image.manifest] {
        add(&mut tar, &format!("{prefix}{}", blob(bytes)), bytes);
    }
    add(&mut tar, &format!("{prefix}index.json"), &index(image));
    add(&mut tar, &format!("{prefix}oci-layout"), MARKER);
    tar
}

fn write(bytes: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

async fn read(path: &Path, image: &Image) -> Result<Vec<u8>, Error> {
    let archive = Archive::open(path)?;
    let found = resolve(&archive, &Target::Only, &amd64()).await?;
    assert_eq!(config(&archive, &found.manifest).await?, image.config);
    archive
        .blob(&image.layer_descriptor())
        .await?
        .read_all(u64::MAX)
        .await
        .map(Vec::from)
}

/// Opens an archive whose members were made by `change` after those of a layout.
fn with(change: impl FnOnce(&mut Tar)) -> Result<(), Error> {
    let mut tar = layout(&image(), "");
    change(&mut tar);
    Archive::open(write(&tar.into_inner().unwrap()).path()).map(drop)
}

#[tokio::test]
async fn an_archive_is_read_where_it_lies() {
    let image = image();
    for prefix in ["", "./", "././"] {
        let file = write(&layout(&image, prefix).into_inner().unwrap());
        assert_eq!(read(file.path(), &image).await.unwrap(), image.layer, "{prefix}");
    }
    // GNU tar stops at the first zero block, and some writers write none.
    let bytes = layout(&image, "").into_inner().unwrap();
    let bare = &bytes[..bytes.len() - 1024];
    assert_eq!(read(write(bare).path(), &image).await.unwrap(), image.layer);
    let more = [&bytes, b"rubbish".as_slice()].concat();
    assert_eq!(read(write(&more).path(), &image).await.unwrap(), image.layer);
}

#[tokio::test]
async fn long_names_and_sizes_come_from_extension_members() {
    let image = image();
    let bytes = b"named by sha512";
    let digest = Digest::of(Algorithm::Sha512, bytes);
    let name = format!("blobs/sha512/{}", digest.hex());
    let descriptor = Descriptor::new(layer_type(), digest, bytes.len() as u64);
    let gnu = |tar: &mut Tar| add(tar, &name, bytes);
    let pax = |tar: &mut Tar| {
        let size = bytes.len().to_string();
        tar.append_pax_extensions([
            ("path", name.as_bytes()),
            ("size", size.as_bytes()),
            ("comment", b"a\nb=c"),
        ])
        .unwrap();
        // What the header itself says gives way.
        let mut header = Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, &bytes[..]).unwrap();
    };
    // The size of a pax header is for the file, not for an extension member between the two.
    let both = |tar: &mut Tar| {
        let size = bytes.len().to_string();
        tar.append_pax_extensions([("size", size.as_bytes())]).unwrap();
        add_as(tar, EntryType::GNULongLink, "link", &[b'a'; 700]);
        add(tar, &name, bytes);
    };
    let writers: [&dyn Fn(&mut Tar); 3] = [&gnu, &pax, &both];
    for writer in writers {
        let mut tar = Builder::new(Vec::new());
        writer(&mut tar);
        add(&mut tar, "index.json", &index(&image));
        add(&mut tar, "oci-layout", MARKER);
        let file = write(&tar.into_inner().unwrap());
        let archive = Archive::open(file.path()).unwrap();
        let found = archive
            .blob(&descriptor)
            .await
            .unwrap()
            .read_all(100)
            .await
            .unwrap();
        assert_eq!(found, &bytes[..]);
    }
}

#[tokio::test]
async fn blobs_of_an_archive_are_checked() {
    let mut wrong = image();
    wrong.layer[5] ^= 1;
    let good = image();
    let mut tar = layout(&wrong, "");
    add(&mut tar, &blob(&good.layer), &wrong.layer);
    let file = write(&tar.into_inner().unwrap());
    assert_error(
        read(file.path(), &good).await,
        ErrorKind::Digest,
        "another digest",
    );
    let archive = Archive::open(file.path()).unwrap();
    let mut short = good.layer_descriptor();
    short.size -= 1;
    assert_error(
        archive.blob(&short).await,
        ErrorKind::Size,
        "the manifest says 199999",
    );
    let absent = Descriptor::of(layer_type(), b"absent");
    assert_error(archive.blob(&absent).await, ErrorKind::NotFound, "no such blob");
}

#[test]
fn members_that_lie_are_refused() {
    let layer = image().layer;
    let twice = with(|tar| add(tar, &format!("./{}", blob(&layer)), &layer));
    assert_error(
        twice,
        ErrorKind::BadResponse,
        "two members of the same name: `blobs/sha256/",
    );
    assert_error(
        with(|tar| add(tar, "index.json", b"{}")),
        ErrorKind::BadResponse,
        "two members",
    );
    assert_error(
        with(|tar| add(tar, "oci-layout", MARKER)),
        ErrorKind::BadResponse,
        "two members",
    );
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Directory,
    ] {
        let odd = with(|tar| add_as(tar, kind, &blob(b"odd"), b""));
        assert_error(odd, ErrorKind::BadResponse, "not a regular file: `blobs/sha256/");
    }
    let sparse = with(|tar| add_as(tar, EntryType::GNUSparse, &blob(b"odd"), b""));
    assert_error(
        sparse,
        ErrorKind::Unsupported("sparse member in an image archive".to_owned()),
        "sparse",
    );
    let sparse = with(|tar| {
        tar.append_pax_extensions([("GNU.sparse.major", b"1".as_slice())])
            .unwrap()
    });
    assert_error(
        sparse,
        ErrorKind::Unsupported("sparse member in an image archive".to_owned()),
        "sparse",
    );
    for bytes in ["x", "5 a=b", "99 path=x\n", "7 path\n", "10 size=x\n", "-1 a=b\n"] {
        let bad = with(|tar| add_as(tar, EntryType::XHeader, "pax", bytes.as_bytes()));
        assert_error(bad, ErrorKind::BadResponse, "pax header is malformed");
    }
    let huge = vec![b'a'; (64 << 10) + 1];
    for kind in [EntryType::XHeader, EntryType::GNULongName] {
        let large = with(|tar| add_as(tar, kind, "pax", &huge));
        assert_error(large, ErrorKind::TooLarge, "65537");
    }
    // What no layout has is nobody's business.
    with(|tar| add_as(tar, EntryType::Fifo, "blobs/other", b"")).unwrap();
    with(|tar| add(tar, "blobs/sha256/abc", b"")).unwrap();
}

#[test]
fn a_size_beyond_the_file_is_refused() {
    let mut bytes = layout(&image(), "").into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024);
    for size in [1u64, 600, 1 << 40, i64::MAX as u64, u64::MAX - 100] {
        let mut header = Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_size(size);
        header.set_cksum();
        let file = write(&[&bytes, header.as_bytes().as_slice()].concat());
        assert_error(Archive::open(file.path()).map(drop), ErrorKind::Size, "cut short");
    }
    assert_error(
        Archive::open(write(&bytes[..700]).path()).map(drop),
        ErrorKind::Size,
        "cut short",
    );
    assert_error(
        Archive::open(write(b"").path()).map(drop),
        ErrorKind::Size,
        "cut short",
    );
}

#[test]
fn what_is_no_archive_of_a_layout_is_refused_when_opened() {
    for (magic, name) in [
        (&[0x1f, 0x8b][..], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"BZh9", "bzip2"),
    ] {
        let file = write(&[magic, &[7; 600]].concat());
        let kind = ErrorKind::Unsupported(format!("archive compressed with {name}"));
        assert_error(Archive::open(file.path()).map(drop), kind, name);
    }
    assert_error(
        Archive::open(write(&[7; 600]).path()).map(drop),
        ErrorKind::BadResponse,
        "not a tar header at byte 0",
    );
    assert_error(
        Archive::open(write(&[0; 1024]).path()).map(drop),
        ErrorKind::NotFound,
        "no member `oci-layout`",
    );
    let mut docker = Builder::new(Vec::new());
    add(&mut docker, "manifest.json", b"[]");
    let docker = Archive::open(write(&docker.into_inner().unwrap()).path()).map(drop);
    assert!(matches!(docker.unwrap_err().kind(), ErrorKind::Unsupported(name) if name.contains("Docker")));
    let mut bare = Builder::new(Vec::new());
    add(&mut bare, "oci-layout", MARKER);
    let bare = Archive::open(write(&bare.into_inner().unwrap()).path()).map(drop);
    assert_error(bare, ErrorKind::NotFound, "no member `index.json`");

    let dir = tempfile::tempdir().unwrap();
    assert_error(
        Archive::open(dir.path()).map(drop),
        ErrorKind::BadResponse,
        "not a regular file",
    );
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_error(
        Archive::open(&fifo).map(drop),
        ErrorKind::BadResponse,
        "not a regular file",
    );
}

#[test]
fn endless_members_end() {
    let mut header = Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_size(0);
    header.set_cksum();
    let file = write(&header.as_bytes().repeat(100_001));
    assert_error(
        Archive::open(file.path()).map(drop),
        ErrorKind::TooLarge,
        "100000",
    );
}
