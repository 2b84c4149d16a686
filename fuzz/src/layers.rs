// SPDX-License-Identifier: Apache-2.0
//! Layers: archives, compression and changesets.

use std::io::{Read, Write};
use std::path::PathBuf;

use tempfile::TempDir;
use unpack::{Codec, ErrorKind, Layer, Limits, Root, Whiteouts};

#[path = "../../unpack/tests/model/mod.rs"]
mod model;

/// What the listing of an attacked folder and std's removal of it can bear.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.depth = 64;
    limits.file_bytes = 1 << 24;
    limits.layer_bytes = 1 << 24;
    limits
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("outside")).expect("outside");
        std::fs::write(dir.path().join("outside/canary"), "untouched").expect("canary");
        Place { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// All that is beside the root.
    fn outside(&self) -> (String, usize) {
        let beside = std::fs::read_dir(self.dir.path()).expect("read").count();
        (fixture::tree(self.dir.path().join("outside")), beside)
    }
}

/// An archive of any bytes, in both forms and twice: it is refused or stays below its root.
pub fn tar_stream(bytes: &[u8]) {
    for whiteouts in [Whiteouts::Overlay, Whiteouts::Remove] {
        let place = Place::new();
        let root = Root::create(&place.root()).expect("a root");
        let before = place.outside();
        let unpack = || {
            Layer::new(&root)
                .whiteouts(whiteouts)
                .limits(limits())
                .unpack(bytes)
        };
        let first = unpack();
        let second = unpack();
        assert_eq!(place.outside(), before, "{whiteouts:?}");
        if let Ok(done) = first {
            assert_eq!(done.diff_id, image_spec::Digest::sha256(bytes));
            assert_eq!(done.bytes, bytes.len() as u64);
            let notes = done.notes.encode();
            assert_eq!(unpack::Notes::decode(&notes), Some(done.notes));
        }
        if whiteouts == Whiteouts::Remove
            && let Err(e) = second
        {
            assert!(e.to_string().len() < 1 << 20);
        }
    }
}

/// Layers out of choices: in both forms the disk and the model agree. Only root can make devices.
pub fn changeset(bytes: &[u8]) {
    let program = model::Program::decode(bytes);
    let place = Place::new();
    for (check, folder) in [
        (model::check as fn(&_, &_) -> _, "root"),
        (model::check_stacked, "layers"),
    ] {
        if let Err(what) = check(&program, &place.dir.path().join(folder)) {
            panic!("{program}{what}");
        }
    }
}

/// Compressed bytes behind a first member or frame that holds a whole archive: what is refused and
/// what comes out is what the reference decoders say. The first byte chooses the codec.
pub fn codecs(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let archive = [0; 1024];
    let (codec, whole) = match choice % 2 {
        0 => (Codec::Gzip, [gzip(&archive), bytes.to_vec()].concat()),
        _ => {
            let frame = zstd::encode_all(&archive[..], 1).expect("zstd");
            (Codec::Zstd, [frame, bytes.to_vec()].concat())
        }
    };
    let want = match codec {
        Codec::Gzip => gunzip(&whole),
        _ => zstd::Decoder::new(&whole[..]).ok().and_then(read),
    };
    let place = Place::new();
    let root = Root::create(&place.root()).expect("a root");
    let done = Layer::new(&root).codec(codec).limits(limits()).unpack(&whole[..]);
    match (done, want) {
        (Ok(done), Some(want)) => assert_eq!(done.diff_id, image_spec::Digest::sha256(&want)),
        (Ok(_), None) => panic!("{codec:?}: damaged bytes are accepted"),
        (Err(e), want) => {
            let bounded = matches!(e.kind(), ErrorKind::Limit(..));
            assert!(
                bounded || want.is_none(),
                "{codec:?}: good bytes are refused: {e}"
            );
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

/// Member after member to the end of the bytes.
fn gunzip(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(bytes);
        all.extend(read(&mut member)?);
        bytes = member.into_inner();
    }
    Some(all)
}

/// The contents, if they end well; more than the limit allows is cut, for nobody will ask.
fn read(decoder: impl Read) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let most = limits().layer_bytes + 1;
    decoder.take(most).read_to_end(&mut all).ok()?;
    Some(all)
}
