// SPDX-License-Identifier: Apache-2.0
//! Unpacks layer files, the bottom one first, into one tree: `unpack-layers DIR LAYER...`
//!
//! The compression is told by each file's first bytes. For looking at a layer and for profiling.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use unpack::{Codec, Layer, Root, Whiteouts};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().ok_or("usage: unpack-layers DIR LAYER...")?;
    let root = Root::create(Path::new(&directory))?;
    for path in arguments {
        let mut file = File::open(&path)?;
        let mut magic = [0u8; 4];
        let read = file.read(&mut magic)?;
        file.rewind()?;
        let codec = match magic.get(..read) {
            Some([0x1f, 0x8b, ..]) => Codec::Gzip,
            Some([0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18]) => Codec::Zstd,
            _ => Codec::Plain,
        };
        Layer::new(&root)
            .whiteouts(Whiteouts::Remove)
            .codec(codec)
            .unpack(BufReader::with_capacity(64 << 10, file))?;
    }
    Ok(())
}
