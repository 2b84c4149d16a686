// SPDX-License-Identifier: Apache-2.0
//! Loop devices, for kernels and file systems where EROFS cannot be mounted from a file.
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::Error;
use crate::error::Context;
use crate::sys::{self, AUTOCLEAR, DIRECT_IO, READ_ONLY};

/// How often another process may take the free device first.
const TRIES: usize = 100;

/// A device that is bound to a file as long as this, or a mount, holds it.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) path: PathBuf,
    _held: File,
}

/// Binds a free loop device to a part of a file, read-only; with `direct` it reads past the file's page
/// cache if it can.
pub(super) fn bind(path: &Path, offset: u64, direct: bool) -> Result<Loop, Error> {
    let file = File::open(path).at("open part of image", path)?;
    let control = Path::new("/dev/loop-control");
    let opened = File::options().read(true).write(true).open(control);
    let opened = opened.at("make loop devices by", control)?;
    let mut tries = TRIES;
    loop {
        let number = sys::free_loop(&opened).at("make a loop device by", control)?;
        let name = PathBuf::from(format!("/dev/loop{number}"));
        tries -= 1;
        match take(&name, &file, offset, direct) {
            Ok(held) => {
                return Ok(Loop {
                    path: name,
                    _held: held,
                });
            }
            Err(error) if tries > 0 && was_taken(&error) => {}
            Err(error) => return Err(error).at("bind a loop device to", path),
        }
    }
}

fn take(device: &Path, file: &File, offset: u64, direct: bool) -> io::Result<File> {
    let device = File::open(device)?;
    let flags = READ_ONLY | AUTOCLEAR;
    let more = if direct { DIRECT_IO } else { 0 };
    match sys::configure_loop(&device, file, offset, flags | more) {
        Err(error) if direct && error.raw_os_error() == Some(Errno::EINVAL as i32) => {
            sys::configure_loop(&device, file, offset, flags)?;
        }
        other => other?,
    }
    Ok(device)
}

/// Whether another process bound the device, or removed it, since the kernel called it free.
fn was_taken(error: &io::Error) -> bool {
    let error = error.raw_os_error().map(Errno::from_raw);
    matches!(error, Some(Errno::EBUSY | Errno::ENXIO | Errno::ENODEV))
}

/// Whether the device at `path` is bound to the whole of a file.
pub(super) fn holds(path: &Path, file: &std::fs::Metadata) -> bool {
    let info = File::open(path).and_then(sys::loop_info);
    info.is_ok_and(|info| info.offset == 0 && (info.device, info.inode) == (file.dev(), file.ino()))
}
