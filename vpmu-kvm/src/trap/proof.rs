// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! May this stop at the #GP handler be unwound as an RDPMC? Pure; the proofs one by one.
//!
//! The breakpoint says only that the CPU is about to execute the handler's first instruction. A
//! guest task at CPL 3 can jump there with a stack of its choosing (the breakpoint fires before
//! the page fault), and a frame of its making must not be unwound: it could carry IOPL 3 or a
//! kernel CS. So the state must be one that only a #GP delivered by the CPU leaves behind:
//!
//! - **T1** 64-bit mode, and CPL 0: a handler runs at CPL 0, whoever only jumped there does not.
//! - **T2** RSP lies where the CPU would have put the frame: 48 bytes below the 16-aligned IST
//!   entry, or RSP0 for a frame from CPL 3, or the interrupted RSP for one from CPL 0.
//! - **T3** CS and SS are selectors that a trap from that privilege can have. From CPL 0 CS is the
//!   current one, and so is SS, unless the switch to an IST stack has nulled it (QEMU's TCG does);
//!   then it was a DPL 0 writable data segment. From CPL 3 their RPL is 3, and they name a DPL 3
//!   code segment and a DPL 3 writable data segment.
//! - **T4** Only the flags that delivery itself cleared come back from the frame; IOPL, VM, VIF and
//!   VIP stay as they are.
//! - **T5** The error code is 0 and the bytes at RIP are an RDPMC.
//! - **T6** The guest may execute it: CPL 0, or CR4.PCE set; and the counter exists.
//!
//! A kernel that jumps to its own handler at CPL 0 with such a stack only harms itself: it gets
//! what its own IRET would have given it.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

use super::decode::{MAX_LEN, rdpmc_len};
use super::descriptor::{Gate, segment, tss_stack};
use super::paging;
use crate::GuestMemory;

/// CR4.PCE, bit 8: RDPMC at any CPL.
pub(crate) const CR4_PCE: u64 = 1 << 8;
/// EFER.LMA, bit 10: long mode active.
pub(crate) const EFER_LMA: u64 = 1 << 10;
/// RFLAGS.TF, bit 8: single step.
pub(crate) const RFLAGS_TF: u64 = 1 << 8;
/// RFLAGS.IF, bit 9.
const RFLAGS_IF: u64 = 1 << 9;
/// RFLAGS.NT, bit 14; delivery clears it.
const RFLAGS_NT: u64 = 1 << 14;
/// RFLAGS.RF, bit 16: no instruction breakpoint on the next instruction; delivery clears it.
pub(crate) const RFLAGS_RF: u64 = 1 << 16;
/// Bytes of the frame with its error code: error, RIP, CS, RFLAGS, RSP, SS.
const FRAME: u64 = 48;
/// The frame itself.
type Frame = [u8; 48];
/// Accessed: the CPU sets it as it loads a segment.
const TYPE_ACCESSED: u8 = 1;
/// Code segment, as bit 3 of the type says; data otherwise.
const TYPE_CODE: u8 = 8;
/// Conforming, for code: runs at the caller's privilege.
const TYPE_CONFORMING: u8 = 4;
/// Writable, for data.
const TYPE_WRITABLE: u8 = 2;

/// How to resume after an RDPMC that was emulated; the value is already in RDX:RAX.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unwind {
    /// The registers to set.
    pub(crate) regs: kvm_regs,
    /// CS, where delivery changed it: in a frame from CPL 3.
    pub(crate) cs: Option<kvm_segment>,
    /// SS, where delivery changed it.
    pub(crate) ss: Option<kvm_segment>,
    /// The guest was single-stepping over the RDPMC: it is owed a #DB.
    pub(crate) step: bool,
}

/// Why the guest's own handler gets this #GP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassOn {
    /// T1: not at CPL 0 in 64-bit mode, so no #GP was delivered.
    NotDelivered,
    /// The frame could not be read.
    NoFrame,
    /// T2.
    WrongStack,
    /// T3.
    WrongSelectors,
    /// T5.
    NotRdpmc,
    /// T6: a genuine #GP of an RDPMC.
    NotAllowed,
}

