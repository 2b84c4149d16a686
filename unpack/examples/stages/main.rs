// SPDX-License-Identifier: Apache-2.0
//! Times each stage of unpacking alone, on the bytes of real layers: `stages STAGE,... DIR LAYER...`
//!
//! What the stages cost when nothing else runs is the floor that a pipeline of them is measured
//! against. The stages that can be asked for, in the order in which they are measured:
//!
//! - `read`: the layer's file;
//! - `blob-digest`: SHA-256 of its bytes;
//! - `inflate`: its archive, from memory to memory;
//! - `copy`: reading it and writing its bytes to a file, of layers that are not compressed alone;
//! - `diff-id`: SHA-256 of the archive;
//! - `files`: files as the archive has them, made by the fewest calls that do.
//!
//! DIR is an empty folder on the file system to be measured; each layer is made in a folder of its
//! own below it. The compression is told by each file's first bytes. Prints a line
//! `LAYER STAGE WALL CPU` (seconds) for each stage of each layer, and at the end
//! `total COMPRESSED INFLATED ENTRIES` (bytes, bytes, number).

mod bare;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use image_spec::{Algorithm, Hasher};
use nix::time::{ClockId, clock_gettime};
use unpack::{Codec, Limits};

type Failure = Box<dyn std::error::Error>;

/// As large as the pieces of the pipeline.
const PIECE: usize = 256 << 10;

const STAGES: &[&str] = &["read", "blob-digest", "inflate", "copy", "diff-id", "files"];

fn main() -> Result<(), Failure> {
    const USAGE: &str = "usage: stages STAGE,... DIR LAYER...";
    let mut arguments = std::env::args_os().skip(1);
    let wanted = arguments.next().and_then(|list| list.into_string().ok());
    let wanted = wanted.ok_or(USAGE)?;
    let wanted: Vec<&str> = wanted.split(',').collect();
    if let Some(unknown) = wanted.iter().find(|stage| !STAGES.contains(stage)) {
        return Err(format!("no such stage: {unknown}").into());
    }
    let directory = arguments.next().ok_or(USAGE)?;
    // Modes come out as they are given to the kernel.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let mut out = io::stdout().lock();
    let (mut compressed, mut inflated, mut entries) = (0, 0, 0);
    for (number, path) in arguments.enumerate() {
        let mut stage = |name: &str, work: &mut dyn FnMut() -> Result<(), Failure>| {
            if wanted.contains(&name) {
                let took = timed(work)?;
                let (wall, cpu) = (took.wall.as_secs_f64(), took.cpu.as_secs_f64());
                writeln!(out, "{number} {name} {wall:.6} {cpu:.6}")?;
            }
            Ok::<(), Failure>(())
        };
        let layer = Path::new(&directory).join(number.to_string());
        // What a stage works on is made before its time begins.
        let blob = fs::read(&path)?;
        stage("read", &mut || read(&path))?;
        stage("blob-digest", &mut || hash(&blob))?;
        stage("inflate", &mut || inflate(&blob, |_| ()))?;
        if codec(&blob) == Codec::Plain {
            stage("copy", &mut || copy(&path, &layer.with_extension("copy")))?;
        }
        let mut tar = Vec::new();
        inflate(&blob, |piece| tar.extend_from_slice(piece))?;
        compressed += blob.len();
        inflated += tar.len();
        drop(blob);
        stage("diff-id", &mut || hash(&tar))?;
        let list = bare::list(tar)?;
        entries += list.len();
        fs::create_dir(&layer)?;
        let tree = bare::Tree::open(&layer)?;
        stage("files", &mut || tree.make(&list))?;
    }
    writeln!(out, "total {compressed} {inflated} {entries}")?;
    Ok(())
}

struct Took {
    wall: Duration,
    cpu: Duration,
}

fn timed(stage: impl FnOnce() -> Result<(), Failure>) -> Result<Took, Failure> {
    let cpu = || clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
    let (start, before) = (Instant::now(), cpu()?);
    stage()?;
    Ok(Took {
        cpu: cpu()? - before,
        wall: start.elapsed(),
    })
}

fn read(path: &OsStr) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; PIECE];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// By pieces through memory, as one who looks at the bytes has to do it.
fn copy(from: &OsStr, to: &Path) -> Result<(), Failure> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

fn hash(bytes: &[u8]) -> Result<(), Failure> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    bytes.chunks(PIECE).for_each(|piece| hasher.update(piece));
    std::hint::black_box(hasher.finish());
    Ok(())
}

fn codec(blob: &[u8]) -> Codec {
    match blob {
        [0x1f, 0x8b, ..] => Codec::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Codec::Zstd,
        _ => Codec::Plain,
    }
}

/// As the crate itself does it.
fn inflate(blob: &[u8], mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
    let limits = Limits::default();
    let mut decoder = codec(blob).inflate(blob, &limits)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(()),
            length => piece(&buffer[..length]),
        }
    }
}
