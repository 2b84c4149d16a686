// SPDX-License-Identifier: Apache-2.0
//! The kernel's overlay file system.
mod kernel;

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};

use crate::dir::{self, DIRECTORY, beneath, open_dir, require_empty};
use crate::erofs::images;
use crate::error::Context;
use crate::seam::Seam;
use crate::snapshotter::{Layer, Mounted, Snapshotter};
use crate::stack::{Rules, Stack};
use crate::{Error, ErrorKind, remove};

pub(crate) use kernel::How;

/// OVL_MAX_STACK: how many lower layers the kernel stacks.
const MAX_LAYERS: usize = 500;

const UPPER: &CStr = c"upper";
const WORK: &CStr = c"work";
const SEAM: &CStr = c"seam";

/// Stacks the layers' trees by overlayfs; nothing is copied.
///
/// Layers, `state` and the writable directory in it are handed to the kernel by handle, so paths may
/// have any length, and up to 500 layers mount. The trees are never written to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overlay;

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn mount(&self, layers: &[Layer], state: &Path, target: &Path) -> Result<Mounted, Error> {
        mount(self.name(), How::BUNDLE, state, target, |_| Stack::open(layers))
    }

    fn unmount(&self, state: &Path, target: &Path) -> Result<(), Error> {
        let state_dir = match open_dir(state) {
            Ok(dir) => dir,
            Err(_) if !state.exists() => return detach(target),
            Err(error) => return Err(error),
        };
        // Without the writable directory this mount is over, and what is at `target` is somebody else's.
        if let Err(Errno::ENOENT) = beneath(&state_dir, UPPER.to_bytes(), DIRECTORY) {
            return clear(&state_dir).at("remove content of", state);
        }
        detach(target)?;
        clear(&state_dir).at("remove content of", state)
    }

    fn usage(&self, state: &Path) -> Result<u64, Error> {
        let upper =
            beneath(open_dir(state)?, UPPER.to_bytes(), DIRECTORY).at("open upper directory in", state)?;
        dir::usage(&upper).at("measure", state)
    }
}

/// Mounts what `open` stacks, in the name of a snapshotter; `open` may keep images below the state.
pub(crate) fn mount<'a>(
    name: &'static str,
    how: How<'_>,
    state: &Path,
    target: &Path,
    open: impl FnOnce(&OwnedFd) -> Result<Stack<'a>, Error>,
) -> Result<Mounted, Error> {
    let target_dir = open_dir(target)?;
    require_empty(&target_dir, target)?;
    let state_dir = open_dir(state)?;
    require_empty(&state_dir, state)?;
    let done = open(&state_dir).and_then(|stack| {
        assemble(how, &stack, &state_dir, &target_dir)?;
        Ok(stack.len())
    });
    match done {
        Ok(layers) => {
            tracing::debug!(layers, target = %target.display(), "mounted by {name}");
            Ok(Mounted {
                snapshotter: name,
                target: target.to_owned(),
            })
        }
        Err(error) => {
            if let Err(left) = clear(&state_dir) {
                tracing::warn!(state = %state.display(), "cannot clean up after a failed mount: {left}");
            }
            Err(error)
        }
    }
}

fn assemble(how: How<'_>, stack: &Stack<'_>, state: &OwnedFd, target: &OwnedFd) -> Result<(), Error> {
    let live = stack
        .dir(b"", stack.sight(Rules::Image))?
        .map(|root| root.live.clone())
        .unwrap_or_default();
    let seam = Seam::plan(stack)?;
    // The kernel wants a lower layer even where the image has none.
    let with_seam = seam.is_needed() || live.is_empty();
    let count = live.len() + usize::from(with_seam);
    if count > MAX_LAYERS {
        let what = format!("overlay stacks at most {MAX_LAYERS} layers, this image needs: {count}");
        return Err(Error::new(ErrorKind::TooManyLayers, what));
    }

    let upper = make(state, UPPER)?;
    let work = make(state, WORK)?;
    let mut lower = Vec::with_capacity(count);
    let seam_dir = with_seam.then(|| make(state, SEAM)).transpose()?;
    if let Some(dir) = &seam_dir {
        seam.write(stack, dir)?;
        lower.push(dir.as_fd());
    }
    lower.extend(live.iter().map(|&layer| stack.root(layer).as_fd()));
    // The writable directory's root is the root of the merged tree.
    stack
        .root_meta()?
        .apply(&upper)
        .at("set metadata of root directory", "upper")?;
    kernel::mount(how, &lower, upper.as_fd(), work.as_fd(), target.as_fd())
}

