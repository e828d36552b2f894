// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tasks that go to and fro between two vCPUs, and counts that follow them.

use rt::sched::port::{EventNumber, Id, Target};
use rt::sched::{self, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check_eq, println};

use crate::event;
use crate::numbers::{Milliseconds, Thousands};
use crate::tasks::{begin, run_all};

/// What a task does.
struct Plan {
    name: &'static str,
    /// How often it goes to the other vCPU and back.
    rounds: u64,
    /// Stores to the tick page before it goes; twice as many before it comes back.
    stores: u64,
    /// Rounds of an empty loop on each vCPU.
    computes: u64,
}

const PLANS: [Plan; 4] = [
    Plan {
        name: "brief",
        rounds: 5,
        stores: 10,
        computes: 200_000,
    },
    Plan {
        name: "steady",
        rounds: 10,
        stores: 20,
        computes: 400_000,
    },
    Plan {
        name: "busy",
        rounds: 10,
        stores: 30,
        computes: 1_600_000,
    },
    Plan {
        name: "heavy",
        rounds: 20,
        stores: 40,
        computes: 3_200_000,
    },
];

impl Plan {
    /// All stores to the tick page.
    fn ticks(&self) -> u64 {
        3 * self.stores * self.rounds
    }
}

/// A task with its events.
struct Counted {
    plan: &'static Plan,
    task: Tid,
    id: Id,
    ticks: Id,
    /// Those on vCPU 1 alone.
    ticks_on_1: Id,
    cycles: Id,
    /// The shared word in which it counts how often it has moved.
    moves: usize,
}

/// Sums of a column.
#[derive(Default)]
struct Sums {
    ticks: u64,
    ticks_on_1: u64,
    cycles: u64,
    moves: u64,
    running: u64,
}

/// Runs the tasks and shows what was counted.
///
/// # Errors
/// What did not work; ticks that are not exactly those that were made.
pub(crate) fn show() -> Outcome {
    println!("Four tasks run in user mode. Each stores to the perf port's tick page and computes,");
    println!("moves to the other vCPU, stores and computes there, comes back, and so on. Three");
    println!("events follow each: its ticks, those on vCPU 1 alone, and its cycles.\n");
    let before = switches();
    let mut counted = [const { None }; PLANS.len()];
    for (number, (plan, place)) in PLANS.iter().zip(&mut counted).enumerate() {
        *place = Some(Counted::prepare(number, plan)?);
    }
    let vcpus = [
        event::count(EventNumber::PortTick, Target::Vcpu(0))?.event,
        event::count(EventNumber::PortTick, Target::Vcpu(1))?.event,
    ];
    for (number, task) in counted.iter().flatten().enumerate() {
        begin(task.task, home(number))?;
    }
    run_all()?;
    println!("  task  name     ticks  on vCPU 1         cycles  migrations      running");
    let mut sums = Sums::default();
    for task in counted.iter().flatten() {
        task.report(&mut sums)?;
    }
    println!(
        "        all     {:>6}  {:>9}  {:>13}  {:>10}  {:>11}",
        Thousands(sums.ticks),
        Thousands(sums.ticks_on_1),
        Thousands(sums.cycles),
        sums.moves,
        Milliseconds(sums.running)
    );
    let [on_0, on_1] = [take(vcpus[0])?, take(vcpus[1])?];
    println!(
        "\nCounted on the vCPUs instead of the tasks: {} ticks on vCPU 0, {} on vCPU 1.",
        Thousands(on_0),
        Thousands(on_1)
    );
    check_eq!(on_0 + on_1, sums.ticks, "ticks of both vCPUs");
    check_eq!(on_1, sums.ticks_on_1, "ticks on vCPU 1");
    let after = switches();
    println!("Ticks are exact: each is an exit. Cycles are modelled on hosts without a PMU.");
    println!(
        "The host was told of {} of {} switches: those made while an event was open on a task.",
        after.1 - before.1,
        after.0 - before.0
    );
    sched::join_all()
}

impl Counted {
    fn prepare(number: usize, plan: &'static Plan) -> Result<Self, Text> {
        let (here, there) = (home(number), 1 - home(number));
        sched::set_word(number, 0);
        let script = [
            Step::blocks(),
            Step::store(plan.stores),
            Step::computes(plan.computes),
            Step::migrates(there),
            Step::adds(number),
            Step::store(2 * plan.stores),
            Step::computes(plan.computes),
            Step::migrates(here),
            Step::adds(number),
            Step::repeats(1, plan.rounds),
            Step::exits(),
        ];
        let task = sched::spawn(plan.name, 1, &script)?;
        let id = event::id(task);
        let open = |kind, target| event::count(kind, target).map(|opened| opened.event);
        Ok(Self {
            plan,
            task,
            id,
            ticks: open(EventNumber::PortTick, Target::Task(id))?,
            ticks_on_1: open(EventNumber::PortTick, Target::TaskOn(id, 1))?,
            cycles: open(EventNumber::Cycles, Target::Task(id))?,
            moves: number,
        })
    }

    fn report(&self, sums: &mut Sums) -> Outcome {
        let ticks = event::read_all(self.ticks)?;
        let cycles = event::read_all(self.cycles)?;
        let ticks_on_1 = event::read(self.ticks_on_1)?.count;
        let moves = sched::word(self.moves);
        println!(
            "  {:>4}  {:<6}  {:>6}  {:>9}  {:>13}  {:>10}  {:>11}",
            self.id.get(),
            self.plan.name,
            Thousands(ticks.count),
            Thousands(ticks_on_1),
            Thousands(cycles.count),
            moves,
            Milliseconds(cycles.running)
        );
        check_eq!(
            ticks.count,
            self.plan.ticks(),
            "ticks of {}",
            self.plan.name
        );
        sums.ticks += ticks.count;
        sums.ticks_on_1 += ticks_on_1;
        sums.cycles += cycles.count;
        sums.moves += moves;
        sums.running += cycles.running;
        [self.ticks, self.ticks_on_1, self.cycles]
            .into_iter()
            .try_for_each(event::close)
    }
}

/// The vCPU that a task starts on.
fn home(number: usize) -> usize {
    number % 2
}

/// What an event counted; closes it.
fn take(event: Id) -> Result<u64, Text> {
    let reading = event::read_all(event)?;
    event::close(event)?;
    Ok(reading.count)
}

/// Switches on both vCPUs so far, and those that were announced.
fn switches() -> (u64, u64) {
    let [a, b] = [0, 1].map(sched::counts);
    (a.switches + b.switches, a.announced + b.announced)
}
