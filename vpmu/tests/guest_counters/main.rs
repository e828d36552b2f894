// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The counters of the guest's own PMU on the perf core (G5): how they share a vCPU's counters with
//! the host's events, that nothing moves one that runs, and that the registers cannot tell the perf
//! core from a bare source.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests of one thread"
)]

#[path = "../context_rig/mod.rs"]
mod rig;

mod checks;

mod hotplug;
mod ordinary;
mod registers;
mod reprogramming;
mod sharing;
mod told;
mod traffic;
