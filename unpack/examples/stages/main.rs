// SPDX-License-Identifier: Apache-2.0
//! Times each stage of unpacking alone, on the bytes of real layers: `stages DIR LAYER...`
//!
//! What the stages cost when nothing else runs is the floor that a pipeline of them is measured
//! against. DIR is an empty folder on the file system to be measured; each layer is made in a folder
//! of its own below it. The compression is told by each file's first bytes. Prints a line
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

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().ok_or("usage: stages DIR LAYER...")?;
    // Modes come out as they are given to the kernel.
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    let mut out = io::stdout().lock();
    let (mut compressed, mut inflated, mut entries) = (0, 0, 0);
    for (number, path) in arguments.enumerate() {
        let mut report = |stage: &str, took: Took| {
            let (wall, cpu) = (took.wall.as_secs_f64(), took.cpu.as_secs_f64());
            writeln!(out, "{number} {stage} {wall:.6} {cpu:.6}")
        };
        // What a stage works on is made before its time begins.
        let blob = fs::read(&path)?;
        report("read", timed(|| read(&path))?)?;
        report("blob-digest", timed(|| hash(&blob))?)?;
        report("inflate", timed(|| inflate(&blob, |_| ()))?)?;
        let mut tar = Vec::new();
        inflate(&blob, |piece| tar.extend_from_slice(piece))?;
        compressed += blob.len();
        inflated += tar.len();
        drop(blob);
        report("diff-id", timed(|| hash(&tar))?)?;
        let list = bare::list(tar)?;
        entries += list.len();
        let layer = Path::new(&directory).join(number.to_string());
        fs::create_dir(&layer)?;
        let tree = bare::Tree::open(&layer)?;
        report("files", timed(|| tree.make(&list))?)?;
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

fn hash(bytes: &[u8]) -> Result<(), Failure> {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    bytes.chunks(PIECE).for_each(|piece| hasher.update(piece));
    std::hint::black_box(hasher.finish());
    Ok(())
}

/// As the crate itself does it.
fn inflate(blob: &[u8], mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
    let codec = match blob {
        [0x1f, 0x8b, ..] => Codec::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Codec::Zstd,
        _ => Codec::Plain,
    };
    let limits = Limits::default();
    let mut decoder = codec.inflate(blob, &limits)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match decoder.read(&mut buffer)? {
            0 => return Ok(()),
            length => piece(&buffer[..length]),
        }
    }
}
