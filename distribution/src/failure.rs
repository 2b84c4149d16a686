// SPDX-License-Identifier: Apache-2.0
//! Responses that are not what was asked for.

use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::clean;
use crate::http::{Response, retry_after};
use crate::{Error, ErrorKind};

/// Bytes of an error document that are read; real ones have a few hundred.
const MAX_DOCUMENT: usize = 16 << 10;
/// Messages of one error document that are repeated.
const MAX_MESSAGES: usize = 3;
/// Bytes of a secret that is looked for in them; shorter ones are in words by chance.
const MIN_SECRET: usize = 4;

/// The distribution specification's error document; token servers use some of `details`, `message`
/// and OAuth2's `error_description`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    errors: Vec<Item>,
    message: String,
    details: String,
    error_description: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    code: String,
    message: String,
}

/// The error for a response with a status that is no success. Where the peer repeats one of the
/// `secrets` that it was sent, this does not.
pub(crate) async fn of(response: Response, who: &str, secrets: &[Zeroizing<String>]) -> Error {
    let status = response.status;
    let kind = kind(status);
    let wait = retry_after(&response.headers);
    let text = response.body.peek(MAX_DOCUMENT).await;
    let document: Document = serde_json::from_slice(&text).unwrap_or_default();
    let messages = document
        .errors
        .into_iter()
        .map(|item| match item.message.is_empty() {
            true => item.code,
            false => item.message,
        });
    let said: Vec<String> = messages
        .chain([document.message, document.details, document.error_description])
        .map(|message| clean(hiding(message, secrets).trim()))
        .filter(|message| !message.is_empty())
        .take(MAX_MESSAGES)
        .collect();
    let mut message = format!("{who} answered {status}");
    if !said.is_empty() {
        message = format!("{message}: {}", said.join("; "));
    }
    match passes(status) {
        true => Error::new(kind, message).passing(wait),
        false => Error::new(kind, message),
    }
}

fn hiding(mut message: String, secrets: &[Zeroizing<String>]) -> String {
    for secret in secrets.iter().filter(|secret| secret.len() >= MIN_SECRET) {
        message = message.replace(secret.as_str(), "***");
    }
    message
}

/// Statuses that say nothing against the same request a little later.
fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn kind(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 => ErrorKind::Unauthorized,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::RateLimited,
        408 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::BadResponse,
    }
}

/// Refuses a body that was encoded on the way: its bytes would not be those of any digest, and
/// decoding what was not asked for is how bombs come in.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), Error> {
    for encoding in headers.get_all(CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let name = clean(&String::from_utf8_lossy(encoding.as_bytes()));
            let message = format!("the body has a content encoding that was not asked for: `{name}`");
            return Err(Error::new(ErrorKind::BadResponse, message));
        }
    }
    Ok(())
}
