// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tasks, and the vCPUs that they run on.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::sched::{self, State, Step, Then, Tid};
use rt::sync::PerCpu;
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::Deadline;
use rt::{MAX_CPUS, cpu, println};

/// Between two stores of `ticker`.
const BEAT_MS: u64 = 50;
/// Rounds of an empty loop, after which the others of the vCPU have their turn.
const ROUNDS: u64 = 100_000;
/// Turns that `walker` has on a vCPU before it goes to the next.
const STAY: u64 = 40;

/// What tasks ask of the kernel at the end of their turns.
mod service {
    /// Blocks the task.
    pub(super) const REST: u64 = 0;
    /// Takes the task to the next vCPU now and then.
    pub(super) const WALK: u64 = 1;
    /// Blocks the task if its vCPU is about to go.
    pub(super) const SPIN: u64 = 2;
}

const TICKER: [Step; 3] = [
    Step::store(1),
    Step::serves(service::REST),
    Step::goes_to(0),
];
const WALKER: [Step; 3] = [
    Step::computes(ROUNDS),
    Step::serves(service::WALK),
    Step::goes_to(0),
];
const SPINNER: [Step; 3] = [
    Step::computes(ROUNDS),
    Step::serves(service::SPIN),
    Step::goes_to(0),
];

/// The vCPUs that tasks may go to.
static OPEN: PerCpu<AtomicBool> = PerCpu([const { AtomicBool::new(false) }; MAX_CPUS]);
/// Turns of `walker`.
static TURNS: AtomicU64 = AtomicU64::new(0);
/// The last event of which it was told that it traps a task: what is opened later has a higher
/// number.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// The tasks, as long as the guest runs.
pub(crate) struct Tasks {
    ticker: Tid,
    walker: Tid,
    /// By vCPU; none before it came for the first time.
    spinners: [Option<Tid>; MAX_CPUS],
    /// When `ticker` is to be woken.
    beat: Deadline,
}

impl Tasks {
    /// The tasks of vCPU 0.
    ///
    /// # Errors
    /// What the port refuses.
    pub(crate) fn start() -> Result<Self, Text> {
        sched::set_service(serve);
        OPEN[0].store(true, Relaxed);
        let mut spinners = [None; MAX_CPUS];
        let ticker = sched::spawn("ticker", 0, &TICKER)?;
        let walker = sched::spawn("walker", 0, &WALKER)?;
        spinners[0] = Some(spinner(0)?);
        Ok(Self {
            ticker,
            walker,
            spinners,
            beat: Deadline::after_ms(BEAT_MS),
        })
    }

    /// Runs those of vCPU 0, until `until` holds or `ticker` had to be woken.
    pub(crate) fn run(&mut self, until: impl Fn() -> bool) {
        let beat = self.beat;
        sched::run_here(|| beat.is_over() || until());
        if beat.is_over() {
            sched::wake(self.ticker, 0);
            self.beat = Deadline::after_ms(BEAT_MS);
        }
    }

    /// A vCPU without work runs tasks from now on: its own, which may have waited for it, and those
    /// that come by.
    ///
    /// # Errors
    /// If it does not begin to.
    pub(crate) fn spread_to(&mut self, cpu: usize) -> Outcome {
        sched::enter(cpu)?;
        OPEN[cpu].store(true, Relaxed);
        match self.spinners[cpu] {
            Some(task) => _ = sched::wake(task, cpu),
            None => self.spinners[cpu] = Some(spinner(cpu)?),
        }
        Ok(())
    }

    /// A vCPU runs no tasks from now on: its own is blocked there, who came by is elsewhere.
    ///
    /// # Errors
    /// If it does not stop to.
    pub(crate) fn withdraw_from(&self, cpu: usize) -> Outcome {
        OPEN[cpu].store(false, Relaxed);
        if let Some(task) = self.spinners[cpu] {
            sched::await_state(task, State::Blocked)?;
        }
        sched::leave(cpu, 0)?;
        // It may have set out for there while it was open, and come when all had left.
        sched::place(self.walker, 0);
        Ok(())
    }
}

fn spinner(cpu: usize) -> Result<Tid, Text> {
    sched::spawn("spinner", cpu, &SPINNER)
}

/// The end of a task's turn.
fn serve(number: u64) -> Then {
    let cpu = cpu::current();
    if let Some(task) = sched::current_on(cpu) {
        tell_trap(task);
    }
    match number {
        service::WALK => walk(cpu),
        service::SPIN if OPEN[cpu].load(Relaxed) => Then::Yields,
        _ => Then::Blocks,
    }
}

fn walk(here: usize) -> Then {
    if (TURNS.fetch_add(1, Relaxed) + 1).is_multiple_of(STAY) {
        let others = (here + 1..MAX_CPUS).chain(0..here);
        let next = others.into_iter().find(|&cpu| OPEN[cpu].load(Relaxed));
        next.map_or(Then::Yields, Then::Migrates)
    } else {
        Then::Yields
    }
}

/// Tells of the first trap of each event.
fn tell_trap(task: Tid) {
    if let Some(trap) = sched::last_trap(task)
        && TOLD.fetch_max(trap.event, Relaxed) < trap.event
    {
        // Not its number: whoever opened it on the host knows it by another one.
        println!(
            "Task {} is trapped: address {:#x}, data {}",
            trap.task, trap.address, trap.data
        );
    }
}
