// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU that was used is put back to what it was after power-up, on real KVM.

use std::ops::RangeInclusive;

use kvm_bindings::{
    KVM_MAX_CPUID_ENTRIES, KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_debugregs,
    kvm_mp_state, kvm_msi, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_userspace_memory_region,
    kvm_vcpu_events, kvm_xcrs,
};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

#[path = "../src/kvm/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "fresh.rs uses a part of it")]
mod error;

#[path = "../src/kvm/fresh.rs"]
#[allow(unreachable_pub, reason = "the VMM's own")]
mod fresh;

#[path = "../../vpmu-kvm/tests/watchdog/mod.rs"]
mod watchdog;

use fresh::{Fresh, join_apic_map};
use watchdog::Watchdog;

const RAM: usize = 0x1_0000;
/// What stands for an access to memory.
const NO_PORT: u16 = u16::MAX;
/// Where the code of the vCPU under test is: also what SIPI vector 1 starts.
const CODE: u64 = 0x1000;
const SIPI_VECTOR: u32 = 1;
/// Delivery modes of an MSI (Intel SDM vol. 3A, 11.11.2).
const NMI: u32 = 4 << 8;
const INIT: u32 = 5 << 8;
const SIPI: u32 = 6 << 8;
const FIXED: u32 = 0;

/// No guest sees them, and among them are clocks.
const HYPER_V: RangeInclusive<u32> = 0x4000_0000..=0x4000_0fff;
const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;
const MTRR_DEF_TYPE: u32 = 0x2ff;
const MTRR_BASE_0: u32 = 0x200;
const KVM_CLOCK: u32 = 0x4b56_4d01;
const APIC_BASE: u32 = 0x1b;
const X2APIC_SPURIOUS: u32 = 0x80f;
const X2APIC_LVTPC: u32 = 0x834;

/// Two vCPUs; fields are dropped in order, the memory last.
struct Guest {
    /// vCPU 0 only reads its TSC.
    boot: VcpuFd,
    vcpu: VcpuFd,
    vm: VmFd,
    kvm: Kvm,
    ram: GuestMemoryMmap,
    _watchdog: Watchdog,
}

