// SPDX-License-Identifier: Apache-2.0
//! Images made by real tools, for tests and benchmarks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::sh;

/// Every image; one that is made from another comes after it.
pub(crate) const ALL: &[&str] = &[
    "tiny",
    "debian",
    "whiteouts",
    "encrypted",
    "bigblob",
    "ml",
    "manyfiles",
];

/// Images that others are made from.
const NEEDS: &[(&str, &str)] = &[("encrypted", "tiny")];

/// As many scripts run at once: some wait for the network while others compress.
const WORKERS: usize = 2;

pub(crate) fn default_folder() -> PathBuf {
    sh::target("lab")
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (folder, names) = match arguments {
        [option, folder, names @ ..] if option == "--to" => (sh::root().join(folder), names),
        names => (default_folder(), names),
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    crate::setup::packages("test")?;
    make(&folder, if names.is_empty() { ALL } else { &names })
}

/// Makes the images that are not there in the version of their script.
pub(crate) fn make(folder: &Path, names: &[&str]) -> Result<()> {
    if let Some(name) = names.iter().find(|name| !ALL.contains(name)) {
        bail!("no such image: {name}; there are {}", ALL.join(", "));
    }
    let images = folder.join("images");
    let mut wanted: Vec<&str> = names.to_vec();
    wanted.extend(
        NEEDS
            .iter()
            .filter(|(name, _)| names.contains(name))
            .map(|(_, needed)| *needed),
    );
    let mut missing = Vec::new();
    for name in ALL.iter().filter(|name| wanted.contains(name)) {
        let stamp = fs::read_to_string(images.join(name).join(STAMP)).unwrap_or_default();
        if stamp.trim() != version(name)? {
            missing.push(*name);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::is_root() {
        bail!(
            "the lab's images hold devices and owners; run as root to make: {}",
            missing.join(" ")
        );
    }
    sh::run(&mut sh::cargo([
        "build",
        "--quiet",
        "--package",
        "fixture",
        "--bin",
        "make-layout",
    ]))?;
    fs::create_dir_all(&images)?;

    // The needed ones first, then the rest side by side.
    let (first, rest): (Vec<&str>, Vec<&str>) = missing
        .iter()
        .partition(|name| NEEDS.iter().any(|(_, needed)| needed == *name));
    for name in first {
        build(&images, name)?;
    }
    let queue = Mutex::new(rest.into_iter());
    let take = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || -> Result<()> {
        while let Some(name) = take() {
            build(&images, name)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        let results = workers
            .into_iter()
            .map(|w| w.join().map_err(|_| anyhow!("a worker panicked")));
        results
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|result| result?)
    })
}

/// In the folder of a finished image; holds the version of the script that made it.
const STAMP: &str = ".done";

fn script(name: &str) -> PathBuf {
    sh::root().join("xtask/lab").join(format!("{name}.sh"))
}

/// The script says when its result changes: `# version: N`.
fn version(name: &str) -> Result<String> {
    let text =
        fs::read_to_string(script(name)).with_context(|| format!("cannot read the script of {name}"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("# version: "));
    version
        .map(str::to_string)
        .with_context(|| format!("a script without a version: {name}"))
}

/// Runs a script on a folder beside the final one, and renames that only when all went well.
fn build(images: &Path, name: &str) -> Result<()> {
    let start = Instant::now();
    println!("lab: making {name}");
    let (unfinished, work) = (
        images.join(format!(".making-{name}")),
        images.join(format!(".work-{name}")),
    );
    for folder in [&unfinished, &work] {
        for mount in sh::mounts_below(folder)? {
            sh::run(&mut sh::cmd("umount", [mount]))?;
        }
        remove(folder)?;
    }
    fs::create_dir_all(&work)?;
    let mut command = sh::cmd("bash", [script(name)]);
    command
        .env("LAB_OUT", &unfinished)
        .env("LAB_IMAGES", images)
        .env("LAB_WORK", &work)
        .env("TMPDIR", &work)
        .env("MAKE_LAYOUT", sh::target("debug/make-layout"));
    sh::run(&mut command).with_context(|| format!("cannot make the image: {name}"))?;
    fs::write(unfinished.join(STAMP), version(name)?)?;
    remove(&images.join(name))?;
    fs::rename(&unfinished, images.join(name))?;
    remove(&work)?;
    println!("lab: {name} made in {} s", start.elapsed().as_secs());
    Ok(())
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
