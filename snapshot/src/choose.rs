// SPDX-License-Identifier: Apache-2.0
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{XattrFlags, setxattr};

use crate::error::Context;
use crate::{Copy, Error, ErrorKind, Layer, Overlay, Snapshotter};

/// The names that [`choose`] knows besides `auto`.
const NAMES: &str = "auto, overlay, copy";

/// Gives the snapshotter called `name`.
///
/// `auto` is the first that works with state under `probe`, an existing directory: `overlay`, tried by
/// a real mount of two small layers, else `copy`. The kernel refuses overlay state on an overlay, which
/// is what the directories of most containers are on. Any other name is obeyed: `overlay` is tried in
/// the same way, and fails with the reason.
///
/// # Errors
/// `Unsupported` for an unknown name; for `overlay` whatever the trial ended with.
pub fn choose(name: &str, probe: &Path) -> Result<Box<dyn Snapshotter>, Error> {
    match name {
        "overlay" => try_overlay(probe).map(|()| Box::new(Overlay) as _),
        "copy" => Ok(Box::new(Copy)),
        "auto" => Ok(match try_overlay(probe) {
            Ok(()) => Box::new(Overlay),
            Err(error) => {
                let cause = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                tracing::warn!("layers will be copied, since overlay does not work here: {error}: {cause}");
                Box::new(Copy)
            }
        }),
        other => {
            let what = format!(
                "no snapshotter (known: {NAMES}) is called: `{}`",
                other.escape_default()
            );
            Err(Error::new(ErrorKind::Unsupported, what))
        }
    }
}

/// Mounts a directory and an opaque one above it, and looks whether the first is hidden: in a user
/// namespace overlayfs may mount and yet not see the attribute.
fn try_overlay(probe: &Path) -> Result<(), Error> {
    let scratch = Scratch::new(probe)?;
    let [lower, upper, state, target] =
        ["lower", "upper", "state", "target"].map(|name| scratch.0.join(name));
    for dir in [
        &lower,
        &lower.join("dir"),
        &lower.join("dir/hidden"),
        &upper,
        &upper.join("dir"),
        &state,
        &target,
    ] {
        make(dir)?;
    }
    setxattr(
        upper.join("dir"),
        c"trusted.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )
    .at("set attribute trusted.overlay.opaque on", &upper)?;
    let layers = [lower, upper].map(|tree| Layer {
        tree,
        ..Layer::default()
    });
    Overlay.mount(&layers, &state, &target)?;
    let merged = target.join("dir").is_dir() && !target.join("dir/hidden").exists();
    Overlay.unmount(&state, &target)?;
    if merged {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "overlay does not honour opaque directories here",
    ))
}

/// A directory of one's own, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".probe-{}-{number}", std::process::id()));
        make(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), "cannot remove a probe's directory: {error}");
        }
    }
}

fn make(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .at("make directory", dir)
}
