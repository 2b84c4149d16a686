// SPDX-License-Identifier: Apache-2.0
//! A user and a password, and where they must not end up.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind};

/// A user name and a password.
///
/// Both are wiped on drop and never printed. Copies that HTTP and TLS buffers make while a
/// request is sent are out of reach.
#[derive(Clone)]
pub struct Credential {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

impl Credential {
    /// From a user name, in which `:` cannot be (RFC 7617), and a password.
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: Zeroizing::new(user.into()),
            password: Zeroizing::new(password.into()),
        }
    }

    /// From `user:password`, split at the first `:`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) without a `:` or with an empty user; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some((user, password)) if !user.is_empty() => Ok(Self::basic(user, password)),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "a credential is not `user:password`",
            )),
        }
    }

    /// The Authorization header of the Basic scheme.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        let pair = Zeroizing::new(format!("{}:{}", *self.user, *self.password));
        let mut text = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
        text.push_str("Basic ");
        BASE64_STANDARD.encode_string(pair.as_bytes(), &mut text);
        secret_header(text)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// A header value that is wiped when its last clone goes.
pub(crate) fn secret_header(text: Zeroizing<String>) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Wiped(text))).map_err(|_| {
        Error::new(
            ErrorKind::BadResponse,
            "a token holds characters that no header can carry",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

struct Wiped(Zeroizing<String>);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_split_at_the_first_colon() {
        for (text, want) in [
            ("u:p", Some("Basic dTpw")),
            ("u:p:q", Some("Basic dTpwOnE=")),
            ("u:", Some("Basic dTo=")),
        ] {
            let header = Credential::parse(text)
                .and_then(|credential| credential.header())
                .unwrap();
            assert_eq!(header.to_str().ok(), want, "{text}");
        }
        for text in ["", "user", ":p"] {
            let error = Credential::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let credential = Credential::basic("alice", "swordfish");
        let header = credential.header().unwrap();
        assert_eq!(format!("{credential:?} {header:?}"), "Credential Sensitive");
    }
}
