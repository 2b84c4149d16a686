// SPDX-License-Identifier: Apache-2.0
//! Pull and unpack beside other clients, in one run on one machine.
//!
//! Each run gets a file system of its own: on one that was used and cleaned the allocation of
//! inodes alone can take ten times as long as everything else. Clients take turns, so that what
//! disturbs the machine disturbs all of them.

mod clients;
mod disk;
mod table;

use std::fs;

use anyhow::{Context as _, Result, bail};

use self::clients::{CLIENTS, Client};
use self::disk::Disk;
use self::table::Sample;
use crate::{lab, setup, sh};

const IMAGES: &[&str] = &["tiny/gzip", "debian", "manyfiles", "bigblob/gzip", "ml/zstd"];
const RUNS: usize = 5;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if !sh::is_root() {
        bail!("file systems are made and mounted; run as root");
    }
    let (mut runs, mut images) = (RUNS, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runs" => {
                let value = arguments.next().context("--runs needs a number")?;
                runs = value.parse().with_context(|| format!("not a number: {value}"))?;
            }
            option if option.starts_with('-') => bail!("unknown option: {option}"),
            image => images.push(image),
        }
    }
    if images.is_empty() {
        images = IMAGES.to_vec();
    }
    setup::packages("bench")?;
    let mut parts: Vec<&str> = images
        .iter()
        .map(|image| image.split('/').next().unwrap_or(image))
        .collect();
    parts.dedup();
    lab::make(&lab::default_folder(), &parts)?;
    sh::run(&mut sh::cargo([
        "build",
        "--quiet",
        "--release",
        "--package",
        "image-client",
    ]))?;

    let folder = lab::default_folder().join("images");
    let served = images
        .iter()
        .map(|image| format!("{image}={}", folder.join(image).display()));
    let server = sh::Server::start(served)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load: Vec<&str> = load.split(' ').take(3).collect();
    println!(
        "{runs} runs, {cpus} CPUs, load {}; registry on this machine; wall ends with the client, writes with a sync",
        load.join(" ")
    );

    let clients: Vec<&Client> = CLIENTS.iter().filter(|client| (client.present)()).collect();
    let mut failed = false;
    for image in images {
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); clients.len()];
        for run in 0..runs {
            for turn in 0..clients.len() {
                // Each run starts with another client.
                let which = (turn + run) % clients.len();
                let client = clients[which];
                if (client.reads)(image) {
                    let reference = format!("{}/{image}:latest", server.host);
                    let sample = measure(client, &reference)
                        .with_context(|| format!("{} on {image}, run {}", client.name, run + 1));
                    match sample {
                        Ok(sample) => samples[which].push(sample),
                        Err(error) => {
                            println!("FAILED: {error:#}");
                            failed = true;
                        }
                    }
                }
            }
        }
        let rows: Vec<(&str, &[Sample])> = clients
            .iter()
            .zip(&samples)
            .map(|(client, samples)| (client.name, samples.as_slice()))
            .collect();
        table::print(image, &rows, !failed);
    }
    if failed {
        bail!("a client failed: no ratios were worked out from then on");
    }
    Ok(())
}

fn measure(client: &Client, reference: &str) -> Result<Sample> {
    let disk = Disk::new()?;
    let before = disk.written()?;
    let usage = (client.pull)(reference, disk.path())?;
    let bytes = disk.written()? - before;
    (client.clean)(disk.path());
    disk.remove()?;
    Ok(Sample {
        seconds: usage.seconds,
        cpu: usage.cpu,
        memory: usage.memory,
        written: bytes,
    })
}
