// SPDX-License-Identifier: Apache-2.0
//! Who we are to a registry: credentials, challenges, token servers, tokens.

mod challenge;
#[cfg(feature = "credential-helpers")]
mod helper;
mod keyring;
mod realm;
mod session;
mod token;

#[cfg(feature = "credential-helpers")]
pub use self::helper::CredentialHelpers;
#[cfg(feature = "credential-helpers")]
pub(crate) use self::helper::Helpers;
pub(crate) use self::keyring::{Keyring, named};
pub(crate) use self::session::{Grant, Session, Sessions};
