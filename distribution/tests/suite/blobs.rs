// SPDX-License-Identifier: Apache-2.0
//! A blob that a registry serves in parts, and how a test reads it.

use std::time::Duration;

use distribution::{Error, Registry, Retry, Source};
use image_spec::Descriptor;

use crate::image::layer_type;
use crate::server::{Asked, Reply};

/// Several tries at a speed for tests.
pub(crate) const QUICK: Retry = Retry {
    count: 3,
    pause: Duration::from_millis(1),
    longest: Duration::from_millis(20),
    patience: Duration::from_secs(600),
};

/// Bytes without a pattern that a shift would keep.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

pub(crate) fn descriptor(bytes: &[u8]) -> Descriptor {
    Descriptor::of(layer_type(), bytes)
}

/// First and last byte of the range asked for.
pub(crate) fn range(asked: &Asked, size: usize) -> Option<(usize, usize)> {
    let (first, last) = asked.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let last = match last {
        "" => size - 1,
        last => last.parse().unwrap(),
    };
    Some((first.parse().unwrap(), last))
}

/// What an honest server answers: all of it, or the range.
pub(crate) fn serve(asked: &Asked, blob: &[u8]) -> Reply {
    match range(asked, blob.len()) {
        Some((first, last)) => part(blob, first, last),
        None => Reply::ok(blob),
    }
}

pub(crate) fn part(blob: &[u8], first: usize, last: usize) -> Reply {
    Reply::new(206, &blob[first..=last]).with("content-range", format!("bytes {first}-{last}/{}", blob.len()))
}

pub(crate) async fn read(source: &Registry, blob: &Descriptor) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut blob = source.blob(blob).await?;
    while let Some(chunk) = blob.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
