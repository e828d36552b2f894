// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port's two registers.

/// Access to the registers of one vCPU, by their offsets ([`perf_port::io`]).
///
/// Kernels have [`PortIo`]; others, such as tests, can be the host themselves.
pub trait Registers {
    /// Writes a register: PAGE or COMMAND. What the host does on that is done when it returns.
    fn write(&self, offset: u16, value: u32);

    /// Reads a register.
    fn read(&self, offset: u16) -> u32;
}

/// The registers of the vCPU that this runs on, by I/O instructions.
///
/// There is no way to make one but [`Port::vcpu`](crate::Port::vcpu), and none to get at it: what is
/// written to PAGE decides where the host writes to.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct PortIo {
    first: u16,
}

#[cfg(target_arch = "x86_64")]
impl PortIo {
    /// The first port has to be that of a perf port.
    pub(crate) const fn at(first: u16) -> Self {
        Self { first }
    }
}

#[cfg(target_arch = "x86_64")]
impl Registers for PortIo {
    fn write(&self, offset: u16, value: u32) {
        let port = self.first.wrapping_add(offset);
        // SAFETY: a register of the perf port, as CPUID tells. On a write the host writes to the
        // fields of the registered page, which are atomic, and for whose address the caller of
        // `VcpuPort::register` vouches.
        unsafe {
            core::arch::asm!("out dx, eax", in("dx") port, in("eax") value,
                options(nostack, preserves_flags));
        }
    }

    fn read(&self, offset: u16) -> u32 {
        let port = self.first.wrapping_add(offset);
        let value: u32;
        // SAFETY: a register of the perf port, as CPUID tells; reading it changes nothing.
        unsafe {
            core::arch::asm!("in eax, dx", in("dx") port, out("eax") value,
                options(nostack, preserves_flags));
        }
        value
    }
}
