// SPDX-License-Identifier: Apache-2.0
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};

use crate::error::Context;
use crate::overlay::{self, How};
use crate::scratch::{Scratch, make};
use crate::stack::Stack;
use crate::{Copy, Erofs, Error, ErrorKind, Layer, Overlay, Snapshotter};

/// The names that [`choose`] knows besides `auto`.
const NAMES: &str = "auto, erofs, overlay, copy";

/// Gives the snapshotter called `name`, after a trial with state under `probe`, an existing directory.
///
/// `auto` is the first that works there: `erofs` is tried by a real mount of a small image, `overlay`
/// by one of two small layers, and `copy` needs no trial. The kernel refuses overlay state on an
/// overlay, which is what the directories of most containers are on.
/// Any other name is obeyed: `erofs` and `overlay` are tried in the same way, and fail with the reason.
///
/// # Errors
/// `Unsupported` for an unknown name; for `erofs` and `overlay` whatever the trial ended with.
pub fn choose(name: &str, probe: &Path) -> Result<Box<dyn Snapshotter>, Error> {
    match name {
        "erofs" => match Erofs::probe(probe) {
            Ok(erofs) => Ok(Box::new(erofs)),
            // Without overlay there is nothing to write to above an image; that is the better reason.
            Err(error) => try_overlay(probe).and(Err(error)),
        },
        "overlay" => try_overlay(probe).map(|()| Box::new(Overlay) as _),
        "copy" => Ok(Box::new(Copy)),
        "auto" => Ok(best(probe)),
        other => {
            let what = format!(
                "no snapshotter (known: {NAMES}) is called: `{}`",
                other.escape_default()
            );
            Err(Error::new(ErrorKind::Unsupported, what))
        }
    }
}

/// The snapshotter called `name`, to unmount what it mounted: no trial, since that may have been by
/// another process, or before the machine changed. None if no snapshotter has the name.
pub fn by_name(name: &str) -> Option<Box<dyn Snapshotter>> {
    match name {
        "erofs" => Some(Box::new(Erofs::default())),
        "overlay" => Some(Box::new(Overlay)),
        "copy" => Some(Box::new(Copy)),
        _ => None,
    }
}

fn best(probe: &Path) -> Box<dyn Snapshotter> {
    // Its trial has an overlay on top, so that a second trial is needed only where it fails.
    let without_erofs = match Erofs::probe(probe) {
        Ok(erofs) => return Box::new(erofs),
        Err(error) => error.in_full(),
    };
    match try_overlay(probe) {
        Ok(()) => {
            tracing::info!(
                "layers will be unpacked to files, since EROFS does not work here: {without_erofs}"
            );
            Box::new(Overlay)
        }
        Err(error) => {
            let why = error.in_full();
            tracing::warn!("layers will be copied, since overlay does not work here: {why}");
            Box::new(Copy)
        }
    }
}

/// Mounts a directory and an opaque one above it, and looks whether the first is hidden: in a user
/// namespace overlayfs may mount and yet not see the attribute.
fn try_overlay(probe: &Path) -> Result<(), Error> {
    let scratch = Scratch::new(probe)?;
    let [lower, upper, state, target] =
        ["lower", "upper", "state", "target"].map(|name| scratch.path.join(name));
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
    overlay::mount("overlay", How::BUNDLE, &state, &target, |_| Stack::open(&layers))?;
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
