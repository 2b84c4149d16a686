// SPDX-License-Identifier: Apache-2.0
//! The image's own `/etc/passwd` and `/etc/group`, read as the hostile text they may be: inside the
//! root filesystem, regular files only, with limits, and through no code of the image.
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::dir::{file_type, proc_path};
use crate::error::Context;
use crate::{Error, ErrorKind};

/// Room for some ten thousand accounts; more are no file of a container image.
const MAX_FILE: u64 = 4 << 20;
/// Room for a group of a few thousand members.
const MAX_LINE: usize = 64 << 10;

/// The largest user or group id: all ones means "no change" to the kernel.
pub(super) const MAX_ID: u32 = u32::MAX - 1;

pub(super) struct Account {
    pub(super) name: Vec<u8>,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

pub(super) enum Key<'a> {
    Id(u32),
    Name(&'a [u8]),
}

/// One of the two files.
pub(super) struct Table {
    path: &'static str,
    text: Vec<u8>,
}

impl Table {
    pub(super) fn passwd(root: &OwnedFd) -> Result<Self, Error> {
        Self::read(root, "/etc/passwd")
    }

    pub(super) fn group(root: &OwnedFd) -> Result<Self, Error> {
        Self::read(root, "/etc/group")
    }

    /// A missing file is an empty one.
    fn read(root: &OwnedFd, path: &'static str) -> Result<Self, Error> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let handle = match openat2(root, path, how) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => {
                return Ok(Table {
                    path,
                    text: Vec::new(),
                });
            }
            other => other.at("open in the image", path)?,
        };
        // Looked at before it is opened for reading: opening a device may do something.
        if file_type(&fstat(&handle).at("look at in the image", path)?) != SFlag::S_IFREG {
            return Err(unfit(path, "is no regular file"));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = open(proc_path(&handle).as_str(), flags, Mode::empty()).at("open in the image", path)?;
        let mut text = Vec::new();
        File::from(file)
            .take(MAX_FILE + 1)
            .read_to_end(&mut text)
            .at("read in the image", path)?;
        if text.len() as u64 > MAX_FILE {
            return Err(unfit(path, &format!("is longer than {MAX_FILE} bytes")));
        }
        if text
            .split(|&byte| byte == b'\n')
            .any(|line| line.len() > MAX_LINE)
        {
            return Err(unfit(path, &format!("has a line longer than {MAX_LINE} bytes")));
        }
        Ok(Table { path, text })
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&[u8]>> {
        self.text
            .split(|&byte| byte == b'\n')
            .map(|line| line.split(|&byte| byte == b':').collect())
    }

    /// The first account with this id or name, in `/etc/passwd`.
    pub(super) fn account(&self, key: &Key<'_>) -> Result<Option<Account>, Error> {
        for fields in self.lines() {
            let [name, _, uid, gid, ..] = fields.as_slice() else {
                continue;
            };
            let found = match key {
                Key::Id(id) => number(uid) == Some(*id),
                Key::Name(wanted) => name == wanted,
            };
            if found {
                let (uid, gid) = (self.id(name, uid)?, self.id(name, gid)?);
                return Ok(Some(Account {
                    name: name.to_vec(),
                    uid,
                    gid,
                }));
            }
        }
        Ok(None)
    }

    /// The id of the first group with this name, in `/etc/group`.
    pub(super) fn group_id(&self, wanted: &[u8]) -> Result<Option<u32>, Error> {
        for fields in self.lines() {
            if let [name, _, gid, ..] = fields.as_slice()
                && *name == wanted
            {
                return self.id(name, gid).map(Some);
            }
        }
        Ok(None)
    }

    /// The ids of all groups that have this member, in `/etc/group`.
    pub(super) fn groups_of(&self, member: &[u8]) -> Result<Vec<u32>, Error> {
        let mut ids = Vec::new();
        for fields in self.lines() {
            if let [name, _, gid, members, ..] = fields.as_slice()
                && members.split(|&byte| byte == b',').any(|name| name == member)
            {
                ids.push(self.id(name, gid)?);
            }
        }
        Ok(ids)
    }

    fn id(&self, name: &[u8], text: &[u8]) -> Result<u32, Error> {
        number(text).ok_or_else(|| {
            let what = format!(
                "gives `{}` an id out of range: `{}`",
                name.escape_ascii(),
                text.escape_ascii()
            );
            unfit(self.path, &what)
        })
    }
}

/// A decimal id, never wrapped.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let id = digits
        .then(|| str::from_utf8(text).ok()?.parse::<u32>().ok())
        .flatten()?;
    (id <= MAX_ID).then_some(id)
}

fn unfit(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::User, format!("the image's {path} {what}"))
}
