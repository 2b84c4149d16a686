// SPDX-License-Identifier: Apache-2.0
//! What the policy is asked about, and its answer.

use bytes::Bytes;
use image_spec::Digest;

use crate::error::{Error, ErrorKind};
use crate::identity::Identity;

/// An image that asks to be admitted.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What the user asked for.
    pub identity: Identity,
    /// The document that the name led to, as received: an index, or the manifest itself.
    pub top: Bytes,
    /// The platform's manifest as received, reached from `top` by verified digests.
    pub manifest: Bytes,
}

impl Candidate {
    /// A reference with a digest names the bytes it leads to.
    pub(crate) fn check_pin(&self) -> Result<(), Error> {
        let Some(pin) = self.identity.pin() else {
            return Ok(());
        };
        let found = Digest::of(pin.algorithm(), &self.top);
        if found == *pin {
            return Ok(());
        }
        let what = format!("the bytes found for `{}` have another digest", self.identity);
        Err(Error::new(ErrorKind::Digest, what, found))
    }
}

/// An image that the policy has admitted, with the very bytes it was asked about.
///
/// Only [`Policy::admit`](crate::Policy::admit) makes one; a function that takes an `Admitted` cannot be
/// called before the policy was asked:
///
/// ```compile_fail,E0451
/// # fn forge(candidate: signature::Candidate, verdict: signature::Verdict) -> signature::Admitted {
/// signature::Admitted { candidate, verdict }
/// # }
/// ```
#[derive(Debug)]
pub struct Admitted {
    candidate: Candidate,
    verdict: Verdict,
}

impl Admitted {
    pub(crate) fn new(candidate: Candidate, verdict: Verdict) -> Admitted {
        Admitted { candidate, verdict }
    }

    /// What the user asked for.
    pub fn identity(&self) -> &Identity {
        &self.candidate.identity
    }

    /// The document that the name led to.
    pub fn top(&self) -> &Bytes {
        &self.candidate.top
    }

    /// The platform's manifest.
    pub fn manifest(&self) -> &Bytes {
        &self.candidate.manifest
    }

    /// Why it was admitted.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// The grounds of an admission.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The scope that decided: `TRANSPORT:SCOPE`, `TRANSPORT:` for all of a transport, `default`.
    pub scope: String,
    /// The policy's file, or how else it came.
    pub source: String,
    /// The types of the requirements, each of which holds.
    pub requirements: Vec<&'static str>,
}
