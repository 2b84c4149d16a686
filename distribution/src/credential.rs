// SPDX-License-Identifier: Apache-2.0
//! What proves who asks, and where it must not end up.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::header::HeaderValue;
use zeroize::Zeroizing;

use crate::{BoxFuture, Error, ErrorKind};

/// What a registry or its token server takes as proof of who asks.
///
/// Wiped on drop and never printed. Copies that HTTP and TLS buffers make while a request is sent
/// are out of reach.
#[derive(Clone)]
pub struct Credential(Proof);

#[derive(Clone)]
enum Proof {
    Password {
        user: Zeroizing<String>,
        password: Zeroizing<String>,
    },
    Identity {
        /// For token servers that want it as a password; they differ in the name that goes with it.
        user: Zeroizing<String>,
        /// All clones have the newest one.
        token: Arc<Mutex<Zeroizing<String>>>,
    },
    Registry(Zeroizing<String>),
}

/// Whom a credential may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A registry, or its token server.
    Password,
    /// A token server.
    Identity,
    /// A registry.
    Registry,
}

/// Whoever supplies credentials when a registry asks for one: a key broker, a vault, a cloud's
/// metadata service.
///
/// Asked only when a registry or its token server wants to know who asks, once for each
/// repository, and again when what it gave was refused. No time limit is imposed on it; dropping
/// the request drops its future.
///
/// ```
/// use distribution::{BoxFuture, Credential, Credentials, Supplied};
///
/// #[derive(Debug)]
/// struct Broker;
///
/// impl Credentials for Broker {
///     fn supply<'a>(&'a self, registry: &'a str, repository: &'a str) -> BoxFuture<'a, Supplied> {
///         Box::pin(async move {
///             // Here the broker is asked for the secret of this registry and repository.
///             let team = repository.split('/').next().unwrap_or_default();
///             Ok((registry == "registry.example").then(|| Credential::basic(team, "secret")))
///         })
///     }
/// }
///
/// let client = distribution::Client::builder()
///     .without_system_roots()
///     .credentials(std::sync::Arc::new(Broker))
///     .build()?;
/// # Ok::<(), distribution::Error>(())
/// ```
pub trait Credentials: Send + Sync + fmt::Debug {
    /// The credential for `repository`, as in `library/busybox`, on `registry`, as in
    /// `docker.io` or `localhost:5000`; none to let the next supplier or the auth files answer.
    ///
    /// An error ends the request. Its text is shown, so it must hold no secret.
    fn supply<'a>(&'a self, registry: &'a str, repository: &'a str) -> BoxFuture<'a, Supplied>;
}

/// The answer of [`Credentials`].
pub type Supplied = Result<Option<Credential>, Box<dyn std::error::Error + Send + Sync>>;

impl Credential {
    /// A user name, in which `:` cannot be (RFC 7617), and a password.
    pub fn basic(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self(Proof::Password {
            user: Zeroizing::new(user.into()),
            password: Zeroizing::new(password.into()),
        })
    }

    /// An identity token: an OAuth2 refresh token, which a token server exchanges for tokens of
    /// single repositories. It is never sent to a registry itself. If the server renews it, all
    /// clones of this value have the new one.
    pub fn identity_token(token: impl Into<String>) -> Self {
        Self::identity(Zeroizing::default(), Zeroizing::new(token.into()))
    }

    pub(crate) fn identity(user: Zeroizing<String>, token: Zeroizing<String>) -> Self {
        Self(Proof::Identity {
            user,
            token: Arc::new(Mutex::new(token)),
        })
    }

    /// A registry token: a Bearer token, sent to the registry as it is and never to a token server.
    pub fn registry_token(token: impl Into<String>) -> Self {
        Self(Proof::Registry(Zeroizing::new(token.into())))
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

    pub(crate) fn kind(&self) -> Kind {
        match &self.0 {
            Proof::Password { .. } => Kind::Password,
            Proof::Identity { .. } => Kind::Identity,
            Proof::Registry(_) => Kind::Registry,
        }
    }

    /// The Authorization header that carries the credential itself.
    pub(crate) fn header(&self) -> Result<HeaderValue, Error> {
        match &self.0 {
            Proof::Password { user, password } => basic(user, password),
            Proof::Identity { user, .. } => basic(user, &self.secret()),
            Proof::Registry(token) => bearer(token),
        }
        .map_err(|error| error.of_kind(ErrorKind::Invalid))
    }

    /// The part that nobody may know.
    pub(crate) fn secret(&self) -> Zeroizing<String> {
        match &self.0 {
            Proof::Password { password, .. } => password.clone(),
            Proof::Identity { token, .. } => token.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Proof::Registry(token) => token.clone(),
        }
    }

    /// What nobody may repeat: the secret, and the form in which it is sent.
    pub(crate) fn secrets(&self) -> Vec<Zeroizing<String>> {
        let mut all = vec![self.secret()];
        if let Ok(header) = self.header()
            && let Some((_, sent)) = header.to_str().ok().and_then(|text| text.split_once(' '))
        {
            all.push(Zeroizing::new(sent.to_owned()));
        }
        all
    }

    /// Who is meant by it; empty for tokens, which say it themselves.
    pub(crate) fn user(&self) -> &str {
        match &self.0 {
            Proof::Password { user, .. } | Proof::Identity { user, .. } => user,
            Proof::Registry(_) => "",
        }
    }

    /// Replaces an identity token, in all clones, by the one that its token server gave for it.
    pub(crate) fn renew(&self, newer: Zeroizing<String>) {
        if let Proof::Identity { token, .. } = &self.0 {
            *token.lock().unwrap_or_else(PoisonError::into_inner) = newer;
        }
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.user() == other.user() && self.secret() == other.secret()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, Error> {
    let mut pair = Zeroizing::new(String::with_capacity(user.len() + 1 + password.len()));
    pair.push_str(user);
    pair.push(':');
    pair.push_str(password);
    let mut text = Zeroizing::new(String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4));
    text.push_str("Basic ");
    BASE64_STANDARD.encode_string(pair.as_bytes(), &mut text);
    secret_header(text)
}

/// The Authorization header of a token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut text = Zeroizing::new(String::with_capacity("Bearer ".len() + token.len()));
    text.push_str("Bearer ");
    text.push_str(token);
    secret_header(text)
}

/// A header value that is wiped when its last clone goes.
fn secret_header(text: Zeroizing<String>) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_maybe_shared(secret_bytes(text)).map_err(|_| {
        Error::new(
            ErrorKind::BadResponse,
            "a token holds characters that no header can carry",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Bytes that are wiped when their last clone goes.
pub(crate) fn secret_bytes(text: Zeroizing<String>) -> Bytes {
    Bytes::from_owner(Wiped(text))
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
        for credential in [
            Credential::basic("alice", "swordfish"),
            Credential::identity_token("swordfish"),
            Credential::registry_token("swordfish"),
        ] {
            let header = credential.header().unwrap();
            assert_eq!(format!("{credential:?} {header:?}"), "Credential Sensitive");
        }
        let error = Credential::registry_token("sword\nfish").header().unwrap_err();
        assert_eq!(
            format!("{error:?}"),
            "Invalid: a token holds characters that no header can carry"
        );
    }

    #[test]
    fn clones_have_the_newest_identity_token() {
        let credential = Credential::identity_token("old");
        let clone = credential.clone();
        credential.renew(Zeroizing::new("new".to_owned()));
        assert_eq!(*clone.secret(), "new");
        assert!(clone.is(&credential) && !clone.is(&Credential::identity_token("old")));
    }
}
