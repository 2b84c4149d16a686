// SPDX-License-Identifier: Apache-2.0
//! See `fuzz::layers::codecs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::layers::codecs(bytes));
