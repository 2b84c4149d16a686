// SPDX-License-Identifier: Apache-2.0
//! What an image is: types and strict parsers.
