// SPDX-License-Identifier: Apache-2.0
//! See `fuzz::layers::tar_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::layers::tar_stream(bytes));
