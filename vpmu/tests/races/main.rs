// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every race of the perf core, replayed step by step, and what happens to a target in each state.
//!
//! A replay is named after its race, and its documentation lists the steps in their order. Each
//! runs in one thread, or in several that wait for each other: nothing is left to chance.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests of one thread, or of several that stop each other"
)]

#[path = "../context_rig/mod.rs"]
mod rig;

mod checks;
mod other;
mod r01;
mod r02;
mod r03;
mod r04;
mod r05;
mod r06;
mod r07;
mod r08;
mod r09;
mod r10;
mod r11;
mod r12;
mod r13;
mod r14;
mod r15;
mod r16;
mod r17;
mod r18;
mod r19;
mod r20;
mod r21;
mod r22;
mod r23;
mod r24;
mod shares;
mod table;
