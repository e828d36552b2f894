// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! RDPMC for a PMU in user space: a breakpoint on the guest's own #GP handler.
//!
//! KVM never exits to user space for RDPMC; without a PMU of its own it raises #GP. So an execute
//! breakpoint sits on the first instruction of the guest's #GP handler. When it fires, `proof` decides
//! whether the CPU really delivered the #GP of an RDPMC that the guest may execute; if so the
//! instruction is emulated and the frame unwound, if not the guest's handler runs.
//!
//! What it costs the guest: while armed its own hardware breakpoints do not fire (KVM hands all four
//! debug registers to user space), and its single steps and ICEBP take a detour through us.

mod cause;
mod decode;
mod descriptor;
mod paging;
mod proof;

use kvm_bindings::{
    KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_INJECT_DB, KVM_GUESTDBG_USE_HW_BP, kvm_debug_exit_arch,
    kvm_guest_debug, kvm_regs, kvm_sregs,
};
use kvm_ioctls::{SyncReg, VcpuFd};

use self::cause::{Cause, DR6_BS, cause};
use self::descriptor::Gate;
use self::proof::{EFER_LMA, PassOn, RFLAGS_RF, Unwind};
use crate::GuestMemory;
use crate::error::{Error, REPORT, kvm};

/// DR7: G3 enables DR3 (its R/W and LEN fields 0: execute, one byte); bit 10 reads as one.
const DR7_G3: u64 = 1 << 7 | 1 << 10;
/// Control of the guest's debug registers while armed.
const ARMED: u32 = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
/// What the trap has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrapStats {
    /// RDPMCs emulated.
    pub emulated: u64,
    /// #GPs that went to the guest's own handler.
    pub passed_on: u64,
    /// Stops at the handler's address without a #GP: somebody jumped there.
    pub forged: u64,
    /// The guest's own single steps and ICEBPs, re-injected.
    pub reinjected: u64,
    /// Times the breakpoint was set or moved.
    pub armed: u64,
}

/// What became of a debug exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    Emulated,
    PassedOn,
    Forged,
    Reinjected,
}

/// The trap of one vCPU.
#[derive(Debug, Default)]
pub(crate) struct RdpmcTrap {
    gate: Option<Gate>,
    stats: TrapStats,
}

impl RdpmcTrap {
    pub(crate) fn stats(&self) -> TrapStats {
        self.stats
    }

    /// Puts the breakpoint on the guest's present #GP handler.
    ///
    /// Once armed it stays so while there is a handler: Linux disables a counter first and reads
    /// it by RDPMC afterwards. A guest without a 64-bit gate 13 gets its #GPs as they come.
    pub(crate) fn arm(&mut self, vcpu: &mut VcpuFd, mem: &impl GuestMemory) -> Result<(), Error> {
        let sregs = get_sregs(vcpu)?;
        let long = sregs.efer & EFER_LMA != 0;
        let gate = if long {
            descriptor::gp_gate(&sregs, mem)
        } else {
            None
        };
        if gate.map(|gate| gate.handler) != self.gate.map(|gate| gate.handler) {
            let mut debug = kvm_guest_debug::default();
            if let Some(gate) = gate {
                debug = armed_at(gate, 0);
                // From here on each exit leaves the registers in kvm_run: a stop at the handler
                // needs no KVM_GET_REGS.
                vcpu.set_sync_valid_reg(SyncReg::Register);
                self.stats.armed += 1;
            }
            vcpu.set_guest_debug(&debug)
                .map_err(kvm("KVM_SET_GUEST_DEBUG", REPORT))?;
        }
        self.gate = gate;
        Ok(())
    }

    /// Takes the breakpoint away, and forgets the guest that it was for.
    pub(crate) fn disarm(&mut self, vcpu: &mut VcpuFd) -> Result<(), Error> {
        self.gate = None;
        vcpu.clear_sync_valid_reg(SyncReg::Register);
        vcpu.clear_sync_dirty_reg(SyncReg::Register);
        vcpu.set_guest_debug(&kvm_guest_debug::default())
            .map_err(kvm("KVM_SET_GUEST_DEBUG", REPORT))
    }

    /// Whether the guest stands before the first instruction of its #GP handler: the breakpoint
    /// there is about to fire.
    pub(crate) fn is_due(&self, vcpu: &mut VcpuFd) -> bool {
        self.gate
            .is_some_and(|gate| vcpu.sync_regs_mut().regs.rip == gate.handler)
    }