fn make(state: &OwnedFd, name: &CStr) -> Result<OwnedFd, Error> {
    mkdirat(state, name, Mode::S_IRWXU)
        .and_then(|()| beneath(state, name.to_bytes(), DIRECTORY))
        .at("make directory", name.to_string_lossy().as_ref())
}

/// Removes what a mount keeps in its state directory; last what tells that there is a mount.
fn clear(state: &OwnedFd) -> nix::Result<()> {
    images::remove(state)?;
    [SEAM, WORK, UPPER]
        .into_iter()
        .try_for_each(|name| remove::name(state, name))
}

/// Unmounts an overlay; anything else at `target` is not ours and stays.
fn detach(target: &Path) -> Result<(), Error> {
    let dir = match open_dir(target) {
        Ok(dir) => dir,
        Err(_) if target.symlink_metadata().is_err() => return Ok(()),
        Err(error) => return Err(error),
    };
    if fstatfs(&dir)
        .at("ask for the file system of", target)?
        .filesystem_type()
        != OVERLAYFS_SUPER_MAGIC
    {
        return Ok(());
    }
    drop(dir);
    match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        // In use: gone for everyone who comes later, and for the users once they leave.
        Err(Errno::EBUSY) => umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH),
        // Not a mount point, only a directory of some overlay.
        Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        other => other,
    }
    .at("unmount", target)
}

#[cfg(test)]
mod tests {
    use super::kernel::Way;
    use super::*;
    use crate::error::quoted;

    /// The Linux that first knew a way.
    fn since(way: Way) -> (u32, u32) {
        match way {
            Way::Handle => (6, 13),
            Way::Path => (6, 5),
            Way::Page => (0, 0),
        }
    }

    fn release() -> (u32, u32) {
        let name = nix::sys::utsname::uname().expect("uname");
        let mut numbers = name.release().to_str().expect("text").split(['.', '-']);
        let mut number = || numbers.next().and_then(|text| text.parse().ok()).expect("number");
        (number(), number())
    }

    /// Each way of talking to the kernel, alone, must give a mount, so that old kernels are covered.
    #[test]
    fn every_way_mounts() {
        if !nix::unistd::geteuid().is_root() {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: mounting needs root");
            }
            return;
        }
        let known = Way::ALL.iter().filter(|way| release() >= since(**way));
        for (way, volatile) in known.flat_map(|&way| [(way, false), (way, true)]) {
            let temp = tempfile::tempdir().expect("temporary directory");
            let path = |name: &str| temp.path().join(name);
            let layers = ["bottom", "top"].map(|name| {
                std::fs::create_dir(path(name)).expect("layer");
                std::fs::write(path(name).join(name), name).expect("file");
                Layer {
                    tree: path(name),
                    ..Layer::default()
                }
            });
            for name in ["state", "target"] {
                std::fs::create_dir(path(name)).expect("directory");
            }
            let ways = &[way];
            let how = How { ways, volatile };
            let mounted = mount("overlay", how, &path("state"), &path("target"), |_| {
                Stack::open(&layers)
            });
            mounted
                .unwrap_or_else(|error| panic!("{way:?}: {error}: {:?}", std::error::Error::source(&error)));
            for name in ["bottom", "top"] {
                assert_eq!(
                    std::fs::read_to_string(path("target").join(name)).expect("read"),
                    name,
                    "{way:?}"
                );
            }
            std::fs::write(path("target").join("bottom"), "changed").expect("write");
            assert_eq!(
                std::fs::read_to_string(path("bottom/bottom")).expect("read"),
                "bottom",
                "{way:?}"
            );
            Overlay.unmount(&path("state"), &path("target")).expect("unmount");
            assert!(
                !path("target").join("top").exists(),
                "{way:?} {}",
                quoted(path("target").as_os_str())
            );
        }
    }
}
