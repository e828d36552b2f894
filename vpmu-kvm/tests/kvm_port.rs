// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port at every edge between a vCPU and its thread, with guests of a few instructions.
//!
//! What a kernel does at the port the test does in its place while the vCPU is out of its guest; the
//! guest ticks, and takes traps.

use std::arch::global_asm;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use kvm_bindings::kvm_regs;
use kvm_ioctls::{VcpuExit, VcpuFd};
use perf_port::io::TRAP_VECTOR;
use perf_port::page::{self, TRAP_TAKEN, TRAP_WAITS};
use perf_port::{
    Command, EventNumber, Id, Leaves, Name, Open, OpenFlags, Target, decode_result, io,
};
use perf_port_host::{PortLimits, PortMemory};
use vcpu_call::VcpuId;
use vpmu::context::{Attr, State};
use vpmu::{EventConfig, NoObserver};
use vpmu_kvm::kick::{self, KickGuard};
use vpmu_kvm::{CoreSource, Exit, Handled, PerfCore, PmuOptions, VcpuPmuKvm, VcpuSource};

#[path = "../examples/embed_port/machine.rs"]
mod machine;
mod watchdog;

use machine::{CODE, KERNEL_STACK, MODEL, Machine, PAGE, TICK, USER_CODE, USER_STACK};
use watchdog::Watchdog;

/// Free for the guest's data.
const DATA: u64 = 0xc000;

/// The second vCPU's page.
const OTHER_PAGE: u64 = 0xa000;

/// RFLAGS: bit 1 is always set, IF, and IOPL 3.
const MASKED: u64 = 2;
const UNMASKED: u64 = MASKED | 1 << 9;
const IOPL_3: u64 = 3 << 12;

/// Where what is in the code.
const TRAP_HANDLER: u64 = CODE;
const INTERRUPT_HANDLER: u64 = CODE + 0x10;
const ACKNOWLEDGING_HANDLER: u64 = CODE + 0x20;
const ONE_TICK: u64 = CODE + 0x100;
const WINDOW: u64 = CODE + 0x140;
const WINDOW_END: u64 = CODE + 0x160;
const WIDTHS: u64 = CODE + 0x180;
const SIZES: u64 = CODE + 0x280;
const NEIGHBOURS: u64 = CODE + 0x300;
const WHILE_MASKED: u64 = CODE + 0x340;
const FOR_EVER: u64 = CODE + 0x380;
const NO_TICK: u64 = CODE + 0x3c0;
const NO_PORT: u64 = CODE + 0x400;

/// An interrupt of somebody else's.
const INTERRUPT: u8 = 0x40;

