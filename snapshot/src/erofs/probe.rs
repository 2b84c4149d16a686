// SPDX-License-Identifier: Apache-2.0
//! How this kernel mounts images, found out by doing it.
use std::fs;
use std::path::Path;

use super::kernel::Way;
use super::{Erofs, kernel, tiny};
use crate::error::Context;
use crate::overlay::How;
use crate::scratch::{Scratch, make};
use crate::{Device, Error, ErrorKind, Image, Layer, Overlay, Snapshotter};

const NAME: &str = "probe";
const CONTENT: &[u8] = b"read through the image\n";

/// One way to mount, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    way: Way,
    /// The size of blocks, as a power of two.
    bits: u8,
    name: &'static str,
}

const STEPS: [Step; 3] = [
    Step {
        way: Way::File,
        bits: 9,
        name: "from files",
    },
    Step {
        way: Way::Loop,
        bits: 9,
        name: "from loop devices with blocks of 512 bytes",
    },
    Step {
        way: Way::Loop,
        bits: 12,
        name: "from loop devices with blocks of 4096 bytes",
    },
];

pub(super) fn probe(dir: &Path) -> Result<Erofs, Error> {
    kernel::require()?;
    first(|step| trial(dir, step))
}

/// The first step that goes well.
fn first(mut trial: impl FnMut(Step) -> Result<(), Error>) -> Result<Erofs, Error> {
    let mut reasons = Vec::new();
    for step in STEPS {
        match trial(step) {
            Ok(()) => {
                tracing::debug!("images can be mounted {}", step.name);
                return Ok(Erofs {
                    by_file: step.way == Way::File,
                    small_blocks: step.bits == 9,
                    direct: false,
                });
            }
            // Whatever way is tried.
            Err(error) if matches!(error.kind(), ErrorKind::NotPermitted | ErrorKind::NoSpace) => {
                return Err(error);
            }
            Err(error) => reasons.push(format!("{}: {}", step.name, error.in_full())),
        }
    }
    let what = format!("images cannot be mounted here: {}", reasons.join("; "));
    Err(Error::new(ErrorKind::Unsupported, what))
}

/// Mounts an image as a bundle's is mounted, and reads the file in it.
fn trial(dir: &Path, step: Step) -> Result<(), Error> {
    let scratch = Scratch::new(dir)?;
    let [index, data, state, target] =
        ["index", "data", "state", "target"].map(|name| scratch.path.join(name));
    make(&state)?;
    make(&target)?;
    let block = 1_usize << step.bits;
    // Only loop devices have a beginning within a file; where blocks are large, they need one.
    let offset = if step.bits == 9 { 0 } else { 512 };
    // The file is in the second block of the device.
    let mut device = vec![0; offset + 2 * block];
    device[offset + block..][..CONTENT.len()].copy_from_slice(CONTENT);
    let file = tiny::File {
        name: NAME,
        mode: 0o100_600,
        size: CONTENT.len() as u32,
        device: 0,
        block: 1,
    };
    fs::write(&index, tiny::image(step.bits, &[file], &[2])).at("write image", &index)?;
    fs::write(&data, device).at("write device of image", &data)?;
    let layer = Layer {
        image: Some(Image {
            index,
            devices: vec![Device {
                file: data,
                offset: offset as u64,
            }],
        }),
        ..Layer::default()
    };
    Erofs::default().mount_by(&[step.way], How::BUNDLE, &[layer], &state, &target)?;
    let read = fs::read(target.join(NAME));
    Overlay.unmount(&state, &target)?;
    if read.at("read a file of an image mounted at", &target)? == CONTENT {
        return Ok(());
    }
    let what = "a file of a mounted image has not the content that it should have";
    Err(Error::new(ErrorKind::Unsupported, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(kind: ErrorKind, what: &str) -> Result<(), Error> {
        Err(Error::new(kind, what))
    }

    #[test]
    fn the_first_way_that_works_is_taken() {
        let erofs = |by_file, small_blocks| Erofs {
            by_file,
            small_blocks,
            direct: false,
        };
        let wants = [erofs(true, true), erofs(false, true), erofs(false, false)];
        for (nth, want) in wants.into_iter().enumerate() {
            let mut tried = Vec::new();
            let found = first(|step| {
                tried.push(step);
                if step == STEPS[nth] {
                    Ok(())
                } else {
                    refuse(ErrorKind::Unsupported, "not here")
                }
            });
            assert_eq!(found.expect("a way"), want);
            assert_eq!(tried, STEPS[..=nth]);
        }
    }

    #[test]
    fn where_no_way_works_every_reason_is_told() {
        let error = first(|step| refuse(ErrorKind::Io, &format!("no {:?}", step.way))).expect_err("no way");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.to_string(),
            "images cannot be mounted here: from files: no File; from loop devices with blocks of 512 bytes: no Loop; from loop devices with blocks of 4096 bytes: no Loop"
        );
    }

    #[test]
    fn what_stops_every_way_is_told_at_once() {
        for kind in [ErrorKind::NotPermitted, ErrorKind::NoSpace] {
            let mut tries = 0;
            let error = first(|_| {
                tries += 1;
                refuse(kind, "stop")
            });
            assert_eq!((error.expect_err("no way").kind(), tries), (kind, 1));
        }
    }
}
