// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random things that a guest, its scheduler and the users of events do, one after the other: held
//! against a reference that is told from what is promised, and, where counters are few, against
//! laws that hold whoever gets them.
//!
//! `PROPTEST_CASES` asks for more cases than 256.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(clippy::disallowed_types, reason = "a test of one thread")]

#[path = "../context_rig/mod.rs"]
mod rig;

mod compare;
mod laws;
mod reference;
mod script;
mod world;

use proptest::prelude::*;

proptest! {
    /// With a counter for everybody: states, counts, times, limits, traps in their order, errors
    /// and who traded contexts with whom are the reference's after every step.
    #[test]
    fn what_happens_agrees_with_the_reference(steps in script::steps()) {
        compare::run(&steps);
    }

    /// With few counters: what is counted is counted once, I1, I6, I11, I20 and the law of traps.
    #[test]
    fn what_happens_keeps_the_laws(steps in script::steps()) {
        laws::run(&steps);
    }
}