/// Judges a stop at the handler of `gate`. `read_pmc` gives the value of a counter by RDPMC's ECX.
pub(crate) fn judge(
    regs: &kvm_regs,
    sregs: &kvm_sregs,
    gate: Gate,
    mem: &impl GuestMemory,
    read_pmc: impl FnOnce(u32) -> Option<u64>,
) -> Result<Unwind, PassOn> {
    // T1. SS.DPL is the CPL (KVM keeps it so on both vendors); CS must agree.
    let long = sregs.efer & EFER_LMA != 0 && sregs.cs.l == 1;
    if !long || sregs.ss.dpl != 0 || sregs.cs.selector & 3 != 0 {
        return Err(PassOn::NotDelivered);
    }
    let frame: Frame = paging::read_array(sregs, mem, regs.rsp).ok_or(PassOn::NoFrame)?;
    let [error, rip, cs, rflags, rsp, ss] = words(&frame);
    let from_user = cs & 3 == 3;

    // T2.
    let top = if gate.ist != 0 || from_user {
        tss_stack(sregs, mem, gate.ist).ok_or(PassOn::WrongStack)?
    } else {
        rsp
    };
    if regs.rsp != (top & !0xf).wrapping_sub(FRAME) {
        return Err(PassOn::WrongStack);
    }

    // T3. Bits 63:16 of the pushed words are not architectural.
    let selector = |word: u64| u16::from_le_bytes([word.to_le_bytes()[0], word.to_le_bytes()[1]]);
    let (cs, ss) = (selector(cs), selector(ss));
    let (new_cs, new_ss) = if from_user {
        let code = user_code(sregs, mem, cs).ok_or(PassOn::WrongSelectors)?;
        let stack = stack_of(sregs, mem, ss, 3).ok_or(PassOn::WrongSelectors)?;
        (Some(code), Some(stack))
    } else if cs != sregs.cs.selector {
        return Err(PassOn::WrongSelectors);
    } else if ss == sregs.ss.selector {
        (None, None)
    } else if gate.ist != 0 && sregs.ss.selector & !3 == 0 {
        let stack = stack_of(sregs, mem, ss, 0).ok_or(PassOn::WrongSelectors)?;
        (None, Some(stack))
    } else {
        return Err(PassOn::WrongSelectors);
    };
    let long_code = new_cs.is_none_or(|cs| cs.l == 1);
    let code_base = new_cs.map_or(0, |cs| if cs.l == 1 { 0 } else { cs.base });

    // T5.
    if error != 0 {
        return Err(PassOn::NotRdpmc);
    }
    let mut code = [0; MAX_LEN];
    let fetched = paging::read(sregs, mem, code_base.wrapping_add(rip), &mut code);
    let len = rdpmc_len(&code[..fetched], long_code).ok_or(PassOn::NotRdpmc)?;

    // T6. CR0.PE is set: EFER.LMA was checked.
    if from_user && sregs.cr4 & CR4_PCE == 0 {
        return Err(PassOn::NotAllowed);
    }
    let [c0, c1, c2, c3, ..] = regs.rcx.to_le_bytes();
    let value = read_pmc(u32::from_le_bytes([c0, c1, c2, c3])).ok_or(PassOn::NotAllowed)?;

    let next = rip.wrapping_add(u64::from(len));
    Ok(Unwind {
        regs: kvm_regs {
            rax: value & 0xffff_ffff,
            rdx: value >> 32,
            rip: if long_code { next } else { next & 0xffff_ffff },
            rsp,
            rflags: restored_flags(regs.rflags, rflags, gate),
            ..*regs
        },
        cs: new_cs,
        ss: new_ss,
        step: rflags & RFLAGS_TF != 0,
    })
}

/// T4: delivery clears TF, NT and RF, an interrupt gate also IF; nothing else differs between the
/// interrupted flags and the handler's, so nothing else is taken from memory. RF is what the CPU
/// pushes as 1 for a fault; the instruction has completed, so it stays clear.
fn restored_flags(current: u64, saved: u64, gate: Gate) -> u64 {
    let cleared = RFLAGS_TF | RFLAGS_NT | if gate.clears_if { RFLAGS_IF } else { 0 };
    (current & !cleared & !RFLAGS_RF) | (saved & cleared)
}

/// The segment of user code that `selector` names, as the CPU has it once it is loaded: accessed.
fn user_code(sregs: &kvm_sregs, mem: &impl GuestMemory, selector: u16) -> Option<kvm_segment> {
    let code = segment(sregs, mem, selector)?;
    let valid = selector & 3 == 3
        && code.s == 1
        && code.present == 1
        && code.type_ & TYPE_CODE != 0
        && (code.dpl == 3 || code.type_ & TYPE_CONFORMING != 0)
        && !(code.l == 1 && code.db == 1);
    valid.then_some(kvm_segment {
        type_: code.type_ | TYPE_ACCESSED,
        ..code
    })
}

/// The stack segment of privilege `cpl` that `selector` names.
fn stack_of(
    sregs: &kvm_sregs,
    mem: &impl GuestMemory,
    selector: u16,
    cpl: u8,
) -> Option<kvm_segment> {
    let stack = segment(sregs, mem, selector)?;
    let valid = selector & 3 == u16::from(cpl)
        && stack.s == 1
        && stack.present == 1
        && stack.type_ & TYPE_CODE == 0
        && stack.type_ & TYPE_WRITABLE != 0
        && stack.dpl == cpl;
    valid.then_some(kvm_segment {
        type_: stack.type_ | TYPE_ACCESSED,
        ..stack
    })
}

fn words(frame: &Frame) -> [u64; 6] {
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().zip(frame.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    words
}