// RBX points to the tick page, RDI to the vCPU's page of the port, RSI to data; DX is the port PAGE.
global_asm!(
    ".pushsection .rodata.port_guest, \"a\"",
    ".globl port_guest, port_guest_end",
    ".hidden port_guest, port_guest_end",
    "port_guest:",
    "   out 0x10, al",
    "9: jmp 9b",
    ".org port_guest + 0x10, 0xf4",
    "   out 0x15, al",
    "   out 0x16, al",
    "9: jmp 9b",
    ".org port_guest + 0x20, 0xf4",
    "   mov dword ptr [rdi + 0x80], 9", // TRAP_DONE
    "   add edx, 4",
    "   out dx, eax",
    "   sub edx, 4",
    "   inc rcx",
    "   iretq",
    ".org port_guest + 0x100, 0xf4", // ONE_TICK
    "   mov [rbx], eax",
    "   inc rcx",
    "9: jmp 9b",
    ".org port_guest + 0x140, 0xf4", // WINDOW
    "   cmp dword ptr [rdi + 0x44], 0",
    "   jne 2f",
    "   mov [rbx], eax",
    "   jmp 3f",
    ".org port_guest + 0x160, 0xf4", // WINDOW_END
    "3: out 0x12, al",
    "9: jmp 9b",
    "2: out 0x11, al",
    "9: jmp 9b",
    ".org port_guest + 0x180, 0xf4", // WIDTHS
    "   mov eax, 0xb",
    "   out dx, al",
    "   in eax, dx",
    "   out 0x20, eax",
    "   mov eax, 0xb",
    "   out dx, ax",
    "   in eax, dx",
    "   out 0x20, eax",
    "   mov ecx, 4",
    "   rep outsb",
    "   in eax, dx",
    "   out 0x20, eax",
    "   mov ecx, 2",
    "   rep outsd",
    "   in eax, dx",
    "   out 0x20, eax",
    "   xor eax, eax",
    "   in al, dx",
    "   out 0x20, eax",
    "   xor eax, eax",
    "   in ax, dx",
    "   out 0x20, eax",
    "   lea rdi, [rsi + 0x40]",
    "   mov ecx, 4",
    "   rep insb",
    "   mov ecx, 2",
    "   rep insd",
    "   mov ecx, 3",
    "   lea rsi, [rdi - 12]",
    "2: lodsd",
    "   out 0x20, eax",
    "   loop 2b",
    "9: jmp 9b",
    ".org port_guest + 0x280, 0xf4", // SIZES
    "   mov [rbx], al",
    "   mov [rbx + 2], ax",
    "   mov [rbx + 4], eax",
    "   mov [rbx + 0xff8], rax",
    "   mov rax, -1",
    "   movzx eax, byte ptr [rbx]",
    "   out 0x20, eax",
    "   mov rax, -1",
    "   mov rax, [rbx + 0xff8]",
    "   out 0x20, eax",
    "9: jmp 9b",
    ".org port_guest + 0x300, 0xf4", // NEIGHBOURS
    "   mov [rbx + 0x1000], eax",
    "   mov [rbx - 4], eax",
    "   mov eax, [rbx + 0x1000]",
    "9: jmp 9b",
    ".org port_guest + 0x340, 0xf4", // WHILE_MASKED
    "   mov [rbx], eax",
    "   out 0x11, al",
    "   inc rcx",
    "   out 0x12, al",
    "   inc rcx",
    "   sti",
    "9: jmp 9b",
    ".org port_guest + 0x380, 0xf4", // FOR_EVER
    "2: mov [rbx], eax",
    "   jmp 2b",
    ".org port_guest + 0x3c0, 0xf4", // NO_TICK
    "   out 0x11, al",
    "   out 0x12, al",
    "9: jmp 9b",
    ".org port_guest + 0x400, 0xf4", // NO_PORT
    "   out dx, eax",
    "   in eax, dx",
    "   mov [rbx], eax",
    "   mov eax, [rbx]",
    "9: jmp 9b",
    "port_guest_end:",
    ".popsection",
);

unsafe extern "C" {
    static port_guest: u8;
    static port_guest_end: u8;
}

fn guest_code() -> &'static [u8] {
    let (start, end) = (&raw const port_guest, &raw const port_guest_end);
    // SAFETY: the two symbols enclose the bytes assembled above, which nobody writes to.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

/// Where a guest stands.
#[derive(Clone, Copy)]
enum Mode {
    Kernel,
    User,
}

/// What a guest did that a test looks at.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Out(u16, Vec<u8>),
    In(u16),
    Store(u64),
    Load(u64),
    Handled(Handled),
    Kicked,
}

/// One vCPU on this thread. The guard comes before the machine, whose vCPU it points into.
struct Bench {
    pmu: VcpuPmuKvm<CoreSource>,
    guard: KickGuard,
    at: usize,
    machine: Machine,
    core: PerfCore,
    watchdog: Watchdog,
}

impl Bench {
    /// A machine with so many vCPUs, and the port; on vCPU 0.
    fn new(vcpus: u32) -> Self {
        let machine = Machine::new(vcpus.into(), guest_code()).unwrap();
        let memory = Arc::clone(&machine.ram) as Arc<dyn PortMemory>;
        let core = PerfCore::with_port(vcpus, NoObserver, memory, PortLimits::default());
        Self::on(machine, core, 0, Watchdog::new())
    }

