// SPDX-License-Identifier: Apache-2.0
//! See `fuzz::layers::changeset`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::layers::changeset(bytes));
