// SPDX-License-Identifier: Apache-2.0
//! See `fuzz::documents::places`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::documents::places(bytes));