    fn on(mut machine: Machine, core: PerfCore, at: usize, watchdog: Watchdog) -> Self {
        machine.ram.set_gate(TRAP_VECTOR, TRAP_HANDLER).unwrap();
        machine.ram.set_gate(INTERRUPT, INTERRUPT_HANDLER).unwrap();
        let vcpu = &mut machine.vcpus[at];
        let id = u32::try_from(at).unwrap();
        let options = PmuOptions::new(MODEL, vcpu.get_tsc_khz().unwrap(), id);
        let guard = kick::bind(vcpu).unwrap();
        let source = core.bind(VcpuId(id), &guard, options.tsc_khz).unwrap();
        let vm = Arc::clone(&machine.vm);
        let pmu = VcpuPmuKvm::with_source(vm, &guard, &options, source).unwrap();
        Self {
            pmu,
            guard,
            at,
            machine,
            core,
            watchdog,
        }
    }

    /// This thread has another vCPU from now on.
    fn goes_on_at(self, at: usize) -> Self {
        let Self {
            pmu,
            guard,
            machine,
            core,
            watchdog,
            ..
        } = self;
        drop(pmu);
        drop(guard);
        Self::on(machine, core, at, watchdog)
    }

    /// With a task that runs, and an event that traps at each of its ticks.
    fn with_a_task() -> (Self, Id) {
        let mut bench = Self::new(2);
        bench.register(PAGE);
        let task = bench.task();
        bench.open(task, true);
        (bench, task)
    }

    fn vcpu(&mut self) -> &mut VcpuFd {
        &mut self.machine.vcpus[self.at]
    }

    fn word(&self, gpa: u64) -> u32 {
        self.machine.ram.load32(gpa).unwrap()
    }

    fn trap(&self) -> u32 {
        self.word(PAGE + page::TRAP)
    }

    /// As the guest's kernel does by OUT.
    fn write_port(&mut self, offset: u16, value: u32) {
        let source = self.pmu.registers().source_mut();
        source.port_write(io::BASE + offset, &value.to_le_bytes());
    }

    fn register(&mut self, page: u64) {
        self.write_port(io::PAGE, u32::try_from(page / page::SIZE).unwrap());
        assert_eq!(self.page(), page);
    }

    /// The page that is registered.
    fn page(&mut self) -> u64 {
        let mut frame = [0; 4];
        let source = self.pmu.registers().source_mut();
        source.port_read(io::BASE + io::PAGE, &mut frame);
        u64::from(u32::from_le_bytes(frame)) * page::SIZE
    }

    /// A command of the kernel's, which has to succeed.
    fn command(&mut self, command: Command) -> u64 {
        let page = self.page();
        let (op, args) = command.encode();
        assert!(self.machine.ram.store32(page + page::OP, op.number()));
        for (nth, arg) in (0..).zip(&args) {
            assert!(self.machine.ram.store64(page + page::ARG + 8 * nth, *arg));
        }
        self.write_port(io::COMMAND, 0);
        let result = self.machine.ram.load64(page + page::RESULT).unwrap();
        decode_result(result.cast_signed()).unwrap()
    }

    /// A new task that runs.
    fn task(&mut self) -> Id {
        let name = Name::new("task");
        let task = Id::new(self.command(Command::Create { vcpu: 0, name })).unwrap();
        self.switch_to(task);
        task
    }

    fn switch_to(&mut self, task: Id) {
        let current = self.page() + page::CURRENT;
        assert!(self.machine.ram.store64(current, task.get()));
        self.command(Command::Switch {
            prev: None,
            leaves: Leaves::Queued,
            next: Some(task),
        });
    }

    /// Ticks of a task, each of which traps, or none.
    fn open(&mut self, task: Id, traps: bool) -> Id {
        let mut open = Open::new(EventNumber::PortTick, Target::Task(task));
        if traps {
            open.flags = OpenFlags::REMOVE_ON_EXEC;
            (open.period, open.data) = (1, Some(7));
        }
        Id::new(self.command(Command::Open(open))).unwrap()
    }

    fn count(&mut self, event: Id) -> u64 {
        let page = self.page();
        assert_eq!(self.command(Command::Read { event }), 0);
        self.machine.ram.load64(page + page::OUT).unwrap()
    }

