// SPDX-License-Identifier: Apache-2.0
//! Extended attributes in EROFS's form, each set of them kept once.
//!
//! What the kernel would refuse to set on a file of a directory tree is refused here, so that a layer
//! means the same in both forms (xattr(7), capabilities(7)).

use std::collections::HashMap;

use nix::errno::Errno;

use super::acl;
use super::tree::Content;
use crate::metadata::{self, OPAQUE_XATTR};
use crate::tar;
use crate::{Error, ErrorKind};

/// Prefixes that EROFS stores as a number (`EROFS_XATTR_INDEX_*`).
const PREFIXES: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const ACL_ACCESS: (&[u8], u8) = (b"system.posix_acl_access", 2);
const ACL_DEFAULT: (&[u8], u8) = (b"system.posix_acl_default", 3);
const CAPABILITY: &[u8] = b"security.capability";

/// The kernel's limit of an attribute's name (XATTR_NAME_MAX).
const NAME_MAX: usize = 255;
/// What an inode's 16-bit count can say, in units of four bytes, besides the header.
const SET_MAX: usize = 4 * (u16::MAX as usize - 1);

/// Sets of attributes; the first is the empty one.
#[derive(Debug)]
pub(super) struct Xattrs {
    sets: Vec<Box<[u8]>>,
    known: HashMap<Box<[u8]>, u32>,
    opaque: Vec<u8>,
}

impl Default for Xattrs {
    fn default() -> Self {
        let mut opaque = Vec::new();
        // Three constants that fit.
        put(
            &mut opaque,
            4,
            OPAQUE_XATTR.trim_start_matches("trusted.").as_bytes(),
            b"y",
        );
        Xattrs {
            sets: vec![Box::default()],
            known: HashMap::new(),
            opaque,
        }
    }
}

impl Xattrs {
    /// The entries of a set as they stand in an inode.
    pub(super) fn set(&self, set: u32) -> &[u8] {
        self.sets.get(set as usize).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Keeps a set that is in EROFS's form already; tells whether it is new.
    pub(super) fn keep(&mut self, set: &[u8]) -> (u32, bool) {
        if set.is_empty() {
            return (0, false);
        }
        if let Some(known) = self.known.get(set) {
            return (*known, false);
        }
        let place = self.sets.len() as u32;
        self.sets.push(set.into());
        self.known.insert(set.into(), place);
        (place, true)
    }

    /// The same set with the mark of an opaque directory.
    pub(super) fn opaque(&mut self, set: u32) -> u32 {
        let set = [self.set(set), &self.opaque].concat();
        self.keep(&set).0
    }

    /// Takes the mark away again; tells whether it was there.
    pub(super) fn without_opaque(&mut self, set: &[u8]) -> (u32, bool) {
        match set.strip_suffix(&self.opaque[..]) {
            Some(rest) => (self.keep(rest).0, true),
            None => (self.keep(set).0, false),
        }
    }

    /// Takes an entry's attributes for a file of this kind. An access list may change the mode, as it
    /// does when it is set.
    ///
    /// Returns the set, whether it is new, and how many attributes were passed over.
    pub(super) fn take(
        &mut self,
        meta: &tar::Meta,
        content: &Content,
        mode: &mut u16,
    ) -> Result<(u32, bool, u64), Error> {
        let mut set = Vec::new();
        let mut dropped = 0;
        let special = !matches!(content, Content::Directory(_) | Content::File { .. });
        for (name, value) in metadata::obeyed(meta) {
            if special && name.starts_with(b"user.") {
                dropped += 1;
                continue;
            }
            let (index, suffix) = index(name, content)?;
            if name == CAPABILITY {
                check_capability(value)?;
            }
            if index == ACL_ACCESS.1 || index == ACL_DEFAULT.1 {
                let acl = acl::parse(value).ok_or_else(|| invalid(Errno::EINVAL))?;
                if index == ACL_DEFAULT.1 && !matches!(content, Content::Directory(_)) && !acl.is_empty() {
                    return Err(invalid(Errno::EACCES));
                }
                if index == ACL_ACCESS.1 && !acl.is_empty() {
                    let (permissions, minimal) = acl::mode(&acl);
                    *mode = *mode & !0o777 | permissions;
                    if minimal {
                        continue;
                    }
                }
                if acl.is_empty() {
                    continue;
                }
            }
            if value.len() > usize::from(u16::MAX) {
                return Err(Error::limit("xattr_bytes", u16::MAX.into()));
            }
            put(&mut set, index, suffix, value);
        }
        if set.len() > SET_MAX {
            return Err(Error::refused(
                "its extended attributes take more than an EROFS inode holds",
            ));
        }
        let (set, new) = self.keep(&set);
        Ok((set, new, dropped))
    }
}

fn put(set: &mut Vec<u8>, index: u8, suffix: &[u8], value: &[u8]) {
    // Both lengths were checked.
    set.push(suffix.len() as u8);
    set.push(index);
    set.extend_from_slice(&(value.len() as u16).to_le_bytes());
    set.extend_from_slice(suffix);
    set.extend_from_slice(value);
    set.resize(set.len().next_multiple_of(4), 0);
}

/// The number of a name's prefix and what follows it.
fn index<'a>(name: &'a [u8], content: &Content) -> Result<(u8, &'a [u8]), Error> {
    if name.len() > NAME_MAX {
        return Err(invalid(Errno::ERANGE));
    }
    for (acl, index) in [ACL_ACCESS, ACL_DEFAULT] {
        if name == acl && !matches!(content, Content::Symlink(_)) {
            return Ok((index, b""));
        }
    }
    for (prefix, index) in PREFIXES {
        match name.strip_prefix(prefix) {
            Some(b"") => return Err(invalid(Errno::EINVAL)),
            Some(suffix) => return Ok((index, suffix)),
            None => {}
        }
    }
    Err(Error::with_source(
        ErrorKind::Xattr(name.to_vec()),
        Errno::EOPNOTSUPP.into(),
    ))
}

/// The kernel takes versions 2 and 3 of a file's capabilities, each of one size.
fn check_capability(value: &[u8]) -> Result<(), Error> {
    const VERSION_2: u8 = 2;
    const VERSION_3: u8 = 3;
    match (value.len(), value.get(3)) {
        (20, Some(&VERSION_2)) | (24, Some(&VERSION_3)) => Ok(()),
        _ => Err(invalid(Errno::EINVAL)),
    }
}

fn invalid(errno: Errno) -> Error {
    Error::io("set an extended attribute", errno)
}
