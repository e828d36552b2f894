// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port of the machine that this runs on.

use perf_port::cpuid::{Discovery, Leaf};

use crate::{Page, PortIo, VcpuPort};

/// The perf port of this machine.
///
/// ```
/// // A CPU without one says so.
/// if let Some(port) = perf_port_guest::discover() {
///     assert!(port.info().version >= 1);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(Discovery);

/// The perf port of this machine, if it has one.
#[must_use]
pub fn discover() -> Option<Port> {
    Discovery::find(|number| {
        let leaf = core::arch::x86_64::__cpuid(number);
        Leaf {
            eax: leaf.eax,
            ebx: leaf.ebx,
            ecx: leaf.ecx,
            edx: leaf.edx,
        }
    })
    .map(Port)
}

impl Port {
    /// What CPUID tells of it: version, features, the vector of traps, the tick page.
    #[must_use]
    pub const fn info(&self) -> &Discovery {
        &self.0
    }

    /// The port as one vCPU has it: made where it is used, on that vCPU, with that vCPU's page.
    #[must_use]
    pub const fn vcpu(&self, page: &'static Page) -> VcpuPort<'static, PortIo> {
        VcpuPort::new(page, PortIo::at(self.0.port))
    }
}
