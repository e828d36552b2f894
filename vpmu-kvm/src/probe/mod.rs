// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What this host can do: asked of KVM, and shown by a guest of a few instructions.

mod guest;
mod report;

use std::sync::Arc;
use std::thread;

use kvm_ioctls::Kvm;

use crate::error::{CREATE, Error, kvm};
use crate::vm::{self, REQUIRED};

pub use report::{
    Access, Breakpoint, Capability, HostReport, Offer, RdpmcFault, TrapCheck, Vendor,
};

/// Looks at the host and runs the probe guest; takes some milliseconds, and a second or two at
/// most where the host's KVM does not do what it should.
///
/// # Errors
/// When KVM refuses even an empty VM; what it merely lacks is in the report.
pub fn probe(kvm_fd: &Kvm) -> Result<HostReport, Error> {
    let capabilities = REQUIRED
        .iter()
        .map(|&(name, number, since)| Capability {
            name,
            present: vm::capability(kvm_fd, number) != 0,
            since,
        })
        .collect::<Vec<_>>();
    let own_pmu = vm::capability(kvm_fd, kvm_bindings::KVM_CAP_PMU_CAPABILITY) != 0;
    let guest = if capabilities.iter().all(|capability| capability.present) {
        let vm = Arc::new(kvm_fd.create_vm().map_err(kvm("KVM_CREATE_VM", CREATE))?);
        // A thread of its own, since its kicks are bound to it.
        thread::scope(|scope| scope.spawn(|| guest::run(kvm_fd, &vm)).join())
            .unwrap_or(Err(Error::ProbePanicked))?
    } else {
        guest::Findings::default()
    };
    Ok(HostReport::new(
        kvm_fd.get_api_version(),
        capabilities,
        own_pmu,
        guest,
    ))
}
