// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the crate promises, on real threads: one file a rule. A test carries the number of the rule
//! it holds; `tests/loom` searches the interleavings.
#![cfg(not(any(loom, shuttle)))]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "real threads and locks are the point"
)]

mod rig;

mod claim;
mod d1_waiting;
mod d2_offline;
mod d3_kick;
mod lock;
mod lost;
mod park;
mod traffic;
