// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! All vCPUs attack at once, with and without vCPUs that go and come; and what has to be done until
//! the guest is an honest one again.

use core::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use rt::host::{self, State, Wish};
use rt::hotplug::{self, Event};
use rt::random::Random;
use rt::sched::port::{self, Errno, EventNumber, Id, Name, Open, Target};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::{self, Deadline};
use rt::trap::{self, TrapFrame, Verdict, vector};
use rt::{MAX_CPUS, check, check_eq, cmdline, cpu, diag, pmu, probe, sched, smp};

use crate::attack::{self, Attacker, CODE, Harm, PAGE};
use crate::{CPUS, shared};

/// Unless the command line says.
const SECONDS: u64 = 2;
/// So many vCPUs are to come in the storm with hotplug, and as many to go.
const CHANGES: u32 = 3;
/// What each vCPU has to do at least.
const LEAST: u64 = 100;

static STOP: AtomicBool = AtomicBool::new(false);
static ALL_HARM: AtomicBool = AtomicBool::new(false);
static SEED: AtomicU64 = AtomicU64::new(0);
static ACTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);
/// Traps that came to user mode, and to the kernel.
static TRAPS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// RIP and RFLAGS of the kernel that the last one came to.
static KERNEL: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

fn on_trap(frame: &mut TrapFrame) -> Verdict {
    TRAPS[usize::from(!frame.is_user())].fetch_add(1, Relaxed);
    if !frame.is_user() {
        KERNEL[0].store(frame.rip, Relaxed);
        KERNEL[1].store(frame.rflags, Relaxed);
    }
    Verdict::Resume
}

fn on_pmi(_: &mut TrapFrame) -> Verdict {
    pmu::set_global(0);
    Verdict::Resume
}

fn seed() -> u64 {
    cmdline::number("seed").unwrap_or_else(time::tsc)
}

fn harm() -> Harm {
    if ALL_HARM.load(Relaxed) {
        Harm::All
    } else {
        Harm::ButHotplug
    }
}

/// What each vCPU attacks with: another seed for each.
fn attacker() -> Attacker {
    let seed = SEED
        .load(Relaxed)
        .wrapping_mul(2 * cpu::current() as u64 + 3);
    Attacker::new(seed, harm())
}

fn work() -> Outcome {
    cpu::invalidate_page(sched::TICKS);
    let mut attacker = attacker();
    while !STOP.load(Acquire) {
        attacker.act();
        ACTS.fetch_add(1, Relaxed);
    }
    pmu::reset();
    Ok(())
}

fn begin(number: u64, harm: Harm) -> u64 {
    let seed = seed().wrapping_add(number);
    SEED.store(seed, Relaxed);
    ALL_HARM.store(harm == Harm::All, Relaxed);
    for cpu in 0..CPUS {
        ACTS[cpu].store(0, Relaxed);
    }
    shared::prepare();
    // Behind the fields that the port writes to.
    probe::place(CODE + 0x200, &[0x90; 8]);
    trap::hook(vector::PERF_TRAP, on_trap);
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    STOP.store(false, Release);
    (1..CPUS).for_each(|cpu| smp::start(cpu, work));
    seed
}

/// All vCPUs, none of which goes.
pub(crate) fn of_all(number: u64) -> Outcome {
    let seed = begin(number, Harm::ButHotplug);
    let seconds = cmdline::number("seconds").unwrap_or(SECONDS);
    let end = Deadline::after_ms(1000 * seconds);
    let patience = Deadline::after_ms(1000 * seconds + 30_000);
    let enough = || (0..CPUS).all(|cpu| ACTS[cpu].load(Relaxed) >= LEAST);
    let mut attacker = attacker();
    while !end.is_over() || !enough() && !patience.is_over() {
        attacker.act();
        ACTS.fetch_add(1, Relaxed);
    }
    STOP.store(true, Release);
    (1..CPUS).try_for_each(smp::finish)?;
    pmu::reset();
    let acts: [u64; CPUS] = core::array::from_fn(|cpu| ACTS[cpu].load(Relaxed));
    let traps = [0, 1].map(|level: usize| TRAPS[level].load(Relaxed));
    diag!(
        "seed {seed:#x}, {seconds} s: {acts:?} acts, {} traps",
        traps[0]
    );
    check!(enough(), "too few acts: {acts:?}");
    check!(traps[0] > 0, "no trap in all this");
    let [rip, flags] = [0, 1].map(|n: usize| KERNEL[n].load(Relaxed));
    check_eq!(
        traps[1],
        0,
        "traps in kernel mode, the last at {rip:#x} with RFLAGS {flags:#x}"
    );
    let at = probe::at(probe::Cpl::Three, CODE + 0x200);
    check_eq!(
        rt::session::run(&at).vector(),
        vector::RETURN,
        "code in a registered page"
    );
    reform()
}

