// SPDX-License-Identifier: Apache-2.0
//! `Config.Volumes`: directories whose content is the container's, not the image's.
use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use image_spec::runtime::Mount;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use crate::dir::{HANDLE, entries, file_type};
use crate::error::Context;
use crate::stack::{Inode, inode};
use crate::{Error, ErrorKind};

/// The runtime's own: a mount there would undo what it hides and protects (CVE-2019-16884).
const RESERVED: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Each volume is a mount, of which a namespace has 100000; no image declares more than a few.
const MAX_VOLUMES: usize = 1000;
/// PATH_MAX.
const MAX_PATH: usize = 4095;

/// The destinations, absolute and without `.`, `..` or empty components; parents first.
pub(super) fn destinations(volumes: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    if volumes.len() > MAX_VOLUMES {
        let what = format!("image has more than {MAX_VOLUMES} volumes: {}", volumes.len());
        return Err(Error::new(ErrorKind::Config, what));
    }
    volumes.iter().map(|volume| destination(volume)).collect()
}

fn destination(volume: &str) -> Result<String, Error> {
    let parts = volume
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect::<Vec<_>>();
    if !volume.starts_with('/') || parts.contains(&"..") || volume.contains('\0') || volume.len() > MAX_PATH {
        return Err(refuse("is not an absolute path without `..`", volume));
    }
    let path = format!("/{}", parts.join("/"));
    let covers = |reserved: &str| {
        path.strip_prefix(reserved)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if parts.is_empty() || RESERVED.into_iter().any(covers) {
        return Err(refuse("would cover what the runtime mounts", volume));
    }
    Ok(path)
}

/// The mounts for `destinations` in the root filesystem `root`.
pub(super) fn mounts(destinations: &BTreeSet<String>, root: &OwnedFd) -> Result<Vec<Mount>, Error> {
    let mut reserved = Vec::new();
    for path in RESERVED {
        match follow(root, path) {
            Ok(handle) => reserved.push(inode(&fstat(handle).at("look at in the image", path)?)),
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error).at("open in the image", path),
        }
    }
    let mut mounts = Vec::new();
    for path in destinations {
        let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), "relatime".to_owned()];
        match place(root, path, &reserved)? {
            Some(dir) if holds_anything(&dir).at("read in the image", path)? => {
                tracing::debug!(
                    "volume stays on the root filesystem, for the image has content there: `{path}`"
                );
                continue;
            }
            Some(dir) => {
                let stat = fstat(&dir).at("look at in the image", path)?;
                options.push(format!("mode={:04o}", stat.st_mode & 0o7777));
                options.extend([format!("uid={}", stat.st_uid), format!("gid={}", stat.st_gid)]);
            }
            None => options.push("mode=0755".to_owned()),
        }
        let mut mount = Mount::new(path, "tmpfs", "tmpfs", &[]);
        mount.options = options;
        mounts.push(mount);
    }
    Ok(mounts)
}

/// Where a volume is, if the directory exists, after a check that the way there does not lead, by the
/// image's links, to what is reserved or to nowhere.
fn place(root: &OwnedFd, path: &str, reserved: &[Inode]) -> Result<Option<OwnedFd>, Error> {
    let mut existing = path;
    let handle = loop {
        match follow(root, existing) {
            Ok(handle) => break handle,
            Err(Errno::ENOENT) => {
                let (parent, name) = existing.rsplit_once('/').unwrap_or_default();
                let parent = if parent.is_empty() { "/" } else { parent };
                let is_there = follow(root, parent)
                    .and_then(|dir| fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW))
                    .is_ok();
                if is_there {
                    return Err(refuse("has a link to nowhere in its path", path));
                }
                existing = parent;
            }
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(refuse("is below what is no directory", path)),
            Err(error) => return Err(error).at("open in the image", path),
        }
    };
    let stat = fstat(&handle).at("look at in the image", path)?;
    if file_type(&stat) != SFlag::S_IFDIR {
        return Err(refuse("is not a directory in the image", path));
    }
    let top = inode(&fstat(root).at("look at in the image", "/")?);
    if inode(&stat) == top {
        // Links may have led back here, so what remains of the path counts.
        destination(&format!("/{}", path.strip_prefix(existing).unwrap_or_default()))?;
    }
    if leads_to(&handle, stat, top, reserved).at("look at in the image", path)? {
        return Err(refuse("would cover what the runtime mounts", path));
    }
    Ok((existing == path).then_some(handle))
}

/// Whether a directory is one of the reserved ones or below one of them.
fn leads_to(dir: &OwnedFd, stat: FileStat, top: Inode, reserved: &[Inode]) -> nix::Result<bool> {
    let mut here = inode(&stat);
    let mut up = dir.try_clone().map_err(|_| Errno::EMFILE)?;
    while here != top {
        if reserved.contains(&here) {
            return Ok(true);
        }
        up = nix::fcntl::openat(
            &up,
            c"..",
            HANDLE | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )?;
        let above = inode(&fstat(&up)?);
        if above == here {
            // The top of the system, which is not below the image's root: it moved meanwhile.
            return Ok(true);
        }
        here = above;
    }
    Ok(false)
}

fn holds_anything(dir: impl AsFd) -> nix::Result<bool> {
    Ok(entries(dir)?.next().transpose()?.is_some())
}

/// Opens what a path means to a process whose root is `root`.
fn follow(root: &OwnedFd, path: &str) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(HANDLE | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

fn refuse(why: &str, volume: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        format!("image's volume {why}: `{}`", volume.escape_default()),
    )
}
