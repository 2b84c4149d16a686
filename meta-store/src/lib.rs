// SPDX-License-Identifier: Apache-2.0
//! Records: the catalogue and the content store.
