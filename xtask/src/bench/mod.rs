// SPDX-License-Identifier: Apache-2.0
//! Pull and unpack beside other clients, in one run on one machine.
//!
//! Each run gets a file system of its own: on one that was used and cleaned the allocation of
//! inodes alone can take ten times as long as everything else.

mod clients;
mod containerd;
mod disk;
mod floor;
mod jail;
mod machine;
mod options;
mod report;
mod rounds;
mod table;
mod usage;

use std::fs;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use self::clients::{CLIENTS, Client, Image};
use self::floor::Floor;
use self::options::{Options, Table};
use self::rounds::Rounds;
use crate::{lab, setup, sh};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    if !sh::is_root() {
        bail!("file systems are made and mounted; run as root");
    }
    let _alone = alone()?;
    setup::packages("bench")?;
    hide_mounts()?;
    let images = lab(&options.images)?;
    build(options.table)?;

    let (name, folder) = (options.table.name(), lab::default_folder().join("images"));
    let served = images
        .iter()
        .map(|image| format!("{}={}", image.name, image.layout.display()));
    let server = sh::Server::start(served)?;
    let images: Vec<Image> = images
        .into_iter()
        .map(|image| Image {
            reference: format!("{}/{}:latest", server.host, image.name),
            ..image
        })
        .collect();

    let root = options.root.as_deref();
    let clients: Vec<&'static Client> = CLIENTS
        .iter()
        .filter(|client| client.tables.contains(&options.table))
        .filter(|client| client.ours || (options.peers && client.present(root)))
        .collect();
    let rounds = Rounds {
        runs: options.runs,
        root,
        images: folder.canonicalize()?,
    };
    let (described, load) = (machine::describe(), machine::load());
    let mut parts = Vec::new();
    let mut failed = false;
    for image in &images {
        let mut calls = None;
        for kind in &options.disks {
            let unpacking = options.table == Table::Unpack;
            let (mut rows, stages) = rounds.measure(image, *kind, &clients, unpacking)?;
            let part = match options.table {
                Table::Pull => report::pull(image, *kind, &rows),
                Table::Unpack => {
                    // The file system makes no difference to them, and counting takes long.
                    let calls: &Vec<_> = calls.get_or_insert_with(|| rounds.count(image, *kind, &mut rows));
                    rows.iter_mut()
                        .zip(calls)
                        .for_each(|(row, calls)| row.calls = *calls);
                    let floor = Floor::of(&stages, machine::cores());
                    let (size, floor) = stages.first().zip(floor).context("no stages")?;
                    report::unpack(image, *kind, &rows, size, &floor)
                }
            };
            failed |= rows.iter().any(|row| row.failed);
            println!("{part}");
            parts.push(part);
        }
    }
    let text = format!(
        "## {name}\n\n{described}; {} runs; load {load} before, {} after.\n{}.\n\n{}\n\n{}",
        options.runs,
        machine::load(),
        machine::versions(&clients, root),
        report::legend(options.table),
        parts.join("\n")
    );
    println!("{}", text.split("\n### ").next().unwrap_or_default());
    if failed {
        bail!("a client failed; nothing is written");
    }
    if options.write {
        report::write(options.table, &text)?;
    }
    Ok(())
}

/// Two at once would measure each other, on one disk.
fn alone() -> Result<fs::File> {
    let folder = sh::target("bench");
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.try_lock().context("another benchmark runs")?;
    Ok(lock)
}

/// A mount name space made elsewhere at the same time would take our disks along and keep them busy;
/// and ours go away with us, however we end.
fn hide_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("cannot make a mount name space")?;
    let nothing: Option<&str> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("cannot keep mounts private")
}

/// The lab's images of these names; not served yet.
fn lab(names: &[String]) -> Result<Vec<Image>> {
    let mut parts: Vec<&str> = names
        .iter()
        .map(|name| name.split('/').next().unwrap_or(name))
        .collect();
    parts.dedup();
    lab::make(&lab::default_folder(), &parts)?;
    let folder = lab::default_folder().join("images").canonicalize()?;
    let image = |name: &String| {
        let layout = folder.join(name);
        if !layout.join("oci-layout").is_file() {
            bail!("not an image layout of the lab: {name}");
        }
        Ok(Image {
            name: name.clone(),
            layout,
            reference: String::new(),
        })
    };
    names.iter().map(image).collect()
}

fn build(table: Table) -> Result<()> {
    let release = ["build", "--quiet", "--release", "--package"];
    sh::run(sh::cargo(release).arg("image-client"))?;
    if table == Table::Unpack {
        // With the decoder of the command line.
        sh::run(sh::cargo(release).args(["unpack", "--example", "stages", "--features", "isal"]))?;
    }
    Ok(())
}
