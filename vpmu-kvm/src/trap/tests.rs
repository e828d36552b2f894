// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The proofs of the RDPMC trap, each against the state that breaks just it.

use std::cell::RefCell;

use kvm_bindings::{kvm_debug_exit_arch, kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};
use proptest::prelude::*;

use super::cause::{Cause, cause};
use super::descriptor::{self, Gate};
use super::paging;
use super::proof::{PassOn, Unwind, judge};
use crate::GuestMemory;

/// The guest's RAM, identity mapped by 4 KiB pages below `MAPPED`.
struct Ram(RefCell<Vec<u8>>);

const MAPPED: u64 = 0x2_0000;
const PML4: u64 = 0x2_0000;
const GDT: u64 = 0x4000;
const IDT: u64 = 0x5000;
const TSS: u64 = 0x6000;
const USER_CODE: u64 = 0x8000;
const KERNEL_CODE: u64 = 0x9000;
const HANDLER: u64 = 0xa000;
const RSP0: u64 = 0xf000;
const IST2: u64 = 0x1_1000;
const USER_STACK: u64 = 0x1_3008;
const KERNEL_STACK: u64 = 0xe018;
const USER_FLAGS: u64 = 0x4_0a93; // AC, OF, IF, SF, AF, CF
const VALUE: u64 = 0xabcd_1234_5678;

impl GuestMemory for Ram {
    fn read(&self, gpa: u64, buf: &mut [u8]) -> bool {
        let ram = self.0.borrow();
        let at = usize::try_from(gpa).unwrap();
        ram.get(at..at.saturating_add(buf.len()))
            .is_some_and(|bytes| {
                buf.copy_from_slice(bytes);
                true
            })
    }
}

impl Ram {
    fn put(&self, gpa: u64, bytes: &[u8]) {
        let at = usize::try_from(gpa).unwrap();
        self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u64(&self, gpa: u64, word: u64) {
        self.put(gpa, &word.to_le_bytes());
    }

    fn put_frame(&self, rsp: u64, frame: [u64; 6]) {
        for (slot, word) in (0..).zip(frame) {
            self.put_u64(rsp + 8 * slot, word);
        }
    }
}

/// A guest that has just taken a #GP.
struct Guest {
    ram: Ram,
    regs: kvm_regs,
    sregs: kvm_sregs,
}

impl Guest {
    /// With its tables and both pieces of code, at the first instruction of its #GP handler.
    fn new() -> Self {
        let ram = Ram(RefCell::new(vec![0; 0x3_0000]));
        ram.put_u64(PML4, (PML4 + 0x1000) | 7);
        ram.put_u64(PML4 + 0x1000, (PML4 + 0x2000) | 7);
        ram.put_u64(PML4 + 0x2000, (PML4 + 0x3000) | 7);
        for page in 0..MAPPED / 0x1000 {
            ram.put_u64(PML4 + 0x3000 + page * 8, (page * 0x1000) | 7);
        }
        // Kernel code and data, 32-bit user code, user data, 64-bit user code.
        for (slot, descriptor) in (0..).zip([
            0,
            0x00af_9b00_0000_ffff,
            0x00cf_9300_0000_ffff,
            0x00cf_fb00_0000_ffff,
            0x00cf_f300_0000_ffff,
            0x00af_fb00_0000_ffff,
        ]) {
            ram.put_u64(GDT + 8 * slot, descriptor);
        }
        let guest = Self {
            ram,
            regs: kvm_regs {
                rip: HANDLER,
                rax: 1,
                rbx: 2,
                rcx: 0,
                rdx: 3,
                rflags: 2,
                ..kvm_regs::default()
            },
            sregs: kvm_sregs {
                cs: kvm_segment {
                    selector: 0x08,
                    l: 1,
                    s: 1,
                    present: 1,
                    type_: 0xb,
                    ..kvm_segment::default()
                },
                ss: kvm_segment {
                    selector: 0x10,
                    s: 1,
                    present: 1,
                    type_: 3,
                    ..kvm_segment::default()
                },
                tr: kvm_segment {
                    base: TSS,
                    limit: 0x67,
                    ..kvm_segment::default()
                },
                gdt: kvm_dtable {
                    base: GDT,
                    limit: 47,
                    ..kvm_dtable::default()
                },
                idt: kvm_dtable {
                    base: IDT,
                    limit: 14 * 16 - 1,
                    ..kvm_dtable::default()
                },
                cr0: 0x8001_0033,
                cr3: PML4,
                cr4: 0x120,
                efer: 0x500,
                ..kvm_sregs::default()
            },
        };
        guest.gate(0, 0xe);
        guest.ram.put_u64(TSS + 4, RSP0);
        guest.ram.put_u64(TSS + 36 + 8, IST2);
        guest.ram.put(USER_CODE, &[0x66, 0x0f, 0x33, 0xf4]);
        guest.ram.put(KERNEL_CODE, &[0x0f, 0x33, 0xf4]);
        guest
    }

