// SPDX-License-Identifier: Apache-2.0
//! Pulls and their parts beside other clients, in one run on one machine.
//!
//! Each run gets a file system of its own: on one that was used and cleaned the allocation of
//! inodes alone can take ten times as long as everything else.

mod after;
mod clients;
mod containerd;
mod disk;
mod fetch;
mod floor;
mod jail;
mod layout;
mod link;
mod machine;
mod options;
mod report;
mod rounds;
mod sys;
mod table;
mod usage;

use std::fs;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use self::after::Afterwards;
use self::clients::{CLIENTS, Client, Image, Source};
use self::disk::Kind;
use self::floor::Floor;
use self::options::{Options, Table};
use self::rounds::Rounds;
use crate::{lab, setup, sh};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (fetch, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == fetch::NAME => (true, rest),
        _ => (false, arguments),
    };
    let options = Options::parse(arguments)?;
    if !sh::is_root() {
        bail!("file systems are made and mounted; run as root");
    }
    let _alone = alone()?;
    setup::packages("bench")?;
    hide_mounts()?;
    if fetch {
        return fetch::run(&options);
    }
    let images = lab(&options.images)?;
    build(options.table)?;

    let served = images
        .iter()
        .map(|image| format!("{}={}", image.name, image.layout.display()));
    let server = sh::Server::start_fast(served)?;
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
    };
    let (described, load) = (machine::describe(), machine::load());
    let mut parts = Vec::new();
    let mut failed = false;
    for image in &images {
        let mut calls = None;
        for kind in &options.disks {
            let wanted = match options.table {
                Table::Pull => None,
                Table::Unpack => Some(floor::UNPACK),
                Table::Ready => Some(floor::READY),
            };
            let (mut rows, stages) = rounds.measure(image, *kind, &clients, wanted)?;
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
                Table::Ready => {
                    let size_and_floor = stages.first().zip(floor::bytes(&stages));
                    let (size, floor) = size_and_floor.context("no stages")?;
                    report::ready(image, *kind, &rows, size, floor)
                }
            };
            failed |= rows.iter().any(|row| row.failed);
            println!("{part}");
            parts.push(part);
        }
    }
    if options.table == Table::Ready {
        let found = afterwards(&rounds, &images, &options.disks, &clients);
        failed |= found.iter().any(|(_, _, rows)| rows.iter().any(|row| row.failed));
        let part = report::afterwards(&found);
        println!("{part}");
        parts.push(part);
    }
    let text = format!(
        "## {}\n\n{described}; {} runs; load {load} before, {} after.\n{}.\n\n{}\n\n{}",
        options.table.name(),
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
        report::write(options.table.name(), &text)?;
    }
    Ok(())
}

/// What ours made from the registry, looked at when nothing is compared with others any more.
fn afterwards<'a>(
    rounds: &Rounds<'_>,
    images: &'a [Image],
    disks: &[Kind],
    clients: &[&'static Client],
) -> Vec<(&'a Image, Kind, Vec<Afterwards>)> {
    let ours = clients.iter().copied();
    let ours = ours.filter(|client| client.ours && client.source == Source::Registry);
    let ours: Vec<&'static Client> = ours.collect();
    let places = images
        .iter()
        .flat_map(|image| disks.iter().map(move |kind| (image, *kind)));
    places
        .map(|(image, kind)| (image, kind, rounds.afterwards(image, kind, &ours)))
        .collect()
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

/// The images of these names, of the lab or made of its; not served yet.
fn lab(names: &[String]) -> Result<Vec<Image>> {
    let mut parts: Vec<&str> = names
        .iter()
        .map(|name| name.split('/').next().unwrap_or(name))
        .collect();
    parts.dedup();
    lab::make(&lab::default_folder(), &parts)?;
    let folder = lab::default_folder().join("images").canonicalize()?;
    let image = |name: &String| {
        let mut layout = folder.join(name);
        // Where the lab has no image without compression, one is made of what it has.
        if let Some(base) = name.strip_suffix("/tar").filter(|_| !layout.exists()) {
            let whole = folder.join(base);
            let gzip = whole.join("gzip");
            let from = if gzip.exists() { gzip } else { whole };
            let made = sh::target("bench/images").join(name);
            layout::inflate(&from, &made).with_context(|| format!("cannot make {name}"))?;
            layout = made.canonicalize()?;
        }
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
    if table != Table::Pull {
        // With the decoder of the command line.
        sh::run(sh::cargo(release).args(["unpack", "--example", "stages", "--features", "isal"]))?;
    }
    Ok(())
}
