// SPDX-License-Identifier: Apache-2.0
//! What a registry says of a document in the head of its response, and what may be said to it.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use image_spec::{Digest, MAX_TAG, MediaType};

use crate::{Error, ErrorKind};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The distribution specification's grammar; anything else must not get into a URL.
pub(crate) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// What the registry calls the document. The names that servers give to any file say nothing.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<Option<MediaType>, Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let bad = || Error::new(ErrorKind::BadResponse, "the Content-Type cannot be read");
    let text = value.to_str().map_err(|_| bad())?;
    let media_type = MediaType::from_content_type(text).map_err(|cause| bad().because(cause))?;
    Ok(match &media_type {
        MediaType::Other(name) if matches!(&**name, "application/json" | "application/octet-stream") => None,
        _ => Some(media_type),
    })
}

/// The digest that the registry states for its answer.
pub(crate) fn stated(headers: &HeaderMap) -> Result<Option<Digest>, Error> {
    let Some(value) = headers.get(DIGEST) else {
        return Ok(None);
    };
    let bad = || Error::new(ErrorKind::BadResponse, "the Docker-Content-Digest cannot be read");
    let text = value.to_str().map_err(|_| bad())?;
    text.parse()
        .map(Some)
        .map_err(|cause: image_spec::Error| bad().because(cause))
}
