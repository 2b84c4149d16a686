// SPDX-License-Identifier: Apache-2.0
//! What an archive has under which name. Names are looked up and never opened.

use std::collections::HashMap;

use tar::EntryType;

use crate::error::clean;
use crate::local::members::{doubled, irregular, plain};
use crate::local::scan::{Member, Span};
use crate::{Error, ErrorKind};

/// Bytes of a name that is remembered; the longest that tools write has 77.
const MAX_NAME: usize = 255;
/// Bytes of all names and targets: a hundred thousand of the longest that tools write, twice.
const MAX_NAMES: usize = 16 << 20;
/// Symbolic links in a row; docker and podman write one.
const MAX_LINKS: usize = 8;

/// The members of an archive by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    members: HashMap<Box<str>, Found>,
    bytes: usize,
}

#[derive(Debug)]
enum Found {
    File(Span),
    /// A symbolic link and its target.
    Link(Box<str>),
    Other,
    /// More than one member: which of them is meant, readers answer differently.
    Twice,
}

impl Names {
    pub(super) fn note(&mut self, member: &Member) -> Result<(), Error> {
        let Some(name) = plain(&member.name).filter(|name| name.len() <= MAX_NAME) else {
            return Ok(());
        };
        let found = match member.kind {
            EntryType::Directory => return Ok(()),
            EntryType::Regular | EntryType::Continuous => Found::File(member.span),
            EntryType::Symlink => match std::str::from_utf8(&member.target) {
                Ok(target) if target.len() <= MAX_NAME => Found::Link(target.into()),
                _ => Found::Other,
            },
            _ => Found::Other,
        };
        self.bytes += name.len();
        if let Found::Link(target) = &found {
            self.bytes += target.len();
        }
        if self.bytes > MAX_NAMES {
            let message = format!("names of more than {MAX_NAMES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        if self.members.contains_key(name) {
            self.members.insert(name.into(), Found::Twice);
        } else {
            self.members.insert(name.into(), found);
        }
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Where the file of this name lies, through symbolic links inside the archive.
    pub(super) fn file(&self, name: &str) -> Result<Span, Error> {
        let mut at = below("", name)?;
        for _ in 0..=MAX_LINKS {
            match self.members.get(at.as_str()) {
                Some(Found::File(span)) => return Ok(*span),
                Some(Found::Link(target)) => at = below(folder(&at), target)?,
                Some(Found::Other) => return Err(irregular(&at)),
                Some(Found::Twice) => return Err(doubled(&at)),
                None => {
                    let message = format!("no such member: `{}`", clean(&at));
                    return Err(Error::new(ErrorKind::NotFound, message));
                }
            }
        }
        let message = format!("more than {MAX_LINKS} symbolic links in a row: `{}`", clean(name));
        Err(Error::new(ErrorKind::BadResponse, message))
    }
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path seen from a folder, without `.` and `..`; it may not leave the archive.
fn below(folder: &str, path: &str) -> Result<String, Error> {
    let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    let mut outside = path.starts_with('/');
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => outside |= steps.pop().is_none(),
            step => steps.push(step),
        }
    }
    if outside {
        let message = format!("a name leads out of the archive: `{}`", clean(path));
        return Err(Error::new(ErrorKind::BadResponse, message));
    }
    Ok(steps.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_the_archive_or_is_refused() {
        for (at, path, want) in [
            ("", "a/layer.tar", Some("a/layer.tar")),
            ("", "./a//b", Some("a/b")),
            ("a", "../b/layer.tar", Some("b/layer.tar")),
            ("a/b", "../../c", Some("c")),
            ("a", "../../c", None),
            ("", "..", None),
            ("", "a/../../b", None),
            ("a", "/b", None),
        ] {
            assert_eq!(below(at, path).ok().as_deref(), want, "{at} {path}");
        }
    }
}
