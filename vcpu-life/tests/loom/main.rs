// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The crate under a model checker: every interleaving of small scenarios, one file a rule or two.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p vcpu-life --test loom`
//!
//! A request that is missed is a thread that waits for ever: a deadlock, which the checker finds.
#![cfg(loom)]

mod machine;
// The same for all models: what is looked at is each crate's own.
#[path = "../../../vcpu-call/tests/loom/search.rs"]
mod search;

mod calls;
mod goals;
mod plugging;
mod waits;