    fn gate(&self, ist: u8, kind: u8) {
        self.ram.put_u64(
            IDT + 13 * 16,
            HANDLER | 0x08 << 16 | u64::from(ist) << 32 | u64::from(0x80 | kind) << 40,
        );
    }

    /// A #GP that an RDPMC at CPL 3 raised.
    fn from_user() -> Self {
        let mut guest = Self::new();
        guest.sregs.ss = kvm_segment {
            selector: 0,
            unusable: 1,
            ..kvm_segment::default()
        };
        guest.regs.rsp = RSP0 - 48;
        // What the interrupt gate leaves of the flags.
        guest.regs.rflags = USER_FLAGS & !0x200;
        guest.user_frame(|_| {});
        guest
    }

    fn user_frame(&self, change: impl FnOnce(&mut [u64; 6])) {
        let mut frame = [0, USER_CODE, 0x2b, USER_FLAGS | 0x1_0000, USER_STACK, 0x23];
        change(&mut frame);
        self.ram.put_frame(self.regs.rsp, frame);
    }

    /// A #GP that an RDPMC at CPL 0 raised.
    fn from_kernel() -> Self {
        let mut guest = Self::new();
        guest.regs.rsp = (KERNEL_STACK & !0xf) - 48;
        guest.kernel_frame(|_| {});
        guest
    }

    fn kernel_frame(&self, change: impl FnOnce(&mut [u64; 6])) {
        let mut frame = [0, KERNEL_CODE, 0x08, 0x1_0202, KERNEL_STACK, 0x10];
        change(&mut frame);
        self.ram.put_frame(self.regs.rsp, frame);
    }