    /// Deals with a debug exit. `read_pmc` gives a counter's value by RDPMC's ECX.
    pub(crate) fn resolve(
        &mut self,
        vcpu: &mut VcpuFd,
        mem: &impl GuestMemory,
        exit: &kvm_debug_exit_arch,
        read_pmc: impl FnOnce(u32) -> Option<u64>,
    ) -> Result<(), Error> {
        let regs = vcpu.sync_regs().regs;
        let sregs = get_sregs(vcpu)?;
        let resolved = match cause(exit, &regs, &sregs, mem) {
            Cause::Step => {
                self.reinject(vcpu, DR6_BS)?;
                Resolved::Reinjected
            }
            Cause::Icebp => {
                self.reinject(vcpu, 0)?;
                Resolved::Reinjected
            }
            // RF stays as it is: the next instruction may be the handler's first.
            Cause::Kvm => return Ok(()),
            Cause::Breakpoint => {
                // The gate as it is now: another vCPU may have rewritten it since the arming.
                match descriptor::gp_gate(&sregs, mem).filter(|gate| gate.handler == regs.rip) {
                    Some(gate) => self.at_handler(vcpu, mem, &regs, &sregs, gate, read_pmc)?,
                    None => {
                        resume(vcpu, &regs);
                        Resolved::Forged
                    }
                }
            }
        };
        match resolved {
            Resolved::Emulated => self.stats.emulated += 1,
            Resolved::PassedOn => self.stats.passed_on += 1,
            Resolved::Forged => self.stats.forged += 1,
            Resolved::Reinjected => self.stats.reinjected += 1,
        }
        Ok(())
    }

    fn at_handler(
        &mut self,
        vcpu: &mut VcpuFd,
        mem: &impl GuestMemory,
        regs: &kvm_regs,
        sregs: &kvm_sregs,
        gate: Gate,
        read_pmc: impl FnOnce(u32) -> Option<u64>,
    ) -> Result<Resolved, Error> {
        match proof::judge(regs, sregs, gate, mem, read_pmc) {
            Ok(unwind) => {
                self.unwind(vcpu, sregs, &unwind)?;
                Ok(Resolved::Emulated)
            }
            Err(why) => {
                resume(vcpu, regs);
                Ok(match why {
                    PassOn::NotDelivered => Resolved::Forged,
                    _ => Resolved::PassedOn,
                })
            }
        }
    }

    fn unwind(&self, vcpu: &mut VcpuFd, sregs: &kvm_sregs, unwind: &Unwind) -> Result<(), Error> {
        if unwind.cs.is_some() || unwind.ss.is_some() {
            let sregs = kvm_sregs {
                cs: unwind.cs.unwrap_or(sregs.cs),
                ss: unwind.ss.unwrap_or(sregs.ss),
                ..*sregs
            };
            vcpu.set_sregs(&sregs)
                .map_err(kvm("KVM_SET_SREGS", REPORT))?;
        }
        if !unwind.step {
            set_regs(vcpu, unwind.regs);
            return Ok(());
        }
        // The trap that the RDPMC would have raised on completion. Setting the registers drops
        // pending exceptions, so that comes first.
        vcpu.set_regs(&unwind.regs)
            .map_err(kvm("KVM_SET_REGS", REPORT))?;
        vcpu.sync_regs_mut().regs = unwind.regs;
        self.reinject(vcpu, DR6_BS)
    }

    /// Gives the guest a #DB with `cause` in its DR6.
    fn reinject(&self, vcpu: &VcpuFd, cause: u64) -> Result<(), Error> {
        if cause != 0 {
            let mut debug = vcpu
                .get_debug_regs()
                .map_err(kvm("KVM_GET_DEBUGREGS", REPORT))?;
            debug.dr6 |= cause;
            vcpu.set_debug_regs(&debug)
                .map_err(kvm("KVM_SET_DEBUGREGS", REPORT))?;
        }
        // Without a gate the debug exit came from a breakpoint that has just been taken away.
        let debug = self.gate.map_or_else(
            || kvm_guest_debug {
                control: KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_DB,
                ..Default::default()
            },
            |gate| armed_at(gate, KVM_GUESTDBG_INJECT_DB),
        );
        vcpu.set_guest_debug(&debug)
            .map_err(kvm("KVM_SET_GUEST_DEBUG", REPORT))
    }
}

fn armed_at(gate: Gate, extra: u32) -> kvm_guest_debug {
    let mut debug = kvm_guest_debug {
        control: ARMED | extra,
        ..Default::default()
    };
    debug.arch.debugreg[3] = gate.handler;
    debug.arch.debugreg[7] = DR7_G3;
    debug
}

/// Lets the guest execute the instruction under the breakpoint.
fn resume(vcpu: &mut VcpuFd, regs: &kvm_regs) {
    set_regs(
        vcpu,
        kvm_regs {
            rflags: regs.rflags | RFLAGS_RF,
            ..*regs
        },
    );
}

/// Sets the registers as the next `KVM_RUN` begins: one ioctl less than `KVM_SET_REGS`.
fn set_regs(vcpu: &mut VcpuFd, regs: kvm_regs) {
    vcpu.sync_regs_mut().regs = regs;
    vcpu.set_sync_dirty_reg(SyncReg::Register);
}

fn get_sregs(vcpu: &VcpuFd) -> Result<kvm_sregs, Error> {
    vcpu.get_sregs().map_err(kvm("KVM_GET_SREGS", REPORT))
}

#[cfg(test)]
mod tests;
