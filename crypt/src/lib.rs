// SPDX-License-Identifier: Apache-2.0
//! Clear bytes: recognising and opening encrypted layers.
