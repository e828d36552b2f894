// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Mutants: small patches that each break one rule, and the test that must notice.

pub(crate) mod cover;
pub(crate) mod guests;
pub(crate) mod ledger;
pub(crate) mod native;
pub(crate) mod patch;
pub(crate) mod queue;
pub(crate) mod score;
pub(crate) mod tree;
pub(crate) mod verdict;
