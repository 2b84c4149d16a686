// SPDX-License-Identifier: Apache-2.0
//! See `fuzz::documents::document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::documents::document(bytes));
