// SPDX-License-Identifier: Apache-2.0
//! Who we are to a registry: challenges, token servers, tokens.

mod challenge;
mod realm;
mod session;
mod token;

pub(crate) use self::session::{Grant, Session, Sessions};
