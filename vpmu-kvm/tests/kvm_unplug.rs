// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A vCPU with a PMU is removed and added again.

use std::thread;

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuExit;
use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, Open, PerfError, State, Target};
use vpmu::source::script::ScriptSource;
use vpmu::{EventConfig, MsrId, MsrWrite, Nanos, PmuModel, VcpuPmu};
use vpmu_kvm::kick::{self, KickGuard};
use vpmu_kvm::{CoreSource, Exit, PerfCore, VcpuPmuKvm};

mod real_mode;
mod watchdog;

use real_mode::{CODE, Guest, SPIN, entry, out, with_pmu, wrmsr};
use watchdog::Watchdog;

const MODEL: PmuModel = PmuModel::INTEL_V4;
const VCPU: VcpuId = VcpuId(0);
/// Counter 0 of that model, and its select: cycles, with and without a PMI.
const PMC_0: u32 = 0xc1;
const SELECT_0: u32 = 0x186;
const CYCLES: u32 = 0x43_003c;
const WITH_PMI: u32 = CYCLES | 1 << 20;
/// Clear and set bits of its status register.
const STATUS_RESET: u32 = 0x390;
const STATUS_SET: u32 = 0x391;
/// All ones in the counter: the next cycle overflows it.
const FULL: u32 = u32::MAX;

const PMI_VECTOR: u32 = 0x40;
const HANDLER: u32 = 0x3000;

/// One vCPU on this thread. The guard comes before the guest, whose vCPU it points into.
struct Bench {
    pmu: VcpuPmuKvm<CoreSource>,
    guard: KickGuard,
    guest: Guest,
    core: PerfCore,
    /// How often it was kicked.
    kicks: u32,
    _watchdog: Watchdog,
}

impl Bench {
    fn new(code: &[u8]) -> Self {
        let core = PerfCore::new(1);
        let mut guest = with_pmu(code, Some(MODEL));
        let options = guest.options(MODEL);
        let guard = kick::bind(&mut guest.vcpu).unwrap();
        let source = core.bind(VCPU, &guard, options.tsc_khz).unwrap();
        let pmu = VcpuPmuKvm::with_source(guest.vm.clone(), &guard, &options, source).unwrap();
        Self {
            pmu,
            guard,
            guest,
            core,
            kicks: 0,
            _watchdog: Watchdog::new(),
        }
    }

