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

/// The tree that layers make, for other forms to be compared with.
pub struct Model(tree::Tree);

impl Model {
    pub fn new() -> Self {
        Model(tree::Tree::new())
    }

    /// Whether a layer is none that must be refused.
    pub fn apply(&mut self, entries: &[fixture::Entry]) -> bool {
        let mut layer = apply::Layer::new(&mut self.0);
        !entries.iter().any(|entry| layer.apply(entry).is_err())
    }
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
