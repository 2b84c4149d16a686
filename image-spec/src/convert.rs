// SPDX-License-Identifier: Apache-2.0
//! From one dialect to the other without touching a layer.