    /// What runs next.
    fn begin(&mut self, code: u64, mode: Mode, rflags: u64) {
        let page = if self.at == 0 { PAGE } else { OTHER_PAGE };
        let vcpu = self.vcpu();
        let rsp = match mode {
            Mode::Kernel => KERNEL_STACK,
            Mode::User => {
                let mut sregs = vcpu.get_sregs().unwrap();
                (sregs.cs.selector, sregs.cs.dpl) = (USER_CODE, 3);
                (sregs.ss.selector, sregs.ss.dpl) = (machine::USER_DATA, 3);
                vcpu.set_sregs(&sregs).unwrap();
                USER_STACK
            }
        };
        vcpu.set_regs(&kvm_regs {
            rip: code,
            rsp,
            rflags,
            rbx: TICK,
            rdi: page,
            rsi: DATA,
            rdx: io::BASE.into(),
            ..Default::default()
        })
        .unwrap();
    }

    fn step(&mut self) -> Seen {
        self.guard.clear();
        let vcpu = &mut self.machine.vcpus[self.at];
        match self.pmu.run(vcpu, &*self.machine.ram).unwrap() {
            Exit::Kicked => Seen::Kicked,
            Exit::Handled(handled) => Seen::Handled(handled),
            Exit::Vcpu(VcpuExit::IoOut(port, data)) => Seen::Out(port, data.to_vec()),
            Exit::Vcpu(VcpuExit::IoIn(port, _)) => Seen::In(port),
            Exit::Vcpu(VcpuExit::MmioWrite(gpa, _)) => Seen::Store(gpa),
            Exit::Vcpu(VcpuExit::MmioRead(gpa, _)) => Seen::Load(gpa),
            other => panic!("{other:?}"),
        }
    }

    /// The next exit that is the VMM's.
    fn exit(&mut self) -> Seen {
        loop {
            match self.step() {
                Seen::Kicked | Seen::Handled(_) => {}
                seen => return seen,
            }
        }
    }

    /// The port that the guest writes to next.
    fn port(&mut self) -> u16 {
        match self.exit() {
            Seen::Out(port, _) => port,
            other => panic!("{other:?}"),
        }
    }

    /// The next numbers that the guest writes to port 20H.
    fn numbers<const N: usize>(&mut self) -> [u32; N] {
        [(); N].map(|()| match self.exit() {
            Seen::Out(0x20, data) => u32::from_le_bytes(data.try_into().unwrap()),
            other => panic!("{other:?}"),
        })
    }

