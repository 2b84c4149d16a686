// SPDX-License-Identifier: Apache-2.0
//! Images as files: OCI layouts as folders and as archives, and what docker and skopeo write.

use std::path::Path;
use std::{fs, io};

use serde_json::json;

use crate::archive::Dialect;
use crate::entry::{Entry, Layer};
use crate::image::{Image, Published};
use crate::sha256;

/// The files of a layout by name. Blobs lie under the digest that their descriptor gives.
fn files(images: &[(&str, &dyn Published)]) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![(
        "oci-layout".to_string(),
        br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
    )];
    let mut manifests = Vec::new();
    for (tag, image) in images {
        let mut entry = image.top().descriptor();
        if !tag.is_empty() {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        manifests.push(entry);
        let blobs = [vec![image.top()], image.documents(), image.blobs()].concat();
        for blob in blobs {
            let name = format!("blobs/{}", blob.digest.replacen(':', "/", 1));
            if files.iter().all(|(known, _)| *known != name) {
                files.push((name, blob.bytes.to_vec()));
            }
        }
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.push(("index.json".to_string(), index.to_string().into_bytes()));
    files
}

/// Writes a layout into a folder, which is made; a tag may be empty.
pub fn write_layout(folder: &Path, images: &[(&str, &dyn Published)]) -> io::Result<()> {
    for (name, bytes) in files(images) {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// Writes a layout as a tar file.
pub fn write_archive(path: &Path, images: &[(&str, &dyn Published)]) -> io::Result<()> {
    let layer = files(images)
        .into_iter()
        .fold(Layer::new(), |layer, (name, bytes)| {
            layer.entry(Entry::file(name, bytes))
        });
    fs::write(path, layer.tar(Dialect::Pax))
}

/// Writes images as `docker save` does, each under a full name, the layers uncompressed.
pub fn write_saved(path: &Path, images: &[(&str, &Image)]) -> io::Result<()> {
    let mut saved = Layer::new();
    let mut items = Vec::new();
    for (name, image) in images {
        let config = format!("{}.json", hex_of(&image.config.bytes));
        saved = saved.entry(Entry::file(config.clone(), image.config.bytes.to_vec()));
        let mut layers = Vec::new();
        for tar in &image.tars {
            let layer = format!("{}/layer.tar", hex_of(tar));
            if !layers.contains(&layer) {
                saved = saved.entry(Entry::file(layer.clone(), tar.clone()));
            }
            layers.push(layer);
        }
        items.push(json!({"Config": config, "RepoTags": [name], "Layers": layers}));
    }
    let listing = json!(items).to_string().into_bytes();
    saved = saved.entry(Entry::file("manifest.json", listing));
    fs::write(path, saved.tar(Dialect::Gnu))
}

/// Writes an image as `skopeo copy … dir:` does; the folder is made.
pub fn write_dir(folder: &Path, image: &dyn Published) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n")?;
    fs::write(folder.join("manifest.json"), &image.top().bytes)?;
    for document in image.documents() {
        fs::write(
            folder.join(format!("{}.manifest.json", digits(&document.digest))),
            &document.bytes,
        )?;
    }
    for blob in image.blobs() {
        fs::write(folder.join(digits(&blob.digest)), &blob.bytes)?;
    }
    Ok(())
}

fn hex_of(bytes: &[u8]) -> String {
    digits(&sha256(bytes)).to_string()
}

fn digits(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, digits)| digits)
}