impl Guest {
    fn new() -> Self {
        let kvm = Kvm::new().unwrap();
        let vm = kvm.create_vm().unwrap();
        vm.create_irq_chip().unwrap();
        let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
        let region = kvm_userspace_memory_region {
            memory_size: RAM as u64,
            userspace_addr: ram.get_host_address(GuestAddress(0)).unwrap().addr() as u64,
            ..Default::default()
        };
        // SAFETY: the memory is mapped for as long as the VM lives.
        unsafe { vm.set_user_memory_region(region) }.unwrap();
        let leaves = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).unwrap();
        let [boot, vcpu] = [0, 1].map(|id| {
            let vcpu = vm.create_vcpu(id).unwrap();
            vcpu.set_cpuid2(&leaves).unwrap();
            vcpu
        });
        Self {
            boot,
            vcpu,
            vm,
            kvm,
            ram,
            _watchdog: Watchdog::new(),
        }
    }

    fn fresh(&self) -> Fresh {
        Fresh::of(&self.vcpu, &self.kvm).unwrap()
    }

    fn load(&self, code: &[u8]) {
        self.ram.write_slice(code, GuestAddress(CODE)).unwrap();
    }

    /// Starts the vCPU at its code, without INIT and SIPI.
    fn enter(&mut self, code: &[u8]) {
        self.load(code);
        let mut sregs = self.vcpu.get_sregs().unwrap();
        (sregs.cs.base, sregs.cs.selector) = (0, 0);
        self.vcpu.set_sregs(&sregs).unwrap();
        let regs = kvm_regs {
            rip: CODE,
            rsp: 0x8000,
            rflags: 2,
            ..Default::default()
        };
        self.vcpu.set_regs(&regs).unwrap();
        self.vcpu
            .set_mp_state(state(KVM_MP_STATE_RUNNABLE))
            .unwrap();
    }

    /// Runs the vCPU until it writes to a port, or reads memory that is not there; which port.
    fn port(&mut self) -> u16 {
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(port, _)) => return port,
                Ok(VcpuExit::MmioRead(..)) => return NO_PORT,
                Ok(other) => panic!("{other:?}"),
                // After an INIT.
                Err(error) if error.errno() == libc::EAGAIN => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends the vCPU an interrupt, whether it listens or not.
    fn send(&self, data: u32) {
        let msi = kvm_msi {
            address_lo: 0xfee0_0000 | 1 << 12,
            data,
            ..Default::default()
        };
        self.vm.signal_msi(msi).unwrap();
    }

    fn msr(vcpu: &VcpuFd, index: u32) -> Option<u64> {
        let entry = kvm_msr_entry {
            index,
            ..Default::default()
        };
        let mut msrs = Msrs::from_entries(&[entry]).unwrap();
        let got = vcpu.get_msrs(&mut msrs).unwrap();
        (got == 1).then(|| msrs.as_slice()[0].data)
    }

    /// All of the vCPU that can be read, but its clocks.
    fn state(&self) -> State {
        let vcpu = &self.vcpu;
        let list = self.kvm.get_msr_index_list().unwrap();
        let more = [EFER, PAT, MTRR_DEF_TYPE, MTRR_BASE_0, 0x250, 0x400, 0x402];
        let indices = list.as_slice().iter().copied().chain(more);
        State {
            mp_state: vcpu.get_mp_state().unwrap().mp_state,
            events: vcpu.get_vcpu_events().unwrap(),
            regs: vcpu.get_regs().unwrap(),
            sregs: vcpu.get_sregs().unwrap(),
            xcrs: vcpu.get_xcrs().unwrap(),
            xsave: vcpu.get_xsave().unwrap().region.to_vec(),
            debug: vcpu.get_debug_regs().unwrap(),
            lapic: vcpu.get_lapic().unwrap().regs.to_vec(),
            msrs: indices
                .filter(|index| *index != TSC && !HYPER_V.contains(index))
                .map(|index| (index, Self::msr(vcpu, index)))
                .collect(),
        }
    }
}

struct State {
    mp_state: u32,
    events: kvm_vcpu_events,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xcrs: kvm_xcrs,
    xsave: Vec<u32>,
    debug: kvm_debugregs,
    lapic: Vec<std::ffi::c_char>,
    msrs: Vec<(u32, Option<u64>)>,
}

impl State {
    /// Piece by piece, so that a failure can be read.
    fn assert_is(&self, other: &Self) {
        let differ = self.msrs.iter().zip(&other.msrs).filter(|(a, b)| a != b);
        assert_eq!(differ.collect::<Vec<_>>(), []);
        assert_eq!(self.mp_state, other.mp_state);
        assert_eq!(self.events, other.events);
        assert_eq!(self.sregs, other.sregs);
        assert_eq!(self.regs, other.regs);
        assert_eq!(self.xcrs, other.xcrs);
        assert_eq!(self.debug, other.debug);
        // Too long to be shown.
        assert!(self.xsave == other.xsave, "XSAVE");
        assert!(self.lapic == other.lapic, "LAPIC");
    }
}

fn state(mp_state: u32) -> kvm_mp_state {
    kvm_mp_state { mp_state }
}

/// `wrmsr` of a value.
fn wrmsr(msr: u32, value: u64) -> Vec<u8> {
    let msr = msr.to_le_bytes();
    let value = value.to_le_bytes();
    let (low, high) = value.split_at(4);
    let load = [(0xb9, &msr[..]), (0xb8, low), (0xba, high)];
    let load = load.map(|(opcode, bytes)| [&[0x66, opcode][..], bytes].concat());
    [&load.concat()[..], &[0x0f, 0x30]].concat()
}

/// `out port, al`
fn out(port: u8) -> [u8; 2] {
    [0xe6, port]
}

