// SPDX-License-Identifier: Apache-2.0
//! Layers out of bytes, and what they mean, without a file system.
//!
//! The model is written from docs/formats.md and the image specification's layer.md alone. Fuzzing
//! uses the same files.
#![allow(dead_code, unreachable_pub, missing_docs)]

mod apply;
mod check;
mod program;
mod show;
mod stack;
mod tree;

#[allow(unused_imports)]
pub use check::{Outcome, check, check_stacked};
pub use program::Program;