    fn judge(&self) -> Result<Unwind, PassOn> {
        let gate: Gate = descriptor::gp_gate(&self.sregs, &self.ram).expect("a gate");
        judge(&self.regs, &self.sregs, gate, &self.ram, |index| {
            (index < 4).then_some(VALUE)
        })
    }
}

#[test]
fn an_rdpmc_at_cpl3_is_unwound_whole() {
    let unwind = Guest::from_user().judge().unwrap();
    let (cs, ss) = (unwind.cs.unwrap(), unwind.ss.unwrap());
    assert_eq!(
        (cs.selector, cs.dpl, cs.l, cs.db, cs.limit),
        (0x2b, 3, 1, 0, 0xffff_ffff)
    );
    assert_eq!((ss.selector, ss.dpl, ss.l, ss.db), (0x23, 3, 0, 1));
    assert_eq!(unwind.regs.rip, USER_CODE + 3, "past the prefix too");
    assert_eq!((unwind.regs.rax, unwind.regs.rdx), (0x1234_5678, 0xabcd));
    assert_eq!((unwind.regs.rbx, unwind.regs.rcx), (2, 0));
    assert_eq!(unwind.regs.rsp, USER_STACK);
    assert_eq!(
        unwind.regs.rflags, USER_FLAGS,
        "RF clear, IF back, the rest untouched"
    );
    assert!(!unwind.step);
}

#[test]
fn an_rdpmc_at_cpl0_is_unwound_without_touching_segments() {
    let unwind = Guest::from_kernel().judge().unwrap();
    assert_eq!((unwind.cs, unwind.ss), (None, None));
    assert_eq!(
        (unwind.regs.rip, unwind.regs.rsp),
        (KERNEL_CODE + 2, KERNEL_STACK)
    );
    assert_eq!(unwind.regs.rflags, 0x202);
}

#[test]
fn t1_a_jump_to_the_handler_at_cpl3_is_no_gp() {
    let mut guest = Guest::from_user();
    guest.sregs.cs = kvm_segment {
        selector: 0x2b,
        dpl: 3,
        l: 1,
        ..guest.sregs.cs
    };
    guest.sregs.ss = kvm_segment {
        selector: 0x23,
        dpl: 3,
        ..kvm_segment::default()
    };
    assert_eq!(guest.judge(), Err(PassOn::NotDelivered));
    let mut guest = Guest::from_user();
    guest.sregs.ss.dpl = 3;
    assert_eq!(
        guest.judge(),
        Err(PassOn::NotDelivered),
        "SS.DPL alone is the CPL"
    );
}

#[test]
fn t1_outside_64_bit_mode_nothing_is_unwound() {
    let mut guest = Guest::from_kernel();
    guest.sregs.efer = 0x100;
    assert_eq!(guest.judge(), Err(PassOn::NotDelivered));
    let mut guest = Guest::from_kernel();
    guest.sregs.cs.l = 0;
    assert_eq!(guest.judge(), Err(PassOn::NotDelivered));
}

#[test]
fn t2_a_frame_off_rsp0_is_not_unwound() {
    for offset in [8, 16, 0x800] {
        let mut guest = Guest::from_user();
        guest.regs.rsp -= offset;
        guest.user_frame(|_| {});
        assert_eq!(guest.judge(), Err(PassOn::WrongStack), "{offset}");
    }
}

#[test]
fn t2_rsp0_is_aligned_down_as_the_cpu_does() {
    let guest = Guest::from_user();
    guest.ram.put_u64(TSS + 4, RSP0 + 15);
    assert!(guest.judge().is_ok());
    guest.ram.put_u64(TSS + 4, RSP0 + 16);
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
}

#[test]
fn t2_with_an_ist_the_frame_lies_there_from_either_privilege() {
    let mut guest = Guest::from_user();
    guest.gate(2, 0xe);
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
    guest.regs.rsp = IST2 - 48;
    guest.user_frame(|_| {});
    assert!(guest.judge().is_ok());
    let mut guest = Guest::from_kernel();
    guest.gate(2, 0xe);
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
    guest.regs.rsp = IST2 - 48;
    guest.kernel_frame(|_| {});
    assert!(guest.judge().is_ok());
}

#[test]
fn t2_a_kernel_frame_lies_just_below_the_stack_it_names() {
    let guest = Guest::from_kernel();
    guest.kernel_frame(|frame| frame[4] = KERNEL_STACK + 16);
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
}

#[test]
fn t2_a_tss_too_short_for_its_stack_is_not_believed() {
    let mut guest = Guest::from_user();
    guest.sregs.tr.limit = 10;
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
}

#[test]
fn t3_selectors_that_no_trap_from_cpl3_has_are_refused() {
    let cases: [(&str, u64, u64); 8] = [
        ("SS with RPL 0", 0x2b, 0x20),
        ("SS with RPL 0, kernel data", 0x2b, 0x10),
        ("kernel code with RPL 3", 0x0b, 0x23),
        ("kernel data with RPL 3", 0x2b, 0x13),
        ("data as code", 0x23, 0x23),
        ("code as stack", 0x2b, 0x2b),
        ("beyond the GDT", 0x33, 0x23),
        ("a null stack segment", 0x2b, 0x03),
    ];
    for (what, cs, ss) in cases {
        let guest = Guest::from_user();
        guest.user_frame(|frame| (frame[2], frame[5]) = (cs, ss));
        assert_eq!(guest.judge(), Err(PassOn::WrongSelectors), "{what}");
    }
    // With RPL 0 it claims to come from CPL 0, and then RSP0 is the wrong stack.
    let guest = Guest::from_user();
    guest.user_frame(|frame| frame[2] = 0x08);
    assert_eq!(guest.judge(), Err(PassOn::WrongStack));
}

#[test]
fn t3_a_frame_from_cpl0_has_the_current_selectors() {
    for change in [
        |frame: &mut [u64; 6]| frame[2] = 0x18,
        |frame: &mut [u64; 6]| frame[5] = 0x18,
    ] {
        let guest = Guest::from_kernel();
        guest.kernel_frame(change);
        assert_eq!(guest.judge(), Err(PassOn::WrongSelectors));
    }
}

#[test]
fn t3_an_ist_that_nulled_the_kernels_ss_gives_it_back() {
    let mut guest = Guest::from_kernel();
    guest.gate(2, 0xe);
    guest.regs.rsp = IST2 - 48;
    guest.sregs.ss = kvm_segment {
        selector: 0,
        unusable: 1,
        ..kvm_segment::default()
    };
    guest.kernel_frame(|_| {});
    let unwind = guest.judge().unwrap();
    let ss = unwind.ss.expect("the kernel's stack segment");
    assert_eq!((ss.selector, ss.dpl), (0x10, 0));
    assert_eq!(unwind.cs, None);
    // What is no kernel stack segment is refused: user data, kernel code, RPL 3.
    for selector in [0x23, 0x20, 0x08, 0x13] {
        guest.kernel_frame(|frame| frame[5] = selector);
        assert_eq!(guest.judge(), Err(PassOn::WrongSelectors), "{selector:#x}");
    }
    // Without an IST nothing nulls SS.
    guest.gate(0, 0xe);
    guest.regs.rsp = (KERNEL_STACK & !0xf) - 48;
    guest.kernel_frame(|_| {});
    assert_eq!(guest.judge(), Err(PassOn::WrongSelectors));
}

#[test]
fn t3_an_ldt_segment_is_looked_up_only_where_there_is_an_ldt() {
    let mut guest = Guest::from_user();
    guest.user_frame(|frame| frame[2] = 0x2f);
    assert_eq!(guest.judge(), Err(PassOn::WrongSelectors));
    guest.sregs.ldt = kvm_segment {
        base: GDT,
        limit: 47,
        present: 1,
        ..kvm_segment::default()
    };
    assert!(guest.judge().is_ok());
    guest.sregs.ldt.unusable = 1;
    assert_eq!(guest.judge(), Err(PassOn::WrongSelectors));
}

#[test]
fn t4_a_frame_cannot_bring_iopl_or_other_privileged_flags() {
    let guest = Guest::from_user();
    // IOPL 3, VM, VIF, VIP, RF.
    guest.user_frame(|frame| frame[3] |= 0x3000 | 0x2_0000 | 0x8_0000 | 0x10_0000 | 0x1_0000);
    assert_eq!(guest.judge().unwrap().regs.rflags, USER_FLAGS);
}

#[test]
fn t4_iopl_that_the_task_has_stays() {
    let mut guest = Guest::from_user();
    guest.regs.rflags |= 0x3000;
    assert_eq!(guest.judge().unwrap().regs.rflags, USER_FLAGS | 0x3000);
}

#[test]
fn t4_if_comes_back_only_through_an_interrupt_gate() {
    let guest = Guest::from_user();
    guest.gate(0, 0xf);
    assert_eq!(
        guest.judge().unwrap().regs.rflags,
        USER_FLAGS & !0x200,
        "a trap gate left it alone"
    );
}

#[test]
fn t4_a_single_step_is_owed_and_nt_comes_back() {
    let guest = Guest::from_user();
    guest.user_frame(|frame| frame[3] |= 0x4100);
    let unwind = guest.judge().unwrap();
    assert!(unwind.step);
    assert_eq!(unwind.regs.rflags, USER_FLAGS | 0x4100);
}

#[test]
fn t5_another_gp_is_passed_on() {
    let guest = Guest::from_user();
    guest.user_frame(|frame| frame[1] = USER_CODE + 3); // HLT
    assert_eq!(guest.judge(), Err(PassOn::NotRdpmc));
    guest.user_frame(|frame| frame[0] = 13 * 8 + 2); // INT 13
    assert_eq!(guest.judge(), Err(PassOn::NotRdpmc));
    guest.user_frame(|frame| frame[1] = 1 << 63 | USER_CODE); // not canonical
    assert_eq!(guest.judge(), Err(PassOn::NotRdpmc));
    guest.user_frame(|frame| frame[1] = MAPPED + 5); // not mapped
    assert_eq!(guest.judge(), Err(PassOn::NotRdpmc));
}

#[test]
fn t5_an_rdpmc_across_a_page_boundary_is_found() {
    let guest = Guest::from_user();
    guest.ram.put(0xcfff, &[0x0f, 0x33]);
    guest.user_frame(|frame| frame[1] = 0xcfff);
    assert_eq!(guest.judge().unwrap().regs.rip, 0xd001);
    // Nothing is mapped behind the last page: half an instruction is none.
    guest.ram.put(MAPPED - 1, &[0x0f]);
    guest.user_frame(|frame| frame[1] = MAPPED - 1);
    assert_eq!(guest.judge(), Err(PassOn::NotRdpmc));
    guest.ram.put(MAPPED - 2, &[0x0f, 0x33]);
    guest.user_frame(|frame| frame[1] = MAPPED - 2);
    assert!(
        guest.judge().is_ok(),
        "the last two bytes of a page are enough"
    );
}

#[test]
fn t5_32_bit_user_code_keeps_its_segment_and_wraps_at_4_gib() {
    let guest = Guest::from_user();
    guest.user_frame(|frame| frame[2] = 0x1b);
    let unwind = guest.judge().unwrap();
    let cs = unwind.cs.unwrap();
    assert_eq!((cs.selector, cs.l, cs.db), (0x1b, 0, 1));
    assert_eq!(unwind.regs.rip, USER_CODE + 3);
}

#[test]
fn t6_cpl3_needs_pce_and_cpl0_does_not() {
    let mut guest = Guest::from_user();
    guest.sregs.cr4 = 0x20;
    assert_eq!(guest.judge(), Err(PassOn::NotAllowed));
    let mut guest = Guest::from_kernel();
    guest.sregs.cr4 = 0x20;
    assert!(guest.judge().is_ok());
}

#[test]
fn t6_a_counter_that_is_not_there_faults() {
    for ecx in [4, 1 << 30, 1 << 31, 0xffff_ffff] {
        let mut guest = Guest::from_user();
        guest.regs.rcx = ecx;
        assert_eq!(guest.judge(), Err(PassOn::NotAllowed), "{ecx:#x}");
    }
    let mut guest = Guest::from_user();
    guest.regs.rcx = 0xdead_0000_0000_0003;
    assert!(
        guest.judge().is_ok(),
        "ECX is the index, RCX's high half is ignored"
    );
}

#[test]
fn a_gate_is_believed_only_if_it_is_one() {
    let guest = Guest::new();
    let gate = || descriptor::gp_gate(&guest.sregs, &guest.ram);
    assert_eq!(
        gate(),
        Some(Gate {
            handler: HANDLER,
            ist: 0,
            clears_if: true
        })
    );
    for kind in [0x5, 0xc] {
        guest.gate(0, kind);
        assert_eq!(gate(), None, "{kind:#x}");
    }
    guest.ram.put_u64(IDT + 13 * 16, HANDLER | 0x0e00 << 32);
    assert_eq!(gate(), None, "not present");
    guest.gate(0, 0xe);
    guest.ram.put_u64(IDT + 13 * 16 + 8, 0xffff_8000);
    assert_eq!(gate().unwrap().handler, 0xffff_8000_0000_0000 | HANDLER);
    let short = kvm_sregs {
        idt: kvm_dtable {
            base: IDT,
            limit: 13 * 16 + 14,
            ..kvm_dtable::default()
        },
        ..guest.sregs
    };
    assert_eq!(descriptor::gp_gate(&short, &guest.ram), None, "a short IDT");
}

/// The cause of a debug exit with `dr6` right behind the one-byte instruction `opcode`.
fn cause_behind(opcode: u8, dr6: u64, rflags: u64) -> Cause {
    let guest = Guest::new();
    guest.ram.put(USER_CODE, &[opcode]);
    let exit = kvm_debug_exit_arch {
        pc: USER_CODE + 1,
        dr6,
        ..kvm_debug_exit_arch::default()
    };
    let regs = kvm_regs {
        rip: USER_CODE + 1,
        rflags,
        ..guest.regs
    };
    cause(&exit, &regs, &guest.sregs, &guest.ram)
}

#[test]
fn debug_exits_are_told_apart() {
    const NOP: u8 = 0x90;
    const TF: u64 = 0x100;
    for (what, opcode, dr6, rflags, is) in [
        ("a step", NOP, 0x4000, TF, Cause::Step),
        (
            "a step over POPF that ends stepping",
            0x9d,
            0x4000,
            0,
            Cause::Step,
        ),
        ("a step onto the breakpoint", NOP, 0x4008, TF, Cause::Step),
        ("the breakpoint", NOP, 0x0008, 0, Cause::Breakpoint),
        (
            "the breakpoint, BS stale",
            NOP,
            0x4008,
            0,
            Cause::Breakpoint,
        ),
        ("ICEBP", 0xf1, 0, 0, Cause::Icebp),
        ("ICEBP while stepping", 0xf1, 0, TF, Cause::Icebp),
        ("KVM's own step", NOP, 0x4000, 0, Cause::Kvm),
        (
            "KVM's own step over ICEBP's opcode",
            0xf1,
            0x4000,
            0,
            Cause::Kvm,
        ),
        ("a breakpoint that is not ours", 0xf1, 0x0001, 0, Cause::Kvm),
        ("nothing", NOP, 0, 0, Cause::Kvm),
    ] {
        assert_eq!(cause_behind(opcode, dr6, rflags), is, "{what}");
    }
}

#[test]
fn large_pages_and_five_levels_are_walked() {
    let guest = Guest::new();
    let mut sregs = guest.sregs;
    // 2 MiB and 1 GiB pages, at 2 MiB and at 1 GiB.
    guest
        .ram
        .put_u64(PML4 + 0x2000 + 8, 0x1234_0020_0000 | 0x87);
    assert_eq!(
        paging::translate(&sregs, &guest.ram, 0x21_2345),
        Some(0x1234_0021_2345)
    );
    guest
        .ram
        .put_u64(PML4 + 0x1000 + 8, 0x5678_4000_0000 | 0x87);
    assert_eq!(
        paging::translate(&sregs, &guest.ram, 0x4765_4321),
        Some(0x5678_4765_4321)
    );
    assert_eq!(
        paging::translate(&sregs, &guest.ram, 0x8000_0000),
        None,
        "not present"
    );
    assert_eq!(
        paging::translate(&sregs, &guest.ram, 0x0000_8000_0000_0000),
        None,
        "canonical"
    );
    for beyond in [1 << 48 | USER_CODE, 1 << 63 | USER_CODE] {
        assert_eq!(
            paging::translate(&sregs, &guest.ram, beyond),
            None,
            "{beyond:#x}"
        );
    }
    sregs.cr4 |= 1 << 12;
    sregs.cr3 = 0x2_5000;
    guest.ram.put_u64(0x2_5000, PML4 | 7);
    assert_eq!(
        paging::translate(&sregs, &guest.ram, USER_CODE),
        Some(USER_CODE)
    );
    assert_eq!(
        paging::translate(&sregs, &guest.ram, 0x0000_8000_0000_0000),
        None,
        "PML4 255"
    );
}

proptest! {
    /// Whatever lies in a frame and in the registers: what is unwound never gains privilege.
    #[test]
    fn no_frame_gains_privilege(
        frame in prop::array::uniform6(prop_oneof![
            any::<u64>(),
            Just(0), Just(0x08), Just(0x10), Just(0x1b), Just(0x23), Just(0x2b),
            Just(USER_CODE), Just(KERNEL_CODE), Just(RSP0), Just(USER_STACK),
        ]),
        rflags in any::<u64>(),
        user in any::<bool>(),
        cpl in prop_oneof![Just(0u8), Just(3)],
        offset in 0u64..64,
    ) {
        let mut guest = if user { Guest::from_user() } else { Guest::from_kernel() };
        guest.sregs.ss.dpl = cpl;
        guest.regs.rsp -= offset & !7;
        guest.regs.rflags = rflags;
        guest.ram.put_frame(guest.regs.rsp, frame);
        if let Ok(unwind) = guest.judge() {
            prop_assert_eq!(cpl, 0);
            let kept = 0x3000 | 0x2_0000 | 0x8_0000 | 0x10_0000;
            prop_assert_eq!(unwind.regs.rflags & kept, rflags & kept);
            prop_assert_eq!(unwind.regs.rflags & 0x1_0000, 0, "RF");
            if let Some(cs) = unwind.cs {
                prop_assert!(cs.dpl == 3 && cs.selector & 3 == 3);
                prop_assert!(unwind.ss.is_some_and(|ss| ss.dpl == 3 && ss.selector & 3 == 3));
            } else {
                prop_assert_eq!(frame[2] & 0xffff, 0x08);
            }
        }
    }

    /// Whatever the page tables hold, the walk ends and never panics.
    #[test]
    fn any_page_tables_are_walked_safely(cr3: u64, gva: u64, la57: bool, seed: [u64; 16]) {
        let ram = Ram(RefCell::new(vec![0; 0x1_0000]));
        for at in (0..0x1_0000).step_by(8) {
            ram.put_u64(at, seed[usize::try_from(at / 8 % 16).unwrap()] & 0x80_0000_ffff);
        }
        let sregs = kvm_sregs { cr3: cr3 & 0xffff, cr4: u64::from(la57) << 12, ..kvm_sregs::default() };
        let _ = paging::translate(&sregs, &ram, gva);
    }
}
