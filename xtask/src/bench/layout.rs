// SPDX-License-Identifier: Apache-2.0
//! Image layouts: where their layers are, and one without compression made of another.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::sh;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Of a layout that was made here: what it was made of.
const MADE_OF: &str = "made-of.json";

/// The blobs of a layout's only image, the bottom layer first.
pub(super) fn layers(layout: &Path) -> Result<Vec<PathBuf>> {
    let manifest = manifest(layout)?;
    list(&manifest["layers"])?
        .iter()
        .map(|layer| blob(layout, &layer["digest"]))
        .collect()
}

/// Makes a layout whose layers are the archives of another's, unless that was done before.
pub(super) fn inflate(from: &Path, to: &Path) -> Result<()> {
    let index = fs::read(from.join("index.json"))?;
    if fs::read(to.join(MADE_OF)).is_ok_and(|made_of| made_of == index) {
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to.join("blobs/sha256"))?;
    let mut manifest = manifest(from)?;
    let config = blob(from, &manifest["config"]["digest"])?;
    fs::copy(&config, blob(to, &manifest["config"]["digest"])?)?;
    let config = read(&config)?;
    let diff_ids = list(&config["rootfs"]["diff_ids"])?;
    let mut layers = list(&manifest["layers"])?.clone();
    if layers.len() != diff_ids.len() {
        bail!("{} layers, {} diff IDs", layers.len(), diff_ids.len());
    }
    for (layer, diff_id) in layers.iter_mut().zip(diff_ids) {
        // The digest of an archive that nothing compresses is its diff ID.
        let target = blob(to, diff_id)?;
        let program = match layer["mediaType"].as_str().unwrap_or_default() {
            gzip if gzip.ends_with("gzip") => "gzip",
            zstd if zstd.ends_with("zstd") => "zstd",
            other => bail!("a layer that is neither gzip nor zstd: {other}"),
        };
        let mut inflate = sh::cmd(program, ["-dc"]);
        inflate.stdin(File::open(blob(from, &layer["digest"])?)?);
        sh::run(inflate.stdout(File::create(&target)?))?;
        if *diff_id != digest(&target)? {
            bail!("an archive that is not the one of its diff ID: {diff_id}");
        }
        *layer = descriptor(TAR, diff_id, &target)?;
    }
    manifest["layers"] = layers.into();
    let unnamed = to.join("blobs/sha256/manifest");
    fs::write(&unnamed, manifest.to_string())?;
    let digest = Value::from(digest(&unnamed)?);
    let path = blob(to, &digest)?;
    fs::rename(unnamed, &path)?;
    let mut manifest = descriptor(MANIFEST, &digest, &path)?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let new = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(to.join("index.json"), new.to_string())?;
    fs::copy(from.join("oci-layout"), to.join("oci-layout"))?;
    // Last: what was interrupted is made again.
    fs::write(to.join(MADE_OF), index).context("cannot finish a layout")
}

/// Makes a layout whose only layer is as many bytes that nothing can compress, unless that was done
/// before. It can be fetched, and is no archive.
pub(super) fn noise(to: &Path, bytes: u64) -> Result<()> {
    let made_of = bytes.to_string();
    if fs::read_to_string(to.join(MADE_OF)).is_ok_and(|made| made == made_of) {
        return Ok(());
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to.join("blobs/sha256"))?;
    let put = |media_type: &str, write: &dyn Fn(&mut File) -> io::Result<()>| -> Result<Value> {
        let unnamed = to.join("blobs/sha256/unnamed");
        write(&mut File::create(&unnamed)?)?;
        let digest = Value::from(digest(&unnamed)?);
        let path = blob(to, &digest)?;
        fs::rename(unnamed, &path)?;
        descriptor(media_type, &digest, &path)
    };
    let text = |value: Value| move |file: &mut File| io::Write::write_all(file, value.to_string().as_bytes());
    let layer = put(TAR, &|file| {
        let noise = File::open("/dev/urandom")?;
        io::copy(&mut io::Read::take(noise, bytes), file).map(drop)
    })?;
    let rootfs = json!({"type": "layers", "diff_ids": [layer["digest"]]});
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs});
    let config = put(CONFIG, &text(config))?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    let mut manifest = put(MANIFEST, &text(manifest))?;
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(to.join("index.json"), index.to_string())?;
    fs::write(
        to.join("oci-layout"),
        json!({"imageLayoutVersion": "1.0.0"}).to_string(),
    )?;
    fs::write(to.join(MADE_OF), made_of).context("cannot finish a layout")
}

