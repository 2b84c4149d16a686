// SPDX-License-Identifier: Apache-2.0
//! The crate through its public interface, against servers and files that lie.

mod archive;
mod auth;
mod blobs;
mod conf;
mod dir;
mod docker;
mod foreign;
mod frugal;
#[cfg(feature = "credential-helpers")]
mod helpers;
mod hostile;
mod hosts;
#[cfg(feature = "http2")]
mod http2;
mod image;
mod lanes;
mod layout;
mod lists;
mod local;
mod middle;
mod mirrors;
mod net;
mod oauth;
mod proxy;
mod pull;
mod resolve;
mod resume;
mod retry;
mod secrets;
mod server;
mod supply;
