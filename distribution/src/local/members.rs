// SPDX-License-Identifier: Apache-2.0
//! The members of a layout in a tar file.

use std::collections::HashMap;

use image_spec::Digest;
use tar::EntryType;

use super::scan::{Member, Span};
use crate::error::clean;
use crate::{Error, ErrorKind};

/// Where a layout's members lie. Others are nobody's business.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) marker: Option<Span>,
    pub(super) index: Option<Span>,
    pub(super) blobs: HashMap<Digest, Span>,
    /// Docker's `manifest.json` is there.
    pub(super) docker: bool,
}

impl Members {
    pub(super) fn note(&mut self, member: &Member) -> Result<(), Error> {
        let Some(name) = plain(&member.name) else {
            return Ok(());
        };
        let twice = match name {
            "oci-layout" => self.marker.replace(member.span).is_some(),
            "index.json" => self.index.replace(member.span).is_some(),
            "manifest.json" => std::mem::replace(&mut self.docker, true),
            _ => match blob(name) {
                Some(digest) => self.blobs.insert(digest, member.span).is_some(),
                None => return Ok(()),
            },
        };
        if twice {
            return Err(doubled(name));
        }
        match member.kind {
            EntryType::Regular | EntryType::Continuous => Ok(()),
            _ => Err(irregular(name)),
        }
    }
}

/// A member's name without what may stand before it; none for one that is no text.
pub(super) fn plain(name: &[u8]) -> Option<&str> {
    let mut name = std::str::from_utf8(name).ok()?;
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    Some(name)
}

/// The digest in a blob's path.
pub(super) fn blob(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

pub(super) fn doubled(name: &str) -> Error {
    let message = format!("two members of the same name: `{}`", clean(name));
    Error::new(ErrorKind::BadResponse, message)
}

pub(super) fn irregular(name: &str) -> Error {
    Error::new(
        ErrorKind::BadResponse,
        format!("not a regular file: `{}`", clean(name)),
    )
}