fn manifest(layout: &Path) -> Result<Value> {
    let index = read(&layout.join("index.json"))?;
    read(&blob(layout, &index["manifests"][0]["digest"])?)
}

fn read(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("not an image of a layout")
}

fn blob(layout: &Path, digest: &Value) -> Result<PathBuf> {
    let digest = digest.as_str().context("no digest")?;
    let (algorithm, hex) = digest.split_once(':').context("not a digest")?;
    Ok(layout.join("blobs").join(algorithm).join(hex))
}

fn descriptor(media_type: &str, digest: &Value, path: &Path) -> Result<Value> {
    let size = fs::metadata(path)?.len();
    Ok(json!({"mediaType": media_type, "digest": digest, "size": size}))
}

fn digest(path: &Path) -> Result<String> {
    let mut sum = sh::cmd::<&str>("sha256sum", []);
    let sum = sh::output(sum.stdin(File::open(path)?).stdout(Stdio::piped()))?;
    let hex = sum.split(' ').next().unwrap_or_default();
    Ok(format!("sha256:{hex}"))
}

/// Brings an image's blobs into memory: the first to read them would wait for the machine's disk.
pub(super) fn warm(layout: &Path) -> Result<()> {
    let layers = layers(layout)?;
    if layers.is_empty() {
        bail!("an image without layers: {}", layout.display());
    }
    for blob in layers {
        io::copy(&mut File::open(blob)?, &mut io::sink())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCHIVE: &[u8] = b"not a tar, but nobody looks";
    const ITS_DIGEST: &str = "sha256:83e906f7d25c87d135f3396dc2f78cabb78d43c06405bc9475d25f353456824f";

    /// A layout with one gzip layer, in a folder of its own.
    fn layout(name: &str, diff_id: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let from = folder.join("gzip");
        fs::create_dir_all(from.join("blobs/sha256")).unwrap();
        let put = |name: &str, text: String| fs::write(from.join("blobs/sha256").join(name), text).unwrap();
        fs::write(folder.join("archive"), ARCHIVE).unwrap();
        let mut gzip = sh::cmd("gzip", ["-c"]);
        gzip.stdin(File::open(folder.join("archive")).unwrap());
        gzip.stdout(File::create(from.join("blobs/sha256/layer")).unwrap());
        sh::run(&mut gzip).unwrap();
        put("config", json!({"rootfs": {"diff_ids": [diff_id]}}).to_string());
        let layer =
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:layer"});
        let manifest = json!({"config": {"digest": "sha256:config"}, "layers": [layer]});
        put("manifest", manifest.to_string());
        let index = json!({"manifests": [{"digest": "sha256:manifest"}]});
        fs::write(from.join("index.json"), index.to_string()).unwrap();
        fs::write(from.join("oci-layout"), "{}").unwrap();
        folder
    }

    #[test]
    fn a_layout_is_inflated_once() {
        let folder = layout("inflated", ITS_DIGEST);
        let (from, to) = (folder.join("gzip"), folder.join("tar"));
        inflate(&from, &to).unwrap();
        let made = layers(&to).unwrap();
        assert_eq!(fs::read(&made[0]).unwrap(), ARCHIVE);
        let layer = &manifest(&to).unwrap()["layers"][0];
        assert_eq!((&layer["mediaType"], &layer["size"]), (&json!(TAR), &json!(27)));

        fs::write(&made[0], "still there").unwrap();
        inflate(&from, &to).unwrap();
        assert_eq!(fs::read(&made[0]).unwrap(), b"still there");
        fs::write(to.join(MADE_OF), "{}").unwrap();
        inflate(&from, &to).unwrap();
        assert_eq!(fs::read(&made[0]).unwrap(), ARCHIVE);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_archive_is_the_one_that_the_config_names() {
        let other = format!("sha256:{}", "0".repeat(64));
        let folder = layout("other", &other);
        let error = inflate(&folder.join("gzip"), &folder.join("tar")).unwrap_err();
        assert!(error.to_string().contains("diff ID"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