/// vCPUs are removed and added by the host, and by whoever attacks, and started anew in the middle of
/// their attack.
pub(crate) fn with_hotplug() -> Outcome {
    let seed = begin(2, Harm::All);
    let mut random = Random::new(seed);
    let mut attacker = attacker();
    host::post(Wish::Storm(CHANGES));
    let deadline = Deadline::after_ms(120_000);
    let mut starts = 0_u64;
    let answer = loop {
        if let Some(answer) = host::answer() {
            break answer;
        }
        check!(!deadline.is_over(), "the host's storm does not end");
        for _ in 0..64 {
            attacker.act();
        }
        if random.below(16) == 0 {
            smp::send_start(1 + rt::index(random.below(CPUS as u64 - 1)));
            starts += 1;
        }
    };
    STOP.store(true, Release);
    let [came, went, faults] = answer.words;
    diag!("seed {seed:#x}: {came} came, {went} went, {starts} starts");
    check_eq!(faults, 0, "requests that ended as none should");
    check!(came >= CHANGES && went >= CHANGES, "too few came or went");
    Ok(())
}

/// Whatever they did: each vCPU can be had anew.
pub(crate) fn all_back() -> Outcome {
    while hotplug::take_event().is_some() {}
    for cpu in 1..CPUS {
        hotplug::eject(cpu);
        let deadline = Deadline::after_ms(30_000);
        while !matches!(host::state(cpu)?, State::Offline | State::Absent) {
            check!(!deadline.is_over(), "CPU {cpu} does not go");
        }
        smp::forget(cpu);
    }
    while hotplug::take_event().is_some() {}
    for cpu in 1..CPUS {
        host::grant(Wish::Add(host::id(cpu)))?;
        check_eq!(
            hotplug::take_event(),
            Some((cpu, Event::Added)),
            "the controller's event"
        );
        smp::start_cpu(cpu)?;
    }
    pmu::reset();
    reform()
}

/// The guest is honest from now on: no page of the storm's is registered, no task and no event of it
/// is left.
fn reform() -> Outcome {
    trap::unhook(vector::PMI);
    trap::unhook(vector::NMI);
    // The scheduler's own hook, and its page on this vCPU.
    sched::init()?;
    for cpu in 1..CPUS {
        smp::run_on(cpu, take_page_back)?;
    }
    let task = newest_task()?;
    let event = newest_event(task)?;
    let exited = end_all(task, Errno::NoSuchTask, |id| {
        port::ask(|port| port.exit(id))
    })?;
    let closed = end_all(event, Errno::BadEvent, |id| {
        port::ask(|port| port.close(id))
    })?;
    diag!(
        "{exited} tasks up to {}, and {closed} events up to {}, were left",
        task.get(),
        event.get()
    );
    Ok(())
}

/// Ends all up to `newest`; how many there were.
fn end_all(newest: Id, absent: Errno, end: impl Fn(Id) -> Result<(), Errno>) -> Result<u64, Text> {
    let mut ended = 0;
    for id in (1..=newest.get()).filter_map(Id::new) {
        match end(id) {
            Ok(()) => ended += 1,
            Err(errno) if errno == absent => {}
            Err(errno) => rt::fail!("the end of {}: {errno:?}", id.get()),
        }
    }
    Ok(ended)
}

fn take_page_back() -> Outcome {
    attack::out32(PAGE, 0);
    Ok(())
}

/// A task made now: the numbers of all others are below. There may be no room for it at first.
fn newest_task() -> Result<Id, Text> {
    room_for(
        || port::ask(|port| port.create(0, Name::new("newest"))),
        |id| port::ask(|port| port.exit(id)),
    )
}

/// The same of an event, the first one on a new task: those of one target may be numbered ahead, but
/// not of one that there was not.
fn newest_event(task: Id) -> Result<Id, Text> {
    let open = Open::new(EventNumber::PortTick, Target::Task(task));
    room_for(
        || port::ask(|port| port.open(&open)).map(|opened| opened.event),
        |id| port::ask(|port| port.close(id)),
    )
}

/// Ends the oldest ones until there is room to make one.
fn room_for(
    make: impl Fn() -> Result<Id, Errno>,
    end: impl Fn(Id) -> Result<(), Errno>,
) -> Result<Id, Text> {
    let mut oldest = (1..).filter_map(Id::new);
    loop {
        match make() {
            Ok(id) => return Ok(id),
            Err(Errno::NoMemory) => _ = oldest.next().map(&end),
            Err(errno) => rt::fail!("one more: {errno:?}"),
        }
    }
}
