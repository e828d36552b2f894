// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core under a model checker: every interleaving of small scenarios, one file a protocol.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p vpmu --test loom -- --nocapture`
//!
//! A deadlock fails the test that it is in, with the threads and where they wait.
#![cfg(loom)]
#![allow(
    clippy::disallowed_types,
    reason = "what no model is to see counts across executions"
)]

mod search;
mod vm;

mod announce;
mod exit;
mod install;
mod litmus;
mod offline;
mod ops;
mod registers;
mod swap;
mod traps;
