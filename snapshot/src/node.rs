// SPDX-License-Identifier: Apache-2.0
//! Copies of single inodes.
use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mknodat};
use nix::unistd::{Whence, ftruncate, lseek, symlinkat};

use crate::dir::{HANDLE, beneath, file_type};
use crate::meta::{Meta, errno};

/// Bytes asked of the kernel at once, so that a signal or an error is seen soon.
const CHUNK: usize = 64 << 20;
/// Bytes moved through memory at once where the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;

/// Copies inodes other than directories, and remembers what the two file systems cannot do together.
#[derive(Debug)]
pub(crate) struct Copier {
    shares_blocks: Cell<bool>,
    copies_ranges: Cell<bool>,
}

impl Copier {
    pub(crate) fn new() -> Self {
        Copier {
            shares_blocks: Cell::new(true),
            copies_ranges: Cell::new(true),
        }
    }

    /// Makes `name` in `dir` equal to `path` beneath `root`, with all its metadata.
    pub(crate) fn copy(&self, root: &OwnedFd, path: &[u8], dir: impl AsFd, name: &[u8]) -> nix::Result<()> {
        let source = beneath(root, path, HANDLE)?;
        let stat = fstat(&source)?;
        let meta = Meta::read(&source)?;
        let kind = file_type(&stat);
        let made = match kind {
            SFlag::S_IFREG => {
                // The handle above is known to be a regular file: opening anything else could block or act.
                let from = beneath(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
                let to = openat(
                    &dir,
                    name,
                    flags | OFlag::O_CLOEXEC,
                    Mode::S_IRUSR | Mode::S_IWUSR,
                )?;
                self.content(&from, &to, &stat)?;
                to
            }
            SFlag::S_IFLNK => {
                symlinkat(readlinkat(&source, c"")?.as_os_str(), &dir, name)?;
                beneath(&dir, name, HANDLE)?
            }
            SFlag::S_IFDIR => return Err(Errno::EISDIR),
            _ => {
                mknodat(&dir, name, kind, Mode::empty(), stat.st_rdev)?;
                beneath(&dir, name, HANDLE)?
            }
        };
        meta.apply(&made)
    }

    fn content(&self, from: &OwnedFd, to: &OwnedFd, stat: &FileStat) -> nix::Result<()> {
        if stat.st_size == 0 {
            return Ok(());
        }
        if self.shares_blocks.get() {
            match rustix::fs::ioctl_ficlone(to, from).map_err(errno) {
                Ok(()) => return Ok(()),
                Err(error) if is_incapable(error) => self.shares_blocks.set(false),
                Err(error) => return Err(error),
            }
        }
        // A file whose blocks cover it has no holes to look for.
        if stat.st_blocks.saturating_mul(512) >= stat.st_size {
            return self.range(from, to, 0, stat.st_size);
        }
        ftruncate(to, stat.st_size)?;
        let mut at = 0;
        while let Some(start) = seek(from, at, Whence::SeekData)? {
            let end = seek(from, start, Whence::SeekHole)?
                .unwrap_or(stat.st_size)
                .min(stat.st_size);
            if end <= start {
                break;
            }
            self.range(from, to, start, end)?;
            at = end;
        }
        Ok(())
    }

    fn range(&self, from: &OwnedFd, to: &OwnedFd, mut at: i64, end: i64) -> nix::Result<()> {
        while self.copies_ranges.get() && at < end {
            let mut read = u64::try_from(at).map_err(|_| Errno::EINVAL)?;
            let mut written = read;
            let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let copied = rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut written), length);
            match copied.map_err(errno) {
                // Some file systems answer so instead of refusing.
                Ok(0) => self.copies_ranges.set(false),
                Ok(copied) => at += i64::try_from(copied).unwrap_or(0),
                Err(Errno::EINTR) => {}
                Err(error) if is_incapable(error) => self.copies_ranges.set(false),
                Err(error) => return Err(error),
            }
        }
        through_memory(from, to, at, end)
    }
}

fn through_memory(from: &OwnedFd, to: &OwnedFd, at: i64, end: i64) -> nix::Result<()> {
    let io = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    if at >= end {
        return Ok(());
    }
    let from = File::from(from.try_clone().map_err(io)?);
    let to = File::from(to.try_clone().map_err(io)?);
    let mut at = u64::try_from(at).map_err(|_| Errno::EINVAL)?;
    let end = u64::try_from(end).map_err(|_| Errno::EINVAL)?;
    let mut buffer = vec![0; BUFFER];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(BUFFER).min(BUFFER);
        // A file that became shorter is no longer the layer's file.
        from.read_exact_at(&mut buffer[..length], at).map_err(io)?;
        to.write_all_at(&buffer[..length], at).map_err(io)?;
        at += length as u64;
    }
    Ok(())
}

/// The next data or hole from `at` on; none at the end of the file.
fn seek(fd: impl AsFd, at: i64, whence: Whence) -> nix::Result<Option<i64>> {
    match lseek(fd, at, whence) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_incapable(error: Errno) -> bool {
    matches!(
        error,
        Errno::EXDEV | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::ENOTTY | Errno::EPERM
    )
}
