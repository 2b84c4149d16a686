// SPDX-License-Identifier: Apache-2.0
//! Folders as skopeo writes them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use distribution::{Dir, Error, ErrorKind, Listing, Source, Target, config, resolve};
use image_spec::{Algorithm, Descriptor, Dialect, Digest, Index};
use tempfile::TempDir;

use crate::image::{Image, amd64, assert_error, image, layer_type, tag};

fn hex(bytes: &[u8]) -> String {
    Digest::sha256(bytes).hex()
}

fn write(image: &Image) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    put("version", b"Directory Transport Version: 1.1\n");
    put("manifest.json", &image.manifest);
    put(&hex(&image.config), &image.config);
    put(&hex(&image.layer), &image.layer);
    put("signature-1", b"not looked at");
    dir
}

async fn read(path: &Path, image: &Image) -> Result<Vec<u8>, Error> {
    let dir = Dir::open(path)?;
    let found = resolve(&dir, &Target::Only, &amd64()).await?;
    assert_eq!(config(&dir, &found.manifest).await?, image.config);
    let layer = dir.blob(&image.layer_descriptor()).await?;
    layer.read_all(u64::MAX).await.map(Vec::from)
}

#[tokio::test]
async fn a_folder_of_plain_files_is_read() {
    let image = image();
    let dir = write(&image);
    assert_eq!(read(dir.path(), &image).await.unwrap(), image.layer);
    // skopeo itself does not ask for a version.
    fs::remove_file(dir.path().join("version")).unwrap();
    assert_eq!(read(dir.path(), &image).await.unwrap(), image.layer);

    let source = Dir::open(dir.path()).unwrap();
    let digest = Digest::of(Algorithm::Sha512, &image.manifest);
    let fetched = source.document(&Target::Digest(digest)).await.unwrap();
    assert_eq!(
        (fetched.bytes.as_ref(), fetched.digest),
        (&image.manifest[..], digest)
    );
    assert_error(
        source.document(&tag()).await,
        ErrorKind::NotFound,
        "without a name",
    );
    assert_eq!(source.size(&Digest::sha256(&image.layer)).await.unwrap(), 200_000);
    let got = source.range(&image.layer_descriptor(), 7..19).await.unwrap();
    assert_eq!(got, image.layer[7..19]);
    assert!(source.tags(&Listing::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_index_has_its_manifests_beside_it() {
    let image = image();
    let dir = write(&image);
    let entry = Descriptor {
        platform: Some(amd64()),
        ..image.entry()
    };
    let index = Index::new(Dialect::Oci, vec![entry]).to_vec();
    fs::write(dir.path().join("manifest.json"), index).unwrap();
    let outcome = read(dir.path(), &image).await;
    assert_error(outcome, ErrorKind::NotFound, "manifest.json` cannot be opened");
    let beside = dir.path().join(format!("{}.manifest.json", hex(&image.manifest)));
    fs::write(&beside, &image.manifest).unwrap();
    assert_eq!(read(dir.path(), &image).await.unwrap(), image.layer);
    fs::write(&beside, &image.manifest[1..]).unwrap();
    assert_error(
        read(dir.path(), &image).await,
        ErrorKind::Digest,
        "another digest",
    );
}

#[tokio::test]
async fn a_blob_by_another_algorithm_is_found_by_either_name() {
    let bytes = b"long";
    let digest = Digest::of(Algorithm::Sha512, bytes);
    for name in [format!("sha512-{}", digest.hex()), digest.hex()] {
        let dir = write(&image());
        fs::write(dir.path().join(name), bytes).unwrap();
        let source = Dir::open(dir.path()).unwrap();
        let blob = source
            .blob(&Descriptor::new(layer_type(), digest, 4))
            .await
            .unwrap();
        assert_eq!(blob.read_all(4).await.unwrap(), &bytes[..]);
    }
}

#[tokio::test]
async fn what_lies_or_leads_elsewhere_is_refused() {
    let image = image();
    let dir = write(&image);
    let layer = dir.path().join(hex(&image.layer));
    let mut wrong = image.layer.clone();
    wrong[7] ^= 1;
    fs::write(&layer, &wrong).unwrap();
    assert_error(
        read(dir.path(), &image).await,
        ErrorKind::Digest,
        "another digest",
    );
    fs::write(&layer, b"short").unwrap();
    assert_error(read(dir.path(), &image).await, ErrorKind::Size, "it has 5 bytes");
    fs::remove_file(&layer).unwrap();
    assert_error(
        read(dir.path(), &image).await,
        ErrorKind::NotFound,
        "cannot be opened",
    );
    fs::write(dir.path().join("real"), &image.layer).unwrap();
    symlink("real", &layer).unwrap();
    assert_error(
        read(dir.path(), &image).await,
        ErrorKind::BadResponse,
        "not a regular file",
    );
    let manifest = dir.path().join("manifest.json");
    fs::write(&manifest, vec![b' '; (4 << 20) + 1]).unwrap();
    assert_error(read(dir.path(), &image).await, ErrorKind::TooLarge, "4194305");
    fs::remove_file(&manifest).unwrap();
    assert_error(
        Dir::open(dir.path()).map(drop),
        ErrorKind::NotFound,
        "no file `manifest.json`",
    );
    fs::create_dir(&manifest).unwrap();
    assert_error(
        Dir::open(dir.path()).map(drop),
        ErrorKind::BadResponse,
        "not a regular file",
    );
    for version in ["Directory Transport Version: 2.0\n", "", "1.1"] {
        let dir = write(&image);
        fs::write(dir.path().join("version"), version).unwrap();
        let error = Dir::open(dir.path()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    }
    let file = write(&image);
    let outcome = Dir::open(file.path().join("version")).map(drop);
    assert_error(outcome, ErrorKind::Io, "cannot be opened");
}
