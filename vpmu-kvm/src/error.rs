// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What can go wrong between a PMU and KVM: each error names the call and the remedy.

use thiserror::Error;
use vmm_sys_util::errno;
use vpmu::context::PerfError;

/// A failed call to KVM or to the host, with what the user can do about it.
#[derive(Debug, Error)]
pub enum Error {
    /// A KVM ioctl failed.
    #[error("{call} failed: {remedy}")]
    Kvm {
        /// The ioctl, named as in the KVM API document.
        call: &'static str,
        /// What the user can do.
        remedy: &'static str,
        /// The errno.
        #[source]
        source: errno::Error,
    },
    /// This KVM lacks a capability.
    #[error("{capability} is missing: it needs Linux {since} or newer on the host")]
    Missing {
        /// The capability, named as in the KVM API document.
        capability: &'static str,
        /// The first kernel that has it.
        since: &'static str,
    },
    /// A host call (signals, timers, clocks) failed.
    #[error("{call} failed: {remedy}")]
    Host {
        /// The call.
        call: &'static str,
        /// What the user can do.
        remedy: &'static str,
        /// The errno.
        #[source]
        source: errno::Error,
    },
    /// KVM refused an MSR that a PMU needs.
    #[error("KVM refused MSR {msr:#x}, which a PMU needs: run without a PMU on this host")]
    Refused {
        /// The MSR.
        msr: u32,
    },
    /// The thread that probes the host panicked.
    #[error("The probe of this host panicked: report it")]
    ProbePanicked,
    /// A vCPU thread is already bound to another vCPU.
    #[error("This thread already runs a vCPU: start one thread for each")]
    ThreadBound,
    /// The perf core refused.
    #[error(transparent)]
    PerfCore(#[from] PerfError),
}

/// Says in one line which ioctl failed and what to do.
pub(crate) fn kvm(call: &'static str, remedy: &'static str) -> impl FnOnce(errno::Error) -> Error {
    move |source| Error::Kvm {
        call,
        remedy,
        source,
    }
}

/// The remedy for a VM or vCPU that KVM does not make.
pub(crate) const CREATE: &str = "Close other virtual machines (another hypervisor may hold the CPU) or raise the limit of open files";

/// The remedy for an ioctl that only fails when the VM itself is broken.
pub(crate) const REPORT: &str = "The VM cannot go on; see the host's kernel log and report it";
