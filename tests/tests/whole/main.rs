// SPDX-License-Identifier: Apache-2.0
//! The whole: the command line against real registries, real images and real peers.
//!
//! Images are those of `cargo xtask lab`. What is missing here is said loudly and skipped.
#![allow(missing_docs, unreachable_pub, missing_debug_implementations)]

mod crash;
mod faults;
mod forms;
mod lookup;
mod memory;
mod peers;
mod place;
mod real_registry;
mod saved;
mod server;
mod ways;
