// SPDX-License-Identifier: Apache-2.0
//! Reads archives: ustar, PAX, GNU and the old form, as a stream of [`Entry`].
//!
//! Header blocks are taken apart by the `tar` crate; the order of blocks, PAX records, sparse maps
//! and every limit are this module's, because they decide what an entry is.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod entries;
mod entry;
mod header;
mod number;
mod pax;
mod sparse;

pub(crate) use entries::Entries;
pub(crate) use entry::{Entry, Kind, Meta};
pub(crate) use sparse::Piece;

/// The unit of a tar archive, in bytes.
pub(crate) const BLOCK: usize = 512;
