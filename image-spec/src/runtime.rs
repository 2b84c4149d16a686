// SPDX-License-Identifier: Apache-2.0
//! The part of the OCI runtime-spec's `config.json` that a bundle of ours uses.
