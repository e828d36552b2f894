// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the crate promises, on real threads. A test carries the number of the rule it holds;
//! `tests/loom` searches the interleavings.
#![cfg(not(loom))]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "real threads and locks are the point"
)]

mod machine;

mod ends;
mod kicks;
mod storm;
mod waits;
