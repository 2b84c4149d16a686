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
        get: unpack_layout,
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
        get: pull_layout,
        tree: "bundle/rootfs",
        clean: umount,
    },
    Client {
        name: "image-client pull",
        source: Source::Registry,
        ours: true,
        tables: &[Table::Pull, Table::Unpack],
        programs: &[],
        reads: |_| true,
        get: pull_registry,
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
        tables: &[Table::Pull],
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
        tables: &[Table::Pull, Table::Unpack],
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
        tables: &[Table::Pull, Table::Unpack],
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
        tables: &[Table::Pull, Table::Unpack],
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

fn ours(arguments: &[&str], place: &Path) -> Command {
    let mut command = sh::cmd(sh::target("release/image-client"), arguments);
    command.arg("--work-dir").arg(place.join("store"));
    command
}

fn get(verb: &str, image: &str, place: &Place<'_>) -> Result<Usage> {
    let options = [
        verb,
        "--plain-http",
        "--insecure-accept-any-image",
        "--progress",
        "none",
    ];
    let mut command = ours(&options, place.folder);
    command.arg(image).arg(place.folder.join("bundle"));
    place.run(&command)
}

fn unpack_layout(image: &Image, place: &Place<'_>) -> Result<Usage> {
    get("unpack", &format!("oci-layout:{}", image.layout.display()), place)
}

fn pull_layout(image: &Image, place: &Place<'_>) -> Result<Usage> {
    get("pull", &format!("oci-layout:{}", image.layout.display()), place)
}

fn pull_registry(image: &Image, place: &Place<'_>) -> Result<Usage> {
    get("pull", &image.reference, place)
}

fn umount(folder: &Path) {
    sh::succeeds(ours(&["umount"], folder).arg(folder.join("bundle")));
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
