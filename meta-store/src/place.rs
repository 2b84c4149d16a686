// SPDX-License-Identifier: Apache-2.0
//! The way of content from a stage to its place.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstatat, mkdirat};

use crate::dirs::{c_name, is};
use crate::error::{Error, ErrorKind};
use crate::{Stage, remove};

/// Names in a stage that are not the writer's.
const OURS: [&str; 4] = ["lock", "placed", "replaced", "unrecorded"];

/// The name, if it is one and stands for something of this kind in the stage.
pub(crate) fn checked(stage: &Stage, name: &str, kind: SFlag) -> Result<CString, Error> {
    let found = fstatat(stage.dir(), c_name(name).as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
    if is_plain(name) && !OURS.contains(&name) && found.is_ok_and(|stat| is(&stat, kind)) {
        return Ok(c_name(name));
    }
    let what = match kind {
        SFlag::S_IFDIR => "not a directory of the stage",
        _ => "not a file of the stage",
    };
    Err(Error::new(ErrorKind::Invalid, what, name))
}

/// Whether the text is the name of one entry of a directory.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(one)), None) if one == name
    )
}

/// `stage/from` becomes `folder/name/to`, by a rename of its new parent as the last step. What stood there is left in
/// the stage.
pub(crate) fn place(stage: &Stage, from: &CStr, folder: &OwnedFd, name: &str, to: &CStr) -> nix::Result<()> {
    let stage = stage.dir();
    match renameat(folder, name, stage, c"replaced") {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    mkdirat(stage, c"placed", Mode::S_IRWXU)?;
    let parent = remove::open_dir(stage, c"placed")?;
    adopt(stage, from, &parent, to)?;
    renameat(stage, c"placed", folder, name)
}

/// Takes back what was placed, when its record did not get in: it goes with the stage. Should that
/// fail, the next sweep finds it.
pub(crate) fn take_back(stage: &Stage, folder: &OwnedFd, name: &str) {
    let _ = renameat(folder, name, stage.dir(), c"unrecorded");
}

/// Moves an entry under another parent. Of a directory that writes its `..`, which is done whatever
/// its own mode says.
fn adopt(from: &OwnedFd, name: &CStr, to: &OwnedFd, new: &CStr) -> nix::Result<()> {
    match renameat(from, name, to, new) {
        Err(Errno::EACCES) => {}
        done => return done,
    }
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let dir = remove::open_dir(from, name)?;
    fchmod(&dir, Mode::S_IRWXU)?;
    renameat(from, name, to, new)?;
    fchmod(&dir, Mode::from_bits_truncate(stat.st_mode))
}
