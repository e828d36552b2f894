// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! PMIs through the guest's local APIC, on the vCPU's own thread.

use std::sync::Arc;

use kvm_bindings::{Msrs, kvm_lapic_state, kvm_msi, kvm_msr_entry};
use kvm_ioctls::{VcpuFd, VmFd};
use vpmu::lvtpc::{Delivery, Lvtpc};
use vpmu::model::PmuModel;
use vpmu::{PmiOutcome, PmiSink};

use crate::error::{Error, REPORT, kvm};

/// The performance-monitoring LVT entry as an x2APIC MSR (Intel SDM vol. 3A, table 11-6).
const X2APIC_LVTPC: u32 = 0x834;
/// SELF IPI: a write of a vector interrupts the own APIC (Intel SDM vol. 3A, 11.12.11).
const X2APIC_SELF_IPI: u32 = 0x83f;
/// Offset of the LVT entry in the xAPIC register page (Intel SDM vol. 3A, table 11-1).
const XAPIC_LVTPC: usize = 0x340;
/// MSI address of the local APICs; bits 19:12 take the APIC id.
const MSI_ADDRESS: u32 = 0xfee0_0000;

/// The local APIC of one vCPU, as the sink of its PMIs.
#[derive(Debug)]
pub(crate) struct Lapic {
    vm: Arc<VmFd>,
    apic_id: u32,
}

impl Lapic {
    pub(crate) fn new(vm: Arc<VmFd>, apic_id: u32) -> Self {
        Self { vm, apic_id }
    }

    /// The sink, for one entry. `trap_due`: the RDPMC trap's breakpoint is about to fire.
    pub(crate) fn sink<'a>(&'a self, vcpu: &'a VcpuFd, trap_due: bool) -> Sink<'a> {
        Sink {
            lapic: self,
            vcpu,
            trap_due,
        }
    }
}

/// Whether LVTPC can be read and written alone, as an MSR: only in x2APIC mode.
pub(crate) fn lvtpc_is_an_msr(vcpu: &VcpuFd) -> Result<bool, Error> {
    match get_x2apic_lvtpc(vcpu)? {
        Some(lvtpc) => Ok(set_msrs(vcpu, &[entry(X2APIC_LVTPC, lvtpc.0)])? == 1),
        None => Ok(false),
    }
}

/// Delivers PMIs to one vCPU, whose thread this must be.
pub(crate) struct Sink<'a> {
    lapic: &'a Lapic,
    vcpu: &'a VcpuFd,
    trap_due: bool,
}

/// Why a PMI was not delivered; nothing of it is visible to the guest.
#[derive(Debug)]
pub(crate) enum Undelivered {
    /// Another event is on its way into the guest: try again after the next entry.
    NotNow,
    /// A call failed.
    Failed(Error),
}

impl From<Error> for Undelivered {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl PmiSink for Sink<'_> {
    type Error = Undelivered;

