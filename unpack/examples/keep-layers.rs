// SPDX-License-Identifier: Apache-2.0
//! Keeps layer files, the bottom one first, and merges them: `keep-layers DIR LAYER...`
//!
//! DIR gets a folder for each layer, the file `image`, and prints the options that mount it:
//! `mount -t erofs -o OPTIONS DIR/image TARGET` (by the mount(2) of a recent kernel, not by mount(8)).

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::PathBuf;
use std::time::Instant;

use unpack::erofs::{Blocks, Source, merge};
use unpack::{Codec, Layer, Root};

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: keep-layers DIR LAYER...")?);
    fs::create_dir(&directory)?;
    let mut kept = Vec::new();
    for (number, path) in arguments.enumerate() {
        let start = Instant::now();
        let dir = directory.join(number.to_string());
        let mut file = File::open(&path)?;
        let codec = codec(&mut file)?;
        let root = Root::create(&dir)?;
        let done = Layer::new(&root)
            .codec(codec)
            .keep(BufReader::with_capacity(64 << 10, file))?;
        println!(
            "kept {} entries in {:?}: {}",
            done.entries,
            start.elapsed(),
            done.diff_id
        );
        kept.push((dir, done.notes));
    }
    let start = Instant::now();
    let sources: Vec<Source<'_>> = kept.iter().map(|(dir, notes)| Source { dir, notes }).collect();
    let merged = merge(&sources, Blocks::Small, &directory.join("image"))?;
    println!("merged {} inodes in {:?}", merged.inodes, start.elapsed());
    let devices: Vec<String> = merged
        .devices
        .iter()
        .map(|d| format!("device={}", d.file.display()))
        .collect();
    println!("{}", devices.join(","));
    Ok(())
}

fn codec(file: &mut (impl Read + Seek)) -> std::io::Result<Codec> {
    let mut magic = [0u8; 4];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    Ok(match magic.get(..read) {
        Some([0x1f, 0x8b, ..]) => Codec::Gzip,
        Some([0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]) => Codec::Zstd,
        _ => Codec::Plain,
    })
}
