// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Boots the guest test kernels on real KVM and judges their TAP output.
//!
//! [`plan`] says on which machines a kernel runs, [`boot`] runs it there through the `vmm` library,
//! [`mover`] moving its threads if need be and [`desk`] doing for it what takes a host, [`tap`] reads
//! what it printed, [`mod@judge`] says what of that passed. [`steps`] is what remains of a run's trace.

pub mod boot;
pub mod desk;
pub mod judge;
pub mod mover;
pub mod plan;
pub mod steps;
pub mod tap;

pub use judge::{Ending, Verdict, judge};