    /// Runs until something happens that is no kick: a write to the port, if it is one.
    fn step(&mut self) -> Option<u16> {
        loop {
            self.guard.clear();
            match self.pmu.run(&mut self.guest.vcpu, &self.guest.ram).unwrap() {
                Exit::Kicked => self.kicks += 1,
                Exit::Handled(_) => return None,
                Exit::Vcpu(VcpuExit::IoOut(port, _)) => return Some(port),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Runs until the guest writes to a port; which one.
    fn port(&mut self) -> u16 {
        loop {
            if let Some(port) = self.step() {
                return port;
            }
        }
    }

    fn unplug(&mut self) {
        self.pmu.unplug(&mut self.guest.vcpu).unwrap();
    }

    /// Adds the vCPU again, with other code to run.
    fn plug(&mut self, code: &[u8]) {
        self.pmu.plug().unwrap();
        self.begin(code);
    }

    fn begin(&mut self, code: &[u8]) {
        self.guest.ram.write(CODE, code);
        self.guest.vcpu.set_regs(&entry()).unwrap();
    }

    /// Whether one is, however soon after the last one.
    fn pmi_is_due(&mut self) -> bool {
        self.pmu.registers().pending_pmi(Nanos(u64::MAX))
    }

    /// By a thread that is no vCPU's.
    fn open_from_outside(&self) -> Result<Event, PerfError> {
        let core = &self.core;
        let opens = || core.perf().open(&cycles(), &mut core.host_thread());
        thread::scope(|threads| threads.spawn(opens).join().unwrap())
    }

    fn open(&mut self) -> Event {
        let me = self.pmu.registers().source_mut();
        self.core.perf().open(&cycles(), me).unwrap()
    }

    fn count(&mut self, event: &Event) -> u64 {
        let me = self.pmu.registers().source_mut();
        self.core.perf().read(event, me).unwrap().unwrap().count
    }
}

fn cycles() -> Open<'static> {
    let cycles = EventConfig::everywhere(vpmu::Event::CoreCycles);
    Open::new(Attr::counting(cycles), Target::Vcpu(VCPU))
}

/// Takes one PMI, writes to port 50H, and has the next one due.
fn overflowing() -> Bench {
    let code = [
        wrmsr(0x80f, 0x1ff), // The APIC: enabled.
        wrmsr(0x834, PMI_VECTOR),
        wrmsr(PMC_0, FULL),
        wrmsr(SELECT_0, WITH_PMI),
        vec![0xfb], // sti
        SPIN.to_vec(),
    ];
    let mut bench = Bench::new(&code.concat());
    bench
        .guest
        .ram
        .write(HANDLER.into(), &[&out(0x50)[..], SPIN].concat());
    bench.guest.ram.set_vector(PMI_VECTOR.into(), HANDLER);
    assert_eq!(bench.port(), 0x50);
    for msr in [STATUS_RESET, STATUS_SET] {
        let written = bench.pmu.registers().write_msr(MsrId(msr), 1);
        assert_eq!(written, MsrWrite::Done);
    }
    assert!(bench.pmi_is_due());
    bench
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn its_registers_are_at_reset_and_the_pmi_that_was_due_never_comes() {
    let mut bench = overflowing();
    let stats = bench.pmu.stats().pmu;
    assert_eq!(stats.pmis, 1);
    bench.unplug();
    assert!(!bench.pmi_is_due());
    bench.plug(&[&[0xfb][..], &[0x90; 32], &out(0x30), SPIN].concat());
    assert!(!bench.pmi_is_due());
    assert!(!bench.pmu.registers().counting());
    let counters: Vec<_> = bench.pmu.registers().counters().collect();
    let mut new = VcpuPmu::new(MODEL, ScriptSource::new());
    assert_eq!(counters, new.counters().collect::<Vec<_>>());
    assert_eq!(bench.port(), 0x30, "no interrupt comes");
    // They are of the whole run.
    let after = bench.pmu.stats().pmu;
    assert_eq!((after.pmis, after.overflows), (1, stats.overflows));
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn what_it_counted_until_the_end_is_in_the_statistics() {
    let code = [wrmsr(SELECT_0, CYCLES), out(0x10).to_vec(), SPIN.to_vec()];
    let mut bench = Bench::new(&code.concat());
    assert_eq!(bench.port(), 0x10);
    let counted = |bench: &Bench| {
        let (_, first) = bench.pmu.stats().pmu.counters().next().unwrap();
        first.counted
    };
    let seen = counted(&bench);
    bench.unplug();
    assert!(counted(&bench) > seen);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn it_counts_and_interrupts_again() {
    let mut bench = overflowing();
    for round in 2..5 {
        bench.unplug();
        let code = [
            wrmsr(0x834, PMI_VECTOR),
            wrmsr(PMC_0, FULL),
            wrmsr(SELECT_0, WITH_PMI),
            vec![0xfb],
            SPIN.to_vec(),
        ];
        bench.plug(&code.concat());
        // The handler has not said that the last one is over, so ask the APIC for nothing.
        let mut lapic = bench.guest.vcpu.get_lapic().unwrap();
        lapic.regs[0x100..0x280].fill(0);
        bench.guest.vcpu.set_lapic(&lapic).unwrap();
        assert_eq!(bench.port(), 0x50);
        assert_eq!(bench.pmu.stats().pmu.pmis, round);
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn no_timer_of_its_earlier_life_kicks_it() {
    // A PMI in some tens of milliseconds.
    let soon = [
        wrmsr(PMC_0, 0xf800_0000),
        wrmsr(SELECT_0, WITH_PMI),
        out(0x10),
        SPIN.to_vec(),
    ];
    let mut bench = Bench::new(&soon.concat());
    assert_eq!(bench.port(), 0x10);
    bench.unplug();
    bench.kicks = 0;
    // mov ecx, 40000000; then dec ecx, jnz back: far longer.
    let spin = [0x66, 0xb9, 0x00, 0x5a, 0x62, 0x02, 0x66, 0x49, 0x75, 0xfc];
    bench.plug(&[&spin[..], &out(0x11)].concat());
    assert_eq!(bench.port(), 0x11);
    assert_eq!(bench.kicks, 0);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn events_on_it_end_and_none_is_opened_before_it_is_back() {
    let code = [&out(0x10)[..], &[0x90; 64], &out(0x11), SPIN].concat();
    let mut bench = Bench::new(&code);
    let old = bench.open();
    bench.port();
    bench.port();
    let counted = bench.count(&old);
    assert!(counted > 0);

    bench.unplug();
    // The vCPU's thread is not there to answer: whoever calls is refused all the same.
    assert_eq!(
        bench.open_from_outside().unwrap_err(),
        PerfError::NoSuchVcpu(VCPU)
    );
    assert_eq!(bench.core.perf().status(&old).unwrap().state, State::Exit);
    assert!(bench.count(&old) >= counted);

    bench.plug(&code);
    let last = bench.count(&old);
    let new = bench.open();
    bench.port();
    bench.port();
    assert!(bench.count(&new) > 0);
    assert_eq!(bench.count(&old), last, "it never counts again");
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn twice_is_as_once() {
    let mut bench = Bench::new(&[&out(0x10)[..], SPIN].concat());
    bench.pmu.plug().unwrap();
    let event = bench.open();
    bench.unplug();
    bench.unplug();
    assert_eq!(bench.core.perf().status(&event).unwrap().state, State::Exit);
    bench.pmu.plug().unwrap();
    let event = bench.open();
    bench.pmu.plug().unwrap();
    assert!(matches!(
        bench.core.perf().status(&event).unwrap().state,
        State::Active(VCPU)
    ));
    assert_eq!(bench.port(), 0x10);
}

const PML4: u64 = 0x4000;
const PDPT: u64 = 0x5000;
const PAGES: u64 = 0x6000;
const GDT: u64 = 0x7000;
const IDT: u64 = 0x9000;

/// What follows is 64-bit code, whose #GPs write to port 13H.
fn long_mode(bench: &Bench) {
    let Guest { vcpu, ram, .. } = &bench.guest;
    // Present, writable; the last one 2 MiB.
    for (table, entry) in [(PML4, PDPT | 3), (PDPT, PAGES | 3), (PAGES, 0x83)] {
        ram.write(table, &entry.to_le_bytes());
    }
    // A flat 64-bit code segment, and data (Intel SDM vol. 3A, 3.4.5).
    for (at, segment) in [(8, 0x00af_9b00_0000_ffff_u64), (16, 0x00cf_9300_0000_ffff)] {
        ram.write(GDT + at, &segment.to_le_bytes());
    }
    // An interrupt gate for vector 13 (6.14.1).
    let gate = u64::from(HANDLER) | 8 << 16 | 0x8e00 << 32;
    ram.write(IDT + 13 * 16, &gate.to_le_bytes());
    ram.write(HANDLER.into(), &[&out(0x13)[..], SPIN].concat());

    let mut sregs = vcpu.get_sregs().unwrap();
    let flat = kvm_segment {
        limit: u32::MAX,
        selector: 16,
        type_: 3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    (sregs.ds, sregs.es, sregs.ss) = (flat, flat, flat);
    sregs.cs = kvm_segment {
        selector: 8,
        type_: 0xb,
        db: 0,
        l: 1,
        ..flat
    };
    let table = |base, limit| kvm_dtable {
        base,
        limit,
        ..Default::default()
    };
    (sregs.gdt, sregs.idt) = (table(GDT, 23), table(IDT, 14 * 16 - 1));
    // PE, ET, PG; PAE; LME, LMA.
    (sregs.cr0, sregs.cr3) = (0x8000_0011, PML4);
    (sregs.cr4, sregs.efer) = (1 << 5, 0x500);
    vcpu.set_sregs(&sregs).unwrap();
}

/// `wrmsr` in 64-bit code.
fn wrmsr_64(msr: u32, value: u32) -> Vec<u8> {
    let load = [
        &[0xb9][..],
        &msr.to_le_bytes(),
        &[0xb8],
        &value.to_le_bytes(),
    ];
    [&load.concat()[..], &[0x31, 0xd2, 0x0f, 0x30]].concat()
}

/// Reads counter 0: `xor ecx, ecx`, `rdpmc`, `out 0x10, al`.
const RDPMC: [u8; 6] = [0x31, 0xc9, 0x0f, 0x33, 0xe6, 0x10];

/// The same, after the guest enabled the counter.
fn program_and_rdpmc() -> Vec<u8> {
    [&wrmsr_64(SELECT_0, CYCLES)[..], &RDPMC, SPIN].concat()
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn its_rdpmc_is_trapped_once_it_programs_the_pmu_again() {
    let mut bench = Bench::new(SPIN);
    long_mode(&bench);
    bench.begin(&program_and_rdpmc());
    assert_eq!(bench.port(), 0x10);
    assert_eq!(bench.pmu.stats().trap.emulated, 1);

    bench.unplug();
    bench.plug(&[&RDPMC[..], SPIN].concat());
    assert_eq!(bench.port(), 0x13, "nothing is enabled");
    let trap = bench.pmu.stats().trap;
    assert_eq!((trap.emulated, trap.passed_on, trap.armed), (1, 0, 1));

    bench.begin(&program_and_rdpmc());
    assert_eq!(bench.port(), 0x10);
    let trap = bench.pmu.stats().trap;
    assert_eq!((trap.emulated, trap.armed), (2, 2));
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_stop_of_the_trap_is_not_dealt_with_in_its_next_life() {
    let mut bench = Bench::new(SPIN);
    long_mode(&bench);
    bench.begin(&program_and_rdpmc());
    assert_eq!(bench.step(), None, "the WRMSR");
    assert_eq!(bench.step(), None, "the stop at the handler");
    bench.unplug();
    bench.plug(&[&out(0x11)[..], SPIN].concat());
    let regs = kvm_regs {
        rax: 7,
        ..bench.guest.vcpu.get_regs().unwrap()
    };
    bench.guest.vcpu.set_regs(&regs).unwrap();
    assert_eq!(bench.port(), 0x11);
    assert_eq!(bench.guest.vcpu.get_regs().unwrap().rax, 7);
    let trap = bench.pmu.stats().trap;
    assert_eq!((trap.emulated, trap.passed_on, trap.forged), (0, 0, 0));
}
