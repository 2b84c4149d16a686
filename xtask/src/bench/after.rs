// SPDX-License-Identifier: Apache-2.0
//! After a pull: what reading the mounted tree takes, and giving it back.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::clients::{self, Client, Image};
use super::disk::{Disk, Kind};
use super::rounds::Rounds;
use super::usage::{Place, Probe};

/// One of each run.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    /// Seconds to read all files of the tree that nothing had in memory.
    pub(super) cold: f64,
    /// The same once more.
    pub(super) warm: f64,
    /// Seconds to unmount the bundle and to remove the image, until nothing of it is in the store.
    pub(super) removal: f64,
    pub(super) read: Read,
}

/// What there was to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

pub(super) struct Afterwards {
    pub(super) client: &'static Client,
    pub(super) samples: Vec<After>,
    pub(super) failed: bool,
}

impl Rounds<'_> {
    /// Runs each client and looks at what it made, in turns. What the machine has in memory is given
    /// up, so that nothing that is compared with others should run in between.
    pub(super) fn afterwards(
        &self,
        image: &Image,
        kind: Kind,
        clients: &[&'static Client],
    ) -> Vec<Afterwards> {
        let row = |client: &&'static Client| Afterwards {
            client,
            samples: Vec::new(),
            failed: false,
        };
        let mut rows: Vec<Afterwards> = clients.iter().map(row).collect();
        for run in 0..self.runs {
            for row in &mut rows {
                match after(row.client, image, kind) {
                    Ok(sample) => row.samples.push(sample),
                    Err(error) => row.fail(&format!("run {}, afterwards: {error:#}", run + 1)),
                }
            }
        }
        check(&mut rows);
        rows
    }
}

impl Afterwards {
    fn fail(&mut self, what: &str) {
        println!("FAILED: {}: {what}", self.client.name);
        self.failed = true;
    }
}

/// All trees of an image hold the same.
fn check(rows: &mut [Afterwards]) {
    let mut reads = rows.iter().flat_map(|row| &row.samples).map(|sample| sample.read);
    let Some(wanted) = reads.next() else {
        return;
    };
    for row in rows {
        if let Some(sample) = row.samples.iter().find(|sample| sample.read != wanted) {
            row.fail(&format!("{:?} where another has {wanted:?}", sample.read));
        }
    }
}

fn after(client: &Client, image: &Image, kind: Kind) -> Result<After> {
    let disk = Disk::new(kind)?;
    let place = Place {
        folder: disk.path(),
        jail: None,
        probe: Probe::Time,
    };
    (client.get)(image, &place)?;
    let tree = disk.path().join(client.tree);
    // What is still to be written stays in memory.
    disk.sync()?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot empty the page cache")?;
    let (cold, read) = timed(|| read_all(&tree))?;
    let (warm, again) = timed(|| read_all(&tree))?;
    if again != read {
        bail!("{read:?} at first, then {again:?}");
    }
    // The program comes from the machine's disk.
    fs::read(clients::program())?;
    let (removal, ()) = timed(|| {
        clients::remove(image, disk.path())?;
        given_back(&disk.path().join(clients::STORE))
    })?;
    disk.remove()?;
    Ok(After {
        cold,
        warm,
        removal,
        read,
    })
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_secs_f64(), done))
}

/// Reads every file below a folder, one after the other, in the order in which folders list them.
fn read_all(folder: &Path) -> Result<Read> {
    let mut sum = Read::default();
    let mut buffer = vec![0; 256 << 10];
    below(folder, &mut buffer, &mut sum).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(sum)
}

fn below(folder: &Path, buffer: &mut [u8], sum: &mut Read) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Of a link it is the link's.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            below(&entry.path(), buffer, sum)?;
        } else if kind.is_file() {
            let mut file = File::open(entry.path())?;
            sum.files += 1;
            loop {
                match file.read(buffer)? {
                    0 => break,
                    length => sum.bytes += length as u64,
                }
            }
        }
    }
    Ok(())
}

/// Waits until the store has no layer any more, nor anything on its way out.
fn given_back(store: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    for folder in ["layers", "merged", "staging"] {
        let folder = store.join(folder);
        while fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            if Instant::now() > deadline {
                bail!("removed, and still there: {}", folder.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_all_folders_and_links_are_not_followed() {
        let folder = std::env::temp_dir().join(format!("xtask-read-{}", std::process::id()));
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("one"), vec![1; 300 << 10]).unwrap();
        fs::write(folder.join("a/b/two"), "22").unwrap();
        fs::write(folder.join("a/empty"), "").unwrap();
        std::os::unix::fs::symlink("one", folder.join("link")).unwrap();
        std::os::unix::fs::symlink(".", folder.join("a/loop")).unwrap();
        let sum = read_all(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let (files, bytes) = (3, (300 << 10) + 2);
        assert_eq!(sum, Read { files, bytes });
    }

    #[test]
    fn a_tree_that_is_not_like_the_others_fails() {
        let sample = |bytes| After {
            cold: 1.0,
            warm: 1.0,
            removal: 1.0,
            read: Read { files: 1, bytes },
        };
        let row = |bytes: &[u64]| Afterwards {
            client: &clients::CLIENTS[0],
            samples: bytes.iter().copied().map(sample).collect(),
            failed: false,
        };
        let mut rows = [row(&[5, 5]), row(&[5, 5]), row(&[5, 4]), row(&[])];
        check(&mut rows);
        let failed: Vec<bool> = rows.iter().map(|row| row.failed).collect();
        assert_eq!(failed, [false, false, true, false]);
    }
}
