// SPDX-License-Identifier: Apache-2.0
//! Verdicts: which images a policy admits.
