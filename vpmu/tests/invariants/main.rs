// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Every invariant of the perf core, checked where it is promised: I1, I2 and I13 at the entry to
//! the guest, I3, I4, I5 and I9 when the operation returns, I14, I15 and I17 when all is quiet, the
//! others whenever somebody can look. One file an invariant, then what they are made of.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "tests of one thread, or of two that wait for each other"
)]

#[path = "../context_rig/mod.rs"]
mod rig;

mod checks;

mod i01;
mod i02;
mod i03;
mod i04;
mod i05;
mod i06;
mod i07;
mod i08;
mod i09;
mod i10;
mod i11;
mod i12;
mod i13;
mod i14;
mod i15;
mod i16;
mod i17;
mod i18;
mod i19;
mod i20;
mod i21;

mod errors;
mod exec;
mod filters;
mod groups;
mod names;
mod notices;
mod periods;
mod pinned;
mod rotation;
mod throttle;
