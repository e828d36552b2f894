// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A whole machine under random schedules: four vCPUs, two or three other threads, at least eight
//! guest tasks, and an oracle for every invariant at the point at which it must hold.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release -p vpmu --test shuttle -- --show-output`
//!
//! By day each search starts from a fixed seed and does a fixed amount; with `PERFVISOR_NIGHTLY=1`
//! it starts anywhere and goes on for `PERFVISOR_SEARCH_SECONDS` (300 if not set).
//!
//! # When it fails
//!
//! It prints which invariant did not hold, the seed of the execution, and the file that the schedule
//! was written to. Either one brings the failure back:
//!
//! - `SHUTTLE_RANDOM_SEED=<seed>` with `storm_short` starts with that very execution, if it was a
//!   search with random schedules that failed;
//! - `SHUTTLE_REPLAY=<file>` with `-- --ignored replay` plays that schedule, whatever it came from.
//!
//! With `SHUTTLE_TRACE=1` besides, every step of the engine is printed. A night that is over prints a
//! seed as well, though nothing failed: that is where the clock stopped it.
//!
//! What it must find is in the mutants. It knows nothing of memory orders: every atomic is
//! sequentially consistent here. That is the part of the tests for loom.
#![cfg(shuttle)]
#![allow(
    clippy::disallowed_types,
    reason = "what the tests write down for themselves is nobody's to interleave"
)]

mod books;
mod caller;
mod dice;
mod end;
mod family;
mod guest;
mod host;
mod open;
mod pairs;
mod registers;
mod search;
mod small;
mod storm;
mod truth;
mod watch;
mod world;