    /// RIP, CS and RFLAGS on the stack of the handler that runs.
    fn frame(&mut self) -> [u64; 3] {
        let rsp = self.vcpu().get_regs().unwrap().rsp;
        [0, 8, 16].map(|at| self.machine.ram.load64(rsp + at).unwrap())
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_tick_in_user_mode_traps_before_the_next_instruction() {
    let (mut bench, task) = Bench::with_a_task();
    bench.begin(ONE_TICK, Mode::User, UNMASKED);
    assert_eq!(bench.step(), Seen::Handled(Handled::Tick));
    assert_eq!(bench.step(), Seen::Kicked, "the store is finished first");
    assert_eq!(bench.port(), 0x10);
    assert_eq!(bench.vcpu().get_regs().unwrap().rcx, 0, "nothing ran since");
    let [rip, cs, _] = bench.frame();
    assert_eq!(
        (rip, cs),
        (ONE_TICK + 2, USER_CODE.into()),
        "behind the store"
    );
    assert_eq!(bench.trap(), TRAP_TAKEN);
    let record = |at| bench.machine.ram.load64(PAGE + at).unwrap();
    assert_eq!(record(page::TRAP_TASK), task.get());
    assert_eq!(
        (record(page::TRAP_ADDR), record(page::TRAP_DATA)),
        (TICK, 7)
    );
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_tick_in_kernel_mode_is_said_and_a_look_that_is_past_starts_over() {
    let (mut bench, _) = Bench::with_a_task();
    for (field, at) in [(page::RETURN_START, WINDOW), (page::RETURN_END, WINDOW_END)] {
        assert!(bench.machine.ram.store64(PAGE + field, at));
    }
    // With interrupts on: nothing but the mode keeps the trap away.
    bench.begin(WINDOW, Mode::Kernel, UNMASKED);
    assert_eq!(bench.port(), 0x11, "the kernel looked again, and found it");
    assert_eq!(bench.trap(), TRAP_WAITS);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_kernel_without_a_window_goes_on_where_it_is() {
    let (mut bench, _) = Bench::with_a_task();
    bench.begin(WINDOW, Mode::Kernel, UNMASKED);
    assert_eq!(bench.port(), 0x12);
    assert_eq!(bench.trap(), TRAP_WAITS);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn units_of_32_bits_count_and_no_others() {
    let mut bench = Bench::new(1);
    let frame = u32::try_from(PAGE / page::SIZE).unwrap();
    // By OUTSB in bytes; by OUTSD 0, and the frame.
    for (at, word) in [(0, frame), (4, 0), (8, frame)] {
        assert!(bench.machine.ram.store32(DATA + at, word));
    }
    bench.begin(WIDTHS, Mode::Kernel, MASKED);
    let none: [u32; 3] = bench.numbers();
    assert_eq!(none, [0; 3], "OUT of 8 and 16 bits, OUTSB");
    assert_eq!(bench.numbers(), [frame], "OUTSD");
    assert_eq!(bench.numbers(), [0xff, 0xffff], "IN of 8 and 16 bits");
    assert_eq!(bench.numbers(), [u32::MAX, frame, frame], "INSB, INSD");
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_store_of_any_size_is_one_tick_and_a_load_is_none() {
    let mut bench = Bench::new(1);
    bench.register(PAGE);
    let task = bench.task();
    let event = bench.open(task, false);
    bench.begin(SIZES, Mode::Kernel, MASKED);
    assert_eq!(bench.numbers(), [0, 0], "loads");
    assert_eq!(bench.count(event), 4);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn what_lies_beside_the_tick_page_is_the_vmms() {
    let mut bench = Bench::new(1);
    bench.register(PAGE);
    let task = bench.task();
    let event = bench.open(task, false);
    bench.begin(NEIGHBOURS, Mode::Kernel, MASKED);
    assert_eq!(bench.step(), Seen::Store(TICK + page::SIZE));
    assert_eq!(bench.step(), Seen::Store(TICK - 4));
    assert_eq!(bench.step(), Seen::Load(TICK + page::SIZE));
    assert_eq!(bench.count(event), 0);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_trap_waits_until_its_task_takes_interrupts() {
    let (mut bench, _) = Bench::with_a_task();
    bench.begin(WHILE_MASKED, Mode::User, MASKED | IOPL_3);
    assert_eq!(bench.step(), Seen::Handled(Handled::Tick));
    assert_eq!([bench.port(), bench.port()], [0x11, 0x12]);
    assert_eq!(bench.port(), 0x10, "after STI");
    let [_, cs, rflags] = bench.frame();
    assert_eq!(cs, u64::from(USER_CODE));
    assert_ne!(rflags & UNMASKED & !MASKED, 0);
    assert_eq!(bench.vcpu().get_regs().unwrap().rcx, 2);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn an_interrupt_on_its_way_comes_before_a_trap() {
    let (mut bench, _) = Bench::with_a_task();
    bench.begin(ONE_TICK, Mode::User, UNMASKED);
    assert_eq!(bench.step(), Seen::Handled(Handled::Tick));
    assert_eq!(bench.step(), Seen::Kicked, "the store is finished");
    let mut events = bench.vcpu().get_vcpu_events().unwrap();
    (events.interrupt.injected, events.interrupt.nr) = (1, INTERRUPT);
    bench.vcpu().set_vcpu_events(&events).unwrap();
    assert_eq!(bench.port(), 0x15, "it is not lost");
    assert_eq!(bench.port(), 0x16);
    assert_eq!(bench.trap(), TRAP_WAITS, "its handler is the kernel's");
}

/// Calls of another thread.
const ROUNDS: u64 = 100;

/// Runs its function however its thread ends.
struct AtEnd<F: Fn()>(F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn calls_are_answered_while_every_exit_is_finished_by_force() {
    let (mut bench, _) = Bench::with_a_task();
    let handler = ACKNOWLEDGING_HANDLER;
    bench.machine.ram.set_gate(TRAP_VECTOR, handler).unwrap();
    bench.begin(FOR_EVER, Mode::User, UNMASKED);
    let done = &AtomicBool::new(false);
    let Bench {
        pmu,
        guard,
        machine,
        core,
        ..
    } = &mut bench;
    let (core, kicker) = (&*core, guard.kicker());
    let target = vpmu::context::Target::Vcpu(VcpuId(0));
    let cycles = Attr::counting(EventConfig::everywhere(vpmu::Event::CoreCycles));
    let (ticked, ticks) = mpsc::channel();
    let traps = thread::scope(|threads| {
        threads.spawn(move || {
            // However it ends: the vCPU runs until then.
            let _end = AtEnd(|| {
                done.store(true, Ordering::SeqCst);
                kicker.kick().unwrap();
            });
            let mut me = core.host_thread();
            for _ in 0..ROUNDS {
                // The tick's exit is still to be finished.
                ticks.recv().unwrap();
                let open = vpmu::context::Open::new(cycles, target);
                let event = core.perf().open(&open, &mut me).unwrap();
                let state = core.perf().status(&event).unwrap().state;
                assert_eq!(state, State::Active(VcpuId(0)));
                core.perf().read(&event, &mut me).unwrap().unwrap();
                core.perf().close(&event, &mut me).unwrap();
            }
        });
        loop {
            guard.clear();
            if done.load(Ordering::SeqCst) {
                return machine.vcpus[0].get_regs().unwrap().rcx;
            }
            match pmu.run(&mut machine.vcpus[0], &*machine.ram).unwrap() {
                // Nobody listens any more once it is done.
                Exit::Handled(Handled::Tick) => drop(ticked.send(())),
                Exit::Kicked | Exit::Handled(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(traps >= ROUNDS - 1, "each tick but the last one: {traps}");
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_vcpu_comes_back_without_a_page_and_a_trap_goes_with_its_task() {
    let (mut bench, task) = Bench::with_a_task();
    bench.begin(ONE_TICK, Mode::User, UNMASKED);
    assert_eq!(bench.step(), Seen::Handled(Handled::Tick));
    bench.pmu.unplug(&mut bench.machine.vcpus[0]).unwrap();

    bench.pmu.plug().unwrap();
    assert_eq!(bench.page(), 0);
    // What the unplugged vCPU left half done is over.
    bench.guard.clear();
    bench.begin(NO_TICK, Mode::User, UNMASKED | IOPL_3);
    assert_eq!([bench.port(), bench.port()], [0x11, 0x12], "no trap");
    bench.pmu.unplug(&mut bench.machine.vcpus[0]).unwrap();

    let mut bench = bench.goes_on_at(1);
    bench.register(OTHER_PAGE);
    bench.switch_to(task);
    bench.begin(NO_TICK, Mode::User, UNMASKED | IOPL_3);
    assert_eq!(bench.port(), 0x10, "it comes before anything else");
    let record = |at| bench.machine.ram.load64(OTHER_PAGE + at).unwrap();
    assert_eq!(record(page::TRAP_TASK), task.get());
    assert_eq!(record(page::TRAP_ADDR), TICK);
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn without_a_port_its_registers_and_its_page_are_the_vmms() {
    let machine = Machine::new(1, guest_code()).unwrap();
    let mut bench = Bench::on(machine, PerfCore::new(1), 0, Watchdog::new());
    bench.begin(NO_PORT, Mode::Kernel, MASKED);
    assert!(matches!(bench.step(), Seen::Out(io::BASE, _)));
    assert_eq!(bench.step(), Seen::In(io::BASE));
    assert_eq!(bench.step(), Seen::Store(TICK));
    assert_eq!(bench.step(), Seen::Load(TICK));
}
