// SPDX-License-Identifier: Apache-2.0
//! Looks at an image before the kernel does, which would only say "invalid argument", and would not
//! miss what has been cut off a device until somebody reads it.
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use rustix::fs::{AtFlags, StatxFlags, statx};

use crate::error::{Context, quoted};
use crate::{Error, ErrorKind, Image};

const SUPERBLOCK: u64 = 1024;
const MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const SLOT: u64 = 128;
/// Where a device's slot says how many blocks it has.
const SLOT_BLOCKS: u64 = 64;
/// A loop device counts in this unit, and smaller blocks do not exist.
const SECTOR: u64 = 512;

/// An image whose parts are all there.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) index: File,
    /// Whether the index and all devices can be read past the page cache, in units of 512 bytes.
    pub(super) aligned: bool,
}

/// Checks that an image is one, and that its devices are as many and as long as it says.
pub(super) fn check(image: &Image) -> Result<Checked, Error> {
    let path = &image.index;
    let damaged = |what: &str| damaged("image", what, path);
    let index = open(path)?;
    let length = index.metadata().at("look at image", path)?.len();
    let mut block = [0; 128];
    match index.read_exact_at(&mut block, SUPERBLOCK) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged("has no superblock"));
        }
        other => other.at("read image", path)?,
    }
    if block[..4] != MAGIC {
        return Err(damaged("has no superblock"));
    }
    let bits = u32::from(block[12]);
    if !(9..=16).contains(&bits) {
        return Err(damaged("has blocks of no known size"));
    }
    let bytes = |blocks: u32| u64::from(blocks) << bits;
    if bytes(long(&block, 36)) > length {
        return Err(damaged("is cut short"));
    }
    let (count, table) = (short(&block, 86), u64::from(short(&block, 88)));
    if usize::from(count) != image.devices.len() {
        let what = format!("has {count} devices and not {}", image.devices.len());
        return Err(damaged(&what));
    }
    let mut aligned = is_aligned(&index);
    for (device, at) in image.devices.iter().zip(table..) {
        let mut blocks = [0; 4];
        let place = at.saturating_mul(SLOT).saturating_add(SLOT_BLOCKS);
        if index.read_exact_at(&mut blocks, place).is_err() {
            return Err(damaged("is cut short"));
        }
        let file = open(&device.file)?;
        let length = file.metadata().at("look at device of image", &device.file)?.len();
        let end = device.offset.saturating_add(bytes(u32::from_le_bytes(blocks)));
        if device.offset % SECTOR != 0 || end > length {
            let what = if end > length {
                "is cut short"
            } else {
                "begins at no multiple of 512"
            };
            return Err(self::damaged("device of image", what, &device.file));
        }
        aligned = aligned && is_aligned(&file);
    }
    Ok(Checked { index, aligned })
}

/// Opens a regular file, and waits for nothing else.
fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .at("open part of image", path)?;
    if file.metadata().at("look at part of image", path)?.is_file() {
        return Ok(file);
    }
    Err(damaged("part of image", "is no regular file", path))
}

/// Whether a file can be read past the page cache in units of 512 bytes (Linux 6.1 tells).
fn is_aligned(file: impl AsFd) -> bool {
    let known = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let unit = 1..=SECTOR as u32;
    known.is_ok_and(|known| {
        known.stx_mask & StatxFlags::DIOALIGN.bits() != 0
            && unit.contains(&known.stx_dio_mem_align)
            && unit.contains(&known.stx_dio_offset_align)
    })
}

fn damaged(part: &str, what: &str, path: &Path) -> Error {
    let path: &OsStr = path.as_os_str();
    Error::new(ErrorKind::Layer, format!("{part} {what}: `{}`", quoted(path)))
}

fn short(block: &[u8; 128], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn long(block: &[u8; 128], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}
