// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How a CPU that the host adds is received, and one that it wants back is given up: by the
//! controller's interrupt, on CPU 0, with the [`crate::crew`] counting all the while.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::host::{self, Answer, State, Wish};
use crate::hotplug::{self, Event, Status};
use crate::sync::PerCpu;
use crate::tap::Outcome;
use crate::trap::{TrapFrame, Verdict};
use crate::{MAX_CPUS, books, check, check_eq, cpu, crew, fail, reset, smp, time};

/// The guest's time to give a CPU back, where it means to: more than it ever needs.
pub const PLENTY_MS: u32 = 600_000;

/// How long the controller's interrupt may take on a busy host.
const PATIENCE_MS: u64 = 30_000;

static INTERRUPTS: AtomicU64 = AtomicU64::new(0);

fn on_event(_: &mut TrapFrame) -> Verdict {
    INTERRUPTS.fetch_add(1, Relaxed);
    Verdict::Resume
}

/// Lets the controller interrupt this CPU.
pub fn connect() {
    hotplug::connect(on_event);
}

/// How often the controller interrupted.
#[must_use]
pub fn interrupts() -> u64 {
    INTERRUPTS.load(Relaxed)
}

/// Asks the host for something and waits for the interrupt, and the event, that it makes of it.
///
/// # Errors
/// What came instead.
pub fn provoke(wish: Wish, cpu: usize, event: Event) -> Outcome {
    let before = interrupts();
    host::post(wish);
    if !time::wait_ms(PATIENCE_MS, || interrupts() > before) {
        fail!(
            "{wish:?}: no interrupt within 30 s; the answer is {:?}, the event {:?}",
            host::answer(),
            hotplug::next_event()
        );
    }
    let found = hotplug::next_event();
    check!(
        found == Some((cpu, event)),
        "{wish:?}: the event {found:?}, not {event:?} of CPU {cpu}"
    );
    Ok(())
}

/// The host is asked for `wanted`, which makes CPU `cpu` come; it is started, found to be as new, and
/// counts from then on.
///
/// # Errors
/// What went wrong.
pub fn one_comes(cpu: usize, wanted: u32) -> Outcome {
    let wish = Wish::Add(wanted);
    provoke(wish, cpu, Event::Added)?;
    check_eq!(
        hotplug::status(cpu).0,
        Status::PRESENT | Status::ADDED,
        "the status of CPU {cpu}"
    );
    hotplug::acknowledge(cpu, Event::Added);
    check_eq!(
        hotplug::status(cpu).0,
        Status::PRESENT,
        "the status of CPU {cpu} after the acknowledgement"
    );
    let Answer { outcome, words } = host::wait(wish)?;
    check_eq!(outcome, host::Outcome::Done, "the answer to {wish:?}");
    check_eq!(words[0], host::id(cpu), "the CPU that came");
    check_eq!(host::state(cpu)?, State::Running, "CPU {cpu} for the host");
    receive(cpu)
}

/// Starts a CPU that has come, which is as new, and counts from then on.
///
/// # Errors
/// What is not as new.
pub fn receive(cpu: usize) -> Outcome {
    expect_newcomer(cpu);
    smp::start_cpu(cpu)?;
    crew::hire(cpu, newcomer);
    let rounds = crew::rounds(cpu);
    let works = time::wait_ms(PATIENCE_MS, || crew::rounds(cpu) > rounds);
    if !works {
        // Its outcome says why, if it has ended.
        crew::dismiss(cpu)?;
        fail!("CPU {cpu} does not count after its start");
    }
    Ok(())
}

static EVER: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

/// Before a CPU is started that is to be a [`newcomer`].
pub fn expect_newcomer(cpu: usize) {
    EVER[cpu].store(books::pmis_ever(cpu), Relaxed);
}

/// The work of a CPU that was just started: it is as new, and counts.
///
/// # Errors
/// What is not as new, or does not balance in its books.
pub fn newcomer() -> Outcome {
    reset::local_apic()?;
    reset::registers()?;
    reset::rdpmc()?;
    check_eq!(
        books::pmis_ever(cpu::current()),
        EVER.load(Relaxed),
        "PMIs of an earlier life"
    );
    crew::count()
}

/// How a CPU is found when it is given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaving {
    /// Stopped, with everything off.
    Tidy,
    /// Halted for good, with its counters on and PMIs coming.
    AllOn,
    /// At work.
    AtWork,
}

/// Gives a CPU back.
///
/// # Errors
/// What of its books does not balance, if it was to close them.
pub fn give_back(cpu: usize, how: Leaving) -> Outcome {
    match how {
        Leaving::Tidy => {
            crew::dismiss(cpu)?;
            smp::stop_cpu(cpu)?;
        }
        Leaving::AllOn => {
            crew::walk_out(cpu)?;
            smp::stop_cpu_all_on(cpu)?;
        }
        Leaving::AtWork => {}
    }
    hotplug::eject(cpu);
    check_eq!(hotplug::status(cpu).0, 0, "the status of an ejected CPU");
    Ok(())
}

/// The host asks for a CPU, and gets it.
///
/// # Errors
/// What went wrong.
pub fn one_goes(cpu: usize, how: Leaving) -> Outcome {
    let wish = Wish::Remove(host::id(cpu), PLENTY_MS);
    provoke(wish, cpu, Event::Removal)?;
    check_eq!(
        hotplug::status(cpu).0,
        Status::PRESENT | Status::REMOVE,
        "the status of CPU {cpu}"
    );
    give_back(cpu, how)?;
    let answer = host::wait(wish)?;
    check_eq!(
        answer.outcome,
        host::Outcome::Done,
        "the answer to {wish:?}"
    );
    is_gone(cpu)
}

/// A CPU that was given back does nothing any more; it can be received again.
///
/// # Errors
/// What it does.
pub fn is_gone(cpu: usize) -> Outcome {
    check_eq!(host::state(cpu)?, State::Offline, "CPU {cpu} for the host");
    let (pmis, rounds) = (books::pmis_ever(cpu), crew::rounds(cpu));
    time::compute(200_000);
    check_eq!(
        books::pmis_ever(cpu),
        pmis,
        "PMIs on CPU {cpu}, which is gone"
    );
    check_eq!(
        crew::rounds(cpu),
        rounds,
        "work of CPU {cpu}, which is gone"
    );
    crew::forget(cpu);
    Ok(())
}
