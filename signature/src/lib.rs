// SPDX-License-Identifier: Apache-2.0
//! Verdicts: which images a policy admits.
//!
//! A [`Policy`] is a containers-policy.json(5), read strictly. [`Policy::admit`] is asked about every
//! image by the name the user gave, and its [`Admitted`] is the only way on: it carries the bytes
//! that were judged, and nothing else can make one. Requirements that this version cannot verify
//! are read, and refuse.
//!
//! ```
//! use signature::{Candidate, Identity, Policy};
//!
//! let policy = Policy::parse(br#"{
//!     "default": [{"type": "reject"}],
//!     "transports": {"docker": {"docker.io/library": [{"type": "insecureAcceptAnything"}]}}
//! }"#)?;
//! let ask = |name: &str| {
//!     let identity = Identity::docker(&name.parse().unwrap());
//!     policy.admit(Candidate { identity, top: "{}".into(), manifest: "{}".into() })
//! };
//! assert_eq!(ask("busybox")?.verdict().scope, "docker:docker.io/library");
//! assert!(ask("quay.io/someone/busybox").is_err());
//! # Ok::<(), signature::Error>(())
//! ```

mod admit;
mod error;
mod identity;
mod json;
mod policy;
mod requirement;
mod scope;

pub use admit::{Admitted, Candidate, Verdict};
pub use error::{Error, ErrorKind};
pub use identity::{Identity, Transport};
pub use policy::Policy;
