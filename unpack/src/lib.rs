// SPDX-License-Identifier: Apache-2.0
//! Trees: decompression, tar and rooted extraction.
