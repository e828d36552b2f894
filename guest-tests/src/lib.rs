// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Boots the guest test kernels on real KVM and judges their TAP output.
//!
//! [`tap`] reads what a kernel printed, [`mod@judge`] says what of it passed, [`boot`] runs a
//! kernel through the `vmm` library.

pub mod boot;
pub mod judge;
pub mod tap;

pub use judge::{Ending, Verdict, judge};
