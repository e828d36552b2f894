// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The KVM accelerator: the vCPU interface over `/dev/kvm`, with the PMU of vpmu-kvm.

mod cpuid;
mod error;
mod exits;
mod fresh;
mod host;
mod registers;
mod vcpu;
mod vm;

pub use error::KvmError;
pub use host::probe;
pub(crate) use host::{counts, host_vendor, refuses, usual_model};
pub(crate) use vm::{Config, KvmMachine};

/// The accelerator's name in reports.
pub(crate) const NAME: &str = "kvm";
/// Where the PMU's counts come from, for reports.
pub(crate) const PMU_SOURCE: &str =
    "clock: cycles are modelled from unhalted in-guest time at the TSC rate, not measured";
