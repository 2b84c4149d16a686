// SPDX-License-Identifier: Apache-2.0
//! What each target does with its bytes. Ordinary tests of the project call the same functions with
//! the files in `corpus`.

pub mod documents;
pub mod layers;
