// SPDX-License-Identifier: Apache-2.0
//! Memory does not grow with a layer. One test in a process of its own: what is measured is the
//! memory of the whole process.
#![allow(missing_docs)]

mod common;

use std::io::{BufReader, Read};

use common::mounts::Mounted;
use common::{Place, tar};
use fixture::Header;
use unpack::{Codec, Layer, Limits, Root, Whiteouts};

/// What a process that unpacks may take altogether, in KiB.
const WHOLE: u64 = 48 << 10;
/// What four times as many files may take more, in KiB. A byte for each would be 176.
const MORE: u64 = 2 << 10;

/// The largest memory since this was called last, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .expect("a peak");
    std::fs::write("/proc/self/clear_refs", "5").expect("begin anew");
    kib.trim().parse().expect("a number")
}

/// An archive of empty files that is never whole in memory.
struct Files {
    next: usize,
    end: usize,
    block: Vec<u8>,
}

impl Files {
    fn new(end: usize) -> Self {
        let (next, block) = (0, Vec::new());
        Files { next, end, block }
    }
}

impl Read for Files {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.block.is_empty() && self.next < self.end {
            let name = format!("directory/{}", self.next);
            self.block = Header::new(name, b'0', 0).bytes();
            self.next += 1;
        }
        let length = self.block.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.block[..length]);
        self.block.drain(..length);
        Ok(length)
    }
}

fn unpack(place: &Place, codec: Codec, reader: impl Read + Send) -> Result<(), unpack::Error> {
    let root = Root::create(&place.root())?;
    let layer = Layer::new(&root).whiteouts(Whiteouts::Overlay).codec(codec);
    layer.unpack(BufReader::new(reader)).map(drop)
}

#[test]
fn memory_does_not_grow_with_a_layer() {
    let Some(fs) = Mounted::tmpfs("memory_does_not_grow_with_a_layer") else {
        return;
    };
    let on_disk = |files| {
        let place = Place::on(Some(&fs.path()));
        unpack(&place, Codec::Plain, Files::new(files)).expect("files");
        place
    };
    peak();
    drop(on_disk(60_000));
    let few = peak();
    let many = on_disk(240_000);
    let peak_of_many = peak();
    assert!(peak_of_many < WHOLE, "{peak_of_many} KiB");
    assert!(peak_of_many < few + MORE, "{few} KiB, then {peak_of_many} KiB");

    // Nor with the number of files that a later layer takes away.
    many.unpack(&tar("w /directory"), Whiteouts::Remove, Limits::default())
        .expect("a whiteout");
    let removing = peak();
    assert!(removing < few + MORE, "{removing} KiB");

    // An index takes so much for each entry; names have 16 bytes here.
    const ENTRY: u64 = 200;
    let place = Place::on(Some(&fs.path()));
    let kept = |name: &str, files| {
        let root = Root::create(&place.root().with_file_name(name)).expect("a folder");
        Layer::new(&root)
            .keep(BufReader::new(Files::new(files)))
            .expect("files");
        root
    };
    peak();
    kept("few", 60_000);
    let few_kept = peak();
    kept("many", 240_000);
    let many_kept = peak();
    assert!(many_kept < WHOLE + 240 * ENTRY, "{many_kept} KiB");
    assert!(
        many_kept < few_kept + 180 * ENTRY,
        "{few_kept} KiB, then {many_kept} KiB"
    );

    // Nor with what a small layer claims to be.
    let place = Place::on(Some(&fs.path()));
    let zeros = std::io::repeat(0).take(400 << 20);
    let bomb = Header::new("zeros", b'0', 7 << 30).bytes();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("zstd");
    std::io::copy(&mut bomb.chain(zeros), &mut encoder).expect("zstd");
    let bytes = encoder.finish().expect("zstd");
    peak();
    let error = unpack(&place, Codec::Zstd, &bytes[..]).expect_err("a bomb");
    assert!(error.to_string().contains("ratio"), "{error}");
    let bomb = peak();
    assert!(bomb < WHOLE, "{bomb} KiB");
}
