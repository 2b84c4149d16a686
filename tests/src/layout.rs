// SPDX-License-Identifier: Apache-2.0
//! OCI layouts as folders and as archives.

use std::path::Path;
use std::{fs, io};

use serde_json::json;

use crate::archive::Dialect;
use crate::entry::{Entry, Layer};
use crate::image::Published;

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