    /// Looks at LVTPC, masks it if the model says so, and interrupts.
    ///
    /// LVTPC is changed alone: `KVM_SET_LAPIC` would write the whole register page back and lose
    /// an interrupt that arrives meanwhile. In xAPIC mode there is no other way, so the mask bit is
    /// left alone there: the PMI comes, and a handler that unmasks finds it unmasked.
    fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Undelivered> {
        let x2apic = get_x2apic_lvtpc(self.vcpu)?;
        let lvtpc = match x2apic {
            Some(lvtpc) => lvtpc,
            None => get_xapic_lvtpc(self.vcpu)?,
        };
        if lvtpc.masked() {
            return Ok(PmiOutcome::Masked);
        }
        let mask = (x2apic.is_some() && model.masks_lvtpc_on_pmi())
            .then(|| entry(X2APIC_LVTPC, lvtpc.with_mask().0));
        match lvtpc.delivery() {
            Delivery::Fixed(vector) => {
                if x2apic.is_some() {
                    // One call: masked, then interrupted, as the CPU does.
                    let ipi = entry(X2APIC_SELF_IPI, u32::from(vector));
                    let entries: Vec<_> = mask.into_iter().chain([ipi]).collect();
                    set_all(self.vcpu, &entries)?;
                } else {
                    self.signal_msi(vector)?;
                }
                Ok(PmiOutcome::Fixed(vector))
            }
            Delivery::Nmi => {
                // An NMI must not come between a #GP and the breakpoint on its handler: whatever
                // leaves RFLAGS.RF set in the NMI's frame keeps the breakpoint from firing after
                // it, and the guest sees RDPMC's #GP. KVM on AMD does so for an NMI behind an
                // exception (it steps with TF and RF set), QEMU's TCG for every NMI.
                if self.trap_due || event_in_flight(self.vcpu)? {
                    return Err(Undelivered::NotNow);
                }
                if let Some(mask) = mask {
                    set_all(self.vcpu, &[mask])?;
                }
                self.vcpu.nmi().map_err(kvm("KVM_NMI", REPORT))?;
                Ok(PmiOutcome::Nmi)
            }
            Delivery::Other(_) => Ok(PmiOutcome::Undeliverable),
        }
    }
}

impl Sink<'_> {
    fn signal_msi(&self, vector: u8) -> Result<(), Error> {
        let msi = kvm_msi {
            address_lo: MSI_ADDRESS | (self.lapic.apic_id & 0xff) << 12,
            data: u32::from(vector),
            ..Default::default()
        };
        self.lapic
            .vm
            .signal_msi(msi)
            .map_err(kvm("KVM_SIGNAL_MSI", REPORT))?;
        Ok(())
    }
}

/// Whether an exception or an interrupt is half delivered: the next entry finishes it.
pub(crate) fn event_in_flight(vcpu: &VcpuFd) -> Result<bool, Error> {
    let events = vcpu
        .get_vcpu_events()
        .map_err(kvm("KVM_GET_VCPU_EVENTS", REPORT))?;
    let exception = events.exception.injected != 0 || events.exception.pending != 0;
    Ok(exception || events.interrupt.injected != 0)
}

/// LVTPC in x2APIC mode; nothing in the others, where the MSR is absent.
fn get_x2apic_lvtpc(vcpu: &VcpuFd) -> Result<Option<Lvtpc>, Error> {
    let mut msrs = msrs(&[entry(X2APIC_LVTPC, 0)])?;
    let got = vcpu
        .get_msrs(&mut msrs)
        .map_err(kvm("KVM_GET_MSRS", REPORT))?;
    let [b0, b1, b2, b3, ..] = msrs.as_slice()[0].data.to_le_bytes();
    Ok((got == 1).then_some(Lvtpc(u32::from_le_bytes([b0, b1, b2, b3]))))
}

fn get_xapic_lvtpc(vcpu: &VcpuFd) -> Result<Lvtpc, Error> {
    let lapic: kvm_lapic_state = vcpu.get_lapic().map_err(kvm("KVM_GET_LAPIC", REPORT))?;
    let bytes = [0, 1, 2, 3].map(|byte| lapic.regs[XAPIC_LVTPC + byte].cast_unsigned());
    Ok(Lvtpc(u32::from_le_bytes(bytes)))
}

fn entry(index: u32, data: u32) -> kvm_msr_entry {
    kvm_msr_entry {
        index,
        data: u64::from(data),
        ..Default::default()
    }
}

fn msrs(entries: &[kvm_msr_entry]) -> Result<Msrs, Error> {
    // It fails only for more entries than KVM takes, 256.
    Msrs::from_entries(entries).map_err(|_| Error::Refused { msr: X2APIC_LVTPC })
}

fn set_msrs(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<usize, Error> {
    vcpu.set_msrs(&msrs(entries)?)
        .map_err(kvm("KVM_SET_MSRS", REPORT))
}

fn set_all(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), Error> {
    if set_msrs(vcpu, entries)? == entries.len() {
        return Ok(());
    }
    Err(Error::Refused { msr: X2APIC_LVTPC })
}
