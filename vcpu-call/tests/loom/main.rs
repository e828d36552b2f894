// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The crate under a model checker: every interleaving of small scenarios, one file a protocol.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release -p vcpu-call --test loom`
//!
//! A deadlock ends the whole process: loom's panic meets the vCPUs' drops, which lock. `--exact` with
//! `--nocapture` shows the threads it found then.
#![cfg(loom)]

mod search;

mod drops;
mod kick;
mod lock;
mod lock_and_call;
mod offline;
mod park;
mod waiting;
