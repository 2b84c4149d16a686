// SPDX-License-Identifier: Apache-2.0
//! What the names of a layer's entries mean (image-spec layer.md).

use crate::{Error, Limits};

/// What the names of whiteouts start with.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// Marks the directory it is in as opaque.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that aufs used for its own book-keeping; they say nothing about the layer.
pub(crate) const AUFS: &[u8] = b".wh..wh.";

/// Whether a path leads to something in what the other leads to.
pub(crate) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// The parts of a name: the root has none, `.` and empty ones do not count.
pub(crate) fn components<'a>(name: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, Error> {
    if name.len() > limits.name_bytes {
        return Err(Error::limit("name_bytes", limits.name_bytes as u64));
    }
    if name.contains(&0) {
        return Err(Error::archive("a name holds a NUL byte"));
    }
    let parts: Vec<&[u8]> = name
        .split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    match parts.contains(&&b".."[..]) {
        true => Err(Error::refused("its name leads upwards with `..`")),
        false => Ok(parts),
    }
}
