// SPDX-License-Identifier: Apache-2.0
//! Mounts and runtime bundles.