/// Real-mode code that leaves nothing of a vCPU as it was, then `end`.
fn havoc(end: &[u8]) -> Vec<u8> {
    let msrs = [
        (TSC, 1 << 40),
        (TSC_ADJUST, 1 << 33),
        (STAR, 0x23_0010_0000_0000),
        (LSTAR, 0x1234_5000),
        (EFER, 1), // SCE
        (PAT, 0x0606_0606_0606_0606),
        (MTRR_DEF_TYPE, 0xc06),
        (MTRR_BASE_0, 0xf000_0006),
        (KVM_CLOCK, 0x4001),      // at 4000H, enabled
        (APIC_BASE, 0xfee0_0c00), // x2APIC
        (X2APIC_SPURIOUS, 0x1ff),
        (X2APIC_LVTPC, 0x40),
    ];
    let code: Vec<u8> = msrs
        .iter()
        .flat_map(|&(msr, value)| wrmsr(msr, value))
        .collect();
    [
        &code[..],
        &[0x0f, 0x20, 0xe0],                   // mov eax, cr4
        &[0x66, 0x0d, 0, 6, 4, 0],             // or eax, OSFXSR | OSXMMEXCPT | OSXSAVE
        &[0x0f, 0x22, 0xe0],                   // mov cr4, eax
        &[0x66, 0x31, 0xc9],                   // xor ecx, ecx
        &[0x66, 0x31, 0xd2],                   // xor edx, edx
        &[0x66, 0xb8, 7, 0, 0, 0],             // mov eax, 7
        &[0x0f, 0x01, 0xd1],                   // xsetbv
        &[0x66, 0x0f, 0x76, 0xc0],             // pcmpeqd xmm0, xmm0
        &[0xd9, 0xe8],                         // fld1
        &[0x0f, 0x21, 0xf8],                   // mov eax, dr7
        &[0x66, 0x0d, 2, 0, 0, 0],             // or eax, G0
        &[0x0f, 0x23, 0xf8],                   // mov dr7, eax
        &[0x66, 0xb8, 0x78, 0x56, 0x34, 0x12], // mov eax, 12345678H
        &[0x0f, 0x23, 0xc8],                   // mov dr1, eax
        &[0x0f, 0x22, 0xd0],                   // mov cr2, eax
        end,
    ]
    .concat()
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_vcpu_that_was_used_is_as_new() {
    let mut guest = Guest::new();
    let fresh = guest.fresh();
    let new = guest.state();
    guest.enter(&havoc(&out(0x80)));
    assert_eq!(guest.port(), 0x80);
    let used = guest.state();
    for index in [
        STAR,
        LSTAR,
        EFER,
        PAT,
        TSC_ADJUST,
        MTRR_DEF_TYPE,
        MTRR_BASE_0,
        KVM_CLOCK,
    ] {
        let of = |state: &State| state.msrs.iter().find(|msr| msr.0 == index).unwrap().1;
        assert_ne!(of(&new), of(&used), "{index:#x}");
    }
    assert_ne!(used.sregs.apic_base, new.sregs.apic_base);
    assert!(used.xsave != new.xsave && used.lapic != new.lapic);
    assert!(used.xcrs != new.xcrs && used.debug != new.debug);
    guest.vcpu.nmi().unwrap();
    guest.send(SIPI | 9);

    fresh.restore(&mut guest.vcpu).unwrap();
    guest.state().assert_is(&new);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_new_vcpu_is_left_as_it_is() {
    let guest = Guest::new();
    let new = guest.state();
    let _fresh = guest.fresh();
    guest.state().assert_is(&new);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn its_time_is_again_that_of_the_others() {
    let mut guest = Guest::new();
    let fresh = guest.fresh();
    guest.enter(&havoc(&out(0x80)));
    guest.port();
    fresh.restore(&mut guest.vcpu).unwrap();
    let before = Guest::msr(&guest.boot, TSC);
    let its_own = Guest::msr(&guest.vcpu, TSC);
    let after = Guest::msr(&guest.boot, TSC);
    assert!(
        before <= its_own && its_own <= after,
        "{before:?} {its_own:?} {after:?}"
    );
}

/// Whether the vCPU waits for its start: KVM_RUN with `immediate_exit` changes nothing.
fn waits(guest: &mut Guest) -> bool {
    let state = guest.vcpu.get_mp_state().unwrap().mp_state;
    let rip = guest.vcpu.get_regs().unwrap().rip;
    guest.vcpu.set_kvm_immediate_exit(1);
    assert!(guest.vcpu.run().is_err());
    guest.vcpu.set_kvm_immediate_exit(0);
    state == KVM_MP_STATE_UNINITIALIZED && guest.vcpu.get_regs().unwrap().rip == rip
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn it_waits_for_a_start_of_its_own_whatever_was_sent_to_it_before() {
    let mut guest = Guest::new();
    let fresh = guest.fresh();
    let new = guest.state();
    for sent in [
        &[INIT][..],
        &[INIT, SIPI | SIPI_VECTOR],
        &[SIPI | SIPI_VECTOR],
        &[NMI, INIT],
    ] {
        guest.enter(&havoc(&out(0x80)));
        guest.port();
        sent.iter().for_each(|&data| guest.send(data));
        fresh.restore(&mut guest.vcpu).unwrap();
        // And after it was put back, while it is away.
        sent.iter().for_each(|&data| guest.send(data));
        fresh.forget_events(&guest.vcpu).unwrap();
        guest.state().assert_is(&new);
        assert!(waits(&mut guest), "{sent:x?}");

        guest.load(&out(0x81));
        guest.send(INIT);
        guest.send(SIPI | SIPI_VECTOR);
        assert_eq!(guest.port(), 0x81, "{sent:x?}");
        assert_eq!(guest.vcpu.get_sregs().unwrap().cs.base, CODE);
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn what_its_last_exit_left_undone_is_not_done_to_the_new_one() {
    let mut guest = Guest::new();
    let fresh = guest.fresh();
    // mov ax, d000H; mov ds, ax; mov ax, [0], where no memory is: KVM finishes that later.
    let load = [0xb8, 0x00, 0xd0, 0x8e, 0xd8, 0xa1, 0, 0];
    guest.enter(&[&load[..], &out(0x80)].concat());
    assert_eq!(guest.port(), NO_PORT);
    fresh.restore(&mut guest.vcpu).unwrap();
    guest.vcpu.set_kvm_immediate_exit(0);
    guest.load(&[&out(0x81)[..], &[0x90; 16], &out(0x82)].concat());
    guest.send(INIT);
    guest.send(SIPI | SIPI_VECTOR);
    assert_eq!(guest.port(), 0x81);
    assert_eq!(guest.vcpu.get_regs().unwrap().rax, 0);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn an_interrupt_that_came_while_it_was_away_is_gone() {
    let mut guest = Guest::new();
    let fresh = guest.fresh();
    let new = guest.state();
    guest.enter(&havoc(&out(0x80)));
    guest.port();
    guest.send(FIXED | 0x50);
    // IRR: 16 bytes for each 32 vectors, of which the first four count.
    let requested = |guest: &Guest| guest.vcpu.get_lapic().unwrap().regs[0x200 + 0x22] & 1 == 1;
    assert!(requested(&guest), "IRR");
    fresh.restore(&mut guest.vcpu).unwrap();
    assert!(!requested(&guest));
    guest.send(FIXED | 0x51);
    fresh.forget_events(&guest.vcpu).unwrap();
    guest.state().assert_is(&new);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_vcpu_that_comes_late_is_reached() {
    let mut guest = Guest::new();
    let code = havoc(&out(0x80));
    guest.enter(&code);
    guest.port();
    guest.vcpu = {
        let late = guest.vm.create_vcpu(2).unwrap();
        let leaves = guest
            .kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .unwrap();
        late.set_cpuid2(&leaves).unwrap();
        join_apic_map(&late).unwrap();
        late
    };
    guest.load(&out(0x82));
    for data in [INIT, SIPI | SIPI_VECTOR] {
        let msi = kvm_msi {
            address_lo: 0xfee0_0000 | 2 << 12,
            data,
            ..Default::default()
        };
        guest.vm.signal_msi(msi).unwrap();
    }
    assert_eq!(guest.port(), 0x82);
}
