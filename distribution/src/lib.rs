// SPDX-License-Identifier: Apache-2.0
//! Bytes in: registries, OCI layouts and archives.
