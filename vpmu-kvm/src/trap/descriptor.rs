// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Gates, segments and the TSS, as 64-bit mode lays them out (Intel SDM vol. 3A, 3.4.5, 6.14, 7.7).

use kvm_bindings::{kvm_segment, kvm_sregs};

use super::paging;
use crate::GuestMemory;

/// The vector of #GP.
const GP_VECTOR: u64 = 13;
/// Interrupt gate: delivery clears RFLAGS.IF. A trap gate (0xF) leaves it.
const INTERRUPT_GATE: u8 = 0xe;
const TRAP_GATE: u8 = 0xf;
/// Offset of RSP0 in the 64-bit TSS; RSP1 and RSP2 follow, then a reserved word, then IST1-7.
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 36;

/// The gate that a #GP goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    /// Linear address of the handler's first instruction.
    pub(crate) handler: u64,
    /// Interrupt-stack-table slot, 0 for none.
    pub(crate) ist: u8,
    /// Whether delivery clears RFLAGS.IF.
    pub(crate) clears_if: bool,
}

/// Gate 13 of the guest's IDT, if it is a present 64-bit one.
pub(crate) fn gp_gate(sregs: &kvm_sregs, mem: &impl GuestMemory) -> Option<Gate> {
    let offset = GP_VECTOR * 16;
    if u64::from(sregs.idt.limit) < offset + 15 {
        return None;
    }
    let gate: [u8; 16] = paging::read_array(sregs, mem, sregs.idt.base.wrapping_add(offset))?;
    let [o0, o1, _, _, ist, attributes, o2, o3, o4, o5, o6, o7, ..] = gate;
    let kind = attributes & 0xf;
    let present = attributes & 0x80 != 0;
    (present && matches!(kind, INTERRUPT_GATE | TRAP_GATE)).then(|| Gate {
        handler: u64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]),
        ist: ist & 7,
        clears_if: kind == INTERRUPT_GATE,
    })
}

/// A stack pointer from the TSS: IST `ist`, or RSP0 for 0.
pub(crate) fn tss_stack(sregs: &kvm_sregs, mem: &impl GuestMemory, ist: u8) -> Option<u64> {
    let offset = if ist == 0 {
        TSS_RSP0
    } else {
        TSS_IST1 + 8 * u64::from(ist - 1)
    };
    if u64::from(sregs.tr.limit) < offset + 7 {
        return None;
    }
    paging::read_array(sregs, mem, sregs.tr.base.wrapping_add(offset)).map(u64::from_le_bytes)
}

/// The segment that `selector` names, in the form `KVM_SET_SREGS` takes.
pub(crate) fn segment(
    sregs: &kvm_sregs,
    mem: &impl GuestMemory,
    selector: u16,
) -> Option<kvm_segment> {
    let (base, limit) = if selector & 4 == 0 {
        (sregs.gdt.base, u64::from(sregs.gdt.limit))
    } else if sregs.ldt.unusable == 0 && sregs.ldt.present != 0 {
        (sregs.ldt.base, u64::from(sregs.ldt.limit))
    } else {
        return None;
    };
    let offset = u64::from(selector & !7);
    // Selector 0 to 3 is the null selector, not an entry.
    if selector & !3 == 0 || limit < offset + 7 {
        return None;
    }
    let d = u64::from_le_bytes(paging::read_array(sregs, mem, base.wrapping_add(offset))?);
    let bit = |n: u32| u8::from(d >> n & 1 == 1);
    let granular = bit(55) == 1;
    let limit = u32::try_from((d & 0xffff) | (d >> 32 & 0xf_0000)).ok()?;
    Some(kvm_segment {
        base: (d >> 16 & 0xff_ffff) | (d >> 32 & 0xff00_0000),
        limit: if granular { limit << 12 | 0xfff } else { limit },
        selector,
        type_: u8::try_from(d >> 40 & 0xf).ok()?,
        s: bit(44),
        dpl: u8::try_from(d >> 45 & 3).ok()?,
        present: bit(47),
        avl: bit(52),
        l: bit(53),
        db: bit(54),
        g: bit(55),
        unusable: 0,
        padding: 0,
    })
}
