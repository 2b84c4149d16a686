// SPDX-License-Identifier: Apache-2.0
//! Is a layer encrypted? Its media type and its annotations must agree on the answer.

use image_spec::{Descriptor, MediaType};

use crate::error::{Error, ErrorKind};
use crate::scheme::{Scheme, shown};

/// Everything that belongs to a layer's encryption begins so.
const PREFIX: &str = "org.opencontainers.image.enc";
/// The wrapped keys; the scheme's name follows.
const KEYS: &str = "org.opencontainers.image.enc.keys.";
/// Bytes of one annotation of encryption. A wrapped key has about 1 KiB.
const MAX_ANNOTATION: usize = 64 << 10;
/// Wrapped keys of one scheme: one for each recipient.
const MAX_KEYS: usize = 16;

/// Whether a layer is encrypted, and how its key is wrapped.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The blob is the layer.
    Clear,
    /// The blob is the encrypted layer; at least one scheme, in the order of trying.
    Encrypted(Vec<Scheme>),
}

/// Says whether a layer is encrypted.
///
/// # Errors
/// `Inconsistent` when only the annotations say so, `NoKey` when only the media type does; `Limit`.
pub fn protection(descriptor: &Descriptor) -> Result<Protection, Error> {
    let failed = |kind| Error::new(kind, descriptor.digest);
    let marks = || descriptor.annotations.iter().filter(|(key, _)| is_mark(key));
    if !is_encrypted(&descriptor.media_type) {
        return match marks().next() {
            None => Ok(Protection::Clear),
            Some((key, _)) => Err(failed(ErrorKind::Inconsistent(shown(key)))),
        };
    }
    let long = |value: &str| value.len() > MAX_ANNOTATION || value.split(',').count() > MAX_KEYS;
    if let Some((key, _)) = marks().find(|(_, value)| long(value)) {
        return Err(failed(ErrorKind::Limit(shown(key))));
    }
    let wrapped = marks().filter(|(_, value)| !value.is_empty());
    let mut schemes: Vec<Scheme> = wrapped
        .filter_map(|(key, _)| key.strip_prefix(KEYS))
        .map(Scheme::new)
        .collect();
    schemes.sort();
    if schemes.is_empty() {
        Err(failed(ErrorKind::NoKey))
    } else {
        Ok(Protection::Encrypted(schemes))
    }
}

/// Refuses a layer that is encrypted, or may be. `index` is its place in the manifest, from 0.
///
/// # Errors
/// `Unsupported` with the schemes found for an encrypted layer; whatever [`protection`] refuses.
pub fn check(descriptor: &Descriptor, index: usize) -> Result<(), Error> {
    refuse(descriptor).map_err(|error| error.at(index, None))
}

/// Refuses an image's layers if one of them is encrypted, or may be; the error says which of how
/// many.
///
/// # Errors
/// As [`check`], for the first such layer.
pub fn check_all(layers: &[Descriptor]) -> Result<(), Error> {
    let one = |(index, layer)| refuse(layer).map_err(|error| error.at(index, Some(layers.len())));
    layers.iter().enumerate().try_for_each(one)
}

fn refuse(descriptor: &Descriptor) -> Result<(), Error> {
    match protection(descriptor)? {
        Protection::Clear => Ok(()),
        Protection::Encrypted(schemes) => Err(Error::new(ErrorKind::Unsupported(schemes), descriptor.digest)),
    }
}

/// By the suffix, whatever stands before it: what cannot be unpacked is not to be taken for clear.
fn is_encrypted(media_type: &MediaType) -> bool {
    match media_type {
        MediaType::Layer(layer) => layer.encrypted,
        other => other.to_string().to_ascii_lowercase().ends_with("+encrypted"),
    }
}

/// In any case: a key that tools read differently is no reason to look away.
fn is_mark(key: &str) -> bool {
    let rest = key
        .get(..PREFIX.len())
        .filter(|start| start.eq_ignore_ascii_case(PREFIX));
    rest.is_some() && matches!(key.as_bytes().get(PREFIX.len()), None | Some(b'.'))
}
