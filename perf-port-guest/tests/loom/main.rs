// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! U1 under a model checker: a guest that switches, and a host that begins to ask for announcements,
//! never miss each other.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p perf-port-guest --test loom`
#![cfg(loom)]

// The same for all models: what is looked at is each crate's own.
#[path = "../../../vcpu-call/tests/loom/search.rs"]
mod search;

mod switch;
