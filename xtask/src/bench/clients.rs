// SPDX-License-Identifier: Apache-2.0
//! How each client gets an image, with all its state in one folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::containerd;
use super::options::Table;
use super::usage::{Place, Usage};
use crate::sh;

#[derive(Debug)]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) layout: PathBuf,
    /// In the registry.
    pub(super) reference: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Layout,
    Registry,
}

pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) source: Source,
    pub(super) ours: bool,
    pub(super) tables: &'static [Table],
    pub(super) programs: &'static [&'static str],
    pub(super) reads: fn(&str) -> bool,
    pub(super) get: fn(&Image, &Place<'_>) -> Result<Usage>,
    /// Where what it unpacked is found; `*` stands for every layer's folder.
    pub(super) tree: &'static str,
    /// Unmounts what it left mounted; not measured.
    pub(super) clean: fn(&Path),
}

impl Client {
    pub(super) fn present(&self, root: Option<&Path>) -> bool {
        let there = |program: &&str| match root {
            Some(root) => root.join("usr/bin").join(program).is_file(),
            None => sh::which(program).is_some(),
        };
        match self.name {
            "image-rs" => std::env::var_os(IMAGE_RS).is_some(),
            _ => self.programs.iter().all(there),
        }
    }
}

/// Ours come first: the others are compared with the one that reads from the same source.
pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "image-client unpack",
        source: Source::Layout,
        ours: true,
        tables: &[Table::Unpack],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(&["unpack"], &layout(image), place),
        tree: "bundle",
        clean: |_| (),
    },
    Client {
        name: "image-client pull",
        source: Source::Layout,
        ours: true,
        tables: &[Table::Unpack],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(PULL_TREES, &layout(image), place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client pull",
        source: Source::Registry,
        ours: true,
        tables: &[Table::Pull],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(&["pull"], &image.reference, place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client pull",
        source: Source::Registry,
        ours: true,
        tables: &[Table::Unpack],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(PULL_TREES, &image.reference, place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client, erofs",
        source: Source::Layout,
        ours: true,
        tables: &[Table::Ready],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(PULL_ARCHIVES, &layout(image), place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client, erofs",
        source: Source::Registry,
        ours: true,
        tables: &[Table::Ready],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(PULL_ARCHIVES, &image.reference, place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client, overlay",
        source: Source::Registry,
        ours: true,
        tables: &[Table::Ready],
        programs: &[],
        reads: |_| true,
        get: |image, place| get(PULL_TREES, &image.reference, place),
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "umoci unpack",
        source: Source::Layout,
        ours: false,
        tables: &[Table::Unpack],
        programs: &["umoci"],
        reads: no_zstd,
        get: |image, place| umoci(&image.layout, place),
        tree: "bundle/rootfs",
        clean: |_| (),
    },
    Client {
        name: "skopeo + umoci",
        source: Source::Registry,
        ours: false,
        tables: &[Table::Pull, Table::Ready],
        programs: &["skopeo", "umoci"],
        reads: no_zstd,
        get: skopeo_umoci,
        tree: "bundle/rootfs",
        clean: |_| (),
    },
    Client {
        name: "podman",
        source: Source::Registry,
        ours: false,
        tables: &[Table::Pull, Table::Unpack, Table::Ready],
        programs: &["podman"],
        reads: |_| true,
        get: podman,
        tree: "root/overlay/*/diff",
        clean: |_| (),
    },
    Client {
        name: "containerd",
        source: Source::Registry,
        ours: false,
        tables: &[Table::Pull, Table::Unpack, Table::Ready],
        programs: &["containerd", "ctr"],
        reads: |_| true,
        get: containerd::pull,
        tree: "root/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs",
        clean: |_| (),
    },
    Client {
        name: "image-rs",
        source: Source::Registry,
        ours: false,
        tables: &[Table::Pull, Table::Unpack, Table::Ready],
        programs: &[],
        reads: |_| true,
        get: image_rs,
        tree: "bundle/rootfs",
        clean: |_| (),
    },
];

/// Names a program that is called with an image, a folder for its state and a folder for the bundle.
const IMAGE_RS: &str = "BENCH_IMAGE_RS";

/// umoci refuses the media type of zstd layers.
fn no_zstd(image: &str) -> bool {
    !image.contains("zstd")
}

/// Where ours keeps layers, in its folder.
pub(super) const STORE: &str = "store";

/// By the snapshotter that unpacks layers.
const PULL_TREES: &[&str] = &["pull", "--snapshotter", "overlay"];

/// By the snapshotter that keeps layers as they are.
const PULL_ARCHIVES: &[&str] = &["pull", "--snapshotter", "erofs"];

pub(super) fn program() -> PathBuf {
    sh::target("release/image-client")
}

fn ours(arguments: &[&str], place: &Path) -> Command {
    let mut command = sh::cmd(program(), arguments);
    command.arg("--work-dir").arg(place.join(STORE));
    command
}

fn layout(image: &Image) -> String {
    format!("oci-layout:{}", image.layout.display())
}

fn get(verb: &[&str], image: &str, place: &Place<'_>) -> Result<Usage> {
    let mut command = ours(verb, place.folder);
    command.args([
        "--plain-http",
        "--insecure-accept-any-image",
        "--progress",
        "none",
    ]);
    command.arg(image).arg(place.folder.join("bundle"));
    place.run(&command)
}

fn umount(folder: &Path) {
    sh::succeeds(ours(&["umount"], folder).arg(folder.join("bundle")));
}

/// Undoes a pull from the registry in a folder.
pub(super) fn remove(image: &Image, folder: &Path) -> Result<()> {
    sh::output(ours(&["umount"], folder).arg(folder.join("bundle")))?;
    sh::output(ours(&["rm"], folder).arg(&image.reference))?;
    Ok(())
}

fn umoci(layout: &Path, place: &Place<'_>) -> Result<Usage> {
    let image = format!("{}:latest", layout.display());
    let mut command = place.peer("umoci", ["unpack", "--image", &image]);
    command.arg(place.folder.join("bundle"));
    place.run(&command)
}

fn skopeo_umoci(image: &Image, place: &Place<'_>) -> Result<Usage> {
    let layout = place.folder.join("layout");
    let mut skopeo = place.peer(
        "skopeo",
        ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"],
    );
    skopeo.arg(format!("docker://{}", image.reference));
    skopeo.arg(format!("oci:{}:latest", layout.display()));
    Ok(place.run(&skopeo)?.then(umoci(&layout, place)?))
}

fn podman(image: &Image, place: &Place<'_>) -> Result<Usage> {
    let mut command = place.peer("podman", ["--storage-driver", "overlay", "--root"]);
    command.arg(place.folder.join("root"));
    command.arg("--runroot").arg(place.folder.join("run"));
    command.args(["pull", "--quiet", "--tls-verify=false"]);
    command.arg(format!("docker://{}", image.reference));
    place.run(&command)
}

fn image_rs(image: &Image, place: &Place<'_>) -> Result<Usage> {
    let program = std::env::var_os(IMAGE_RS).context("no image-rs")?;
    let mut command = sh::cmd(program, [&image.reference]);
    command
        .arg(place.folder.join("store"))
        .arg(place.folder.join("bundle"));
    place.run(&command)
}
