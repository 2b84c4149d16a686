// SPDX-License-Identifier: Apache-2.0
//! Clients take turns, so that what disturbs the machine disturbs all of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::clients::{Client, Image};
use super::disk::{Disk, Kind};
use super::floor::{self, Stages};
use super::jail::Jail;
use super::layout::warm;
use super::usage::{Place, Probe, Usage};

/// What one run took, and left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) usage: Usage,
    /// Seconds until all of it had reached the disk.
    pub(super) synced: f64,
    /// Bytes that reached the disk.
    pub(super) written: Option<u64>,
    /// Files and folders of the tree, or of all layers' trees.
    files: u64,
}

pub(super) struct Row {
    pub(super) client: &'static Client,
    pub(super) samples: Vec<Sample>,
    pub(super) calls: Option<u64>,
    pub(super) failed: bool,
}

/// What is the same in all rounds.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    pub(super) runs: usize,
    pub(super) root: Option<&'a Path>,
}

impl Rounds<'_> {
    /// Runs the clients, and in each round these stages alone.
    pub(super) fn measure(
        &self,
        image: &Image,
        kind: Kind,
        clients: &[&'static Client],
        wanted: Option<&str>,
    ) -> Result<(Vec<Row>, Vec<Stages>)> {
        warm(&image.layout)?;
        // What Debian 12's programs cannot read others may.
        let reads = |client: &&&'static Client| self.root.is_some() || (client.reads)(&image.name);
        let mut stages = Vec::new();
        let mut rows: Vec<Row> = clients
            .iter()
            .map(|client| Row {
                client,
                samples: Vec::new(),
                calls: None,
                failed: false,
            })
            .collect();
        for run in 0..self.runs {
            if let Some(wanted) = wanted {
                let disk = Disk::new(kind)?;
                stages.push(floor::run(wanted, &image.layout, disk.path())?);
                disk.remove()?;
            }
            for turn in 0..clients.len() {
                // Each run starts with another client.
                let which = (turn + run) % clients.len();
                if let Some(client) = Some(&clients[which]).filter(reads) {
                    match self.once(client, image, kind, Probe::Time) {
                        Ok(sample) => rows[which].samples.push(sample),
                        Err(error) => rows[which].fail(&format!("run {}: {error:#}", run + 1)),
                    }
                }
            }
        }
        check(&mut rows);
        Ok((rows, stages))
    }

    /// Counts each client's system calls, in runs of their own.
    pub(super) fn count(&self, image: &Image, kind: Kind, rows: &mut [Row]) -> Vec<Option<u64>> {
        let count = |row: &mut Row| {
            if row.samples.is_empty() {
                return None;
            }
            match self.once(row.client, image, kind, Probe::Calls) {
                Ok(sample) => Some(sample.usage.calls),
                Err(error) => {
                    row.fail(&format!("counting calls: {error:#}"));
                    None
                }
            }
        };
        rows.iter_mut().map(count).collect()
    }

    fn once(&self, client: &Client, image: &Image, kind: Kind, probe: Probe) -> Result<Sample> {
        let disk = Disk::new(kind)?;
        let jail = match client.ours {
            true => None,
            false => Some(Jail::new(&disk, self.root, &image.layout)?),
        };
        let place = Place {
            folder: disk.path(),
            jail: jail.as_ref(),
            probe,
        };
        disk.sync()?;
        let before = disk.written()?;
        let usage = (client.get)(image, &place)?;
        let synced = usage.seconds + disk.sync()?;
        let written = disk.written()?.zip(before).map(|(after, before)| after - before);
        let files = trees(disk.path(), client.tree)?
            .iter()
            .map(|tree| count(tree))
            .sum::<io::Result<u64>>();
        (client.clean)(disk.path());
        // It holds the disk.
        drop(jail);
        disk.remove()?;
        Ok(Sample {
            usage,
            synced,
            written,
            files: files?,
        })
    }
}

impl Row {
    fn fail(&mut self, what: &str) {
        println!("FAILED: {}: {what}", self.client.name);
        self.failed = true;
    }
}

/// Fast is only who has made what the others have. Trees of layers hold what upper layers remove, too.
fn check(rows: &mut [Row]) {
    let whole = |row: &&Row| !row.client.tree.contains('*');
    let made = rows.iter().filter(whole).flat_map(|row| &row.samples);
    let wanted = made.map(|sample| sample.files).max().unwrap_or(0);
    for row in rows {
        // Whiteouts and folders that a client adds make a few more or less.
        if let Some(sample) = row.samples.iter().find(|sample| sample.files * 10 < wanted * 9) {
            row.fail(&format!("made {} of {wanted} files", sample.files));
        }
    }
}

/// The folders that a pattern names, one of whose components may be `*`.
fn trees(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let Some((above, below)) = pattern.split_once("/*/") else {
        return Ok(vec![folder.join(pattern)]);
    };
    let mut trees = Vec::new();
    for entry in fs::read_dir(folder.join(above)).context("no trees of layers")? {
        let tree = entry?.path().join(below);
        if tree.is_dir() {
            trees.push(tree);
        }
    }
    Ok(trees)
}

fn count(folder: &Path) -> io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += 1;
        if entry.file_type()?.is_dir() {
            files += count(&entry.path())?;
        }
    }
    Ok(files)
}
