// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An honest guest, on the machine of a hostile one.

use rt::sched::port::{self, EventNumber, Open, OpenFlags, Target};
use rt::sched::{self, State, Step};
use rt::tap::Outcome;
use rt::{check_eq, diag};

use crate::CPUS;
use crate::lies::number;

const ROUNDS: u64 = 10;
const PERIOD: u64 = 3;
const DATA: usize = 7;

/// A task goes round all vCPUs and stores; an event counts its stores, another one traps with every
/// third, and one on each vCPU counts what is stored there.
pub(crate) fn round() -> Outcome {
    (1..CPUS).try_for_each(sched::enter)?;
    let script = [
        Step::blocks(),
        Step::store(4),
        Step::migrates(2),
        Step::kernel_store(1),
        Step::store(5),
        Step::migrates(3),
        Step::store(6),
        Step::migrates(1),
        Step::repeats(1, ROUNDS),
        Step::exits(),
    ];
    let task = sched::spawn("honest", 1, &script)?;
    let counter = Open::new(EventNumber::PortTick, Target::Task(number(task)));
    let trap = Open {
        flags: OpenFlags::REMOVE_ON_EXEC,
        period: PERIOD,
        data: Some(DATA as u64),
        ..counter
    };
    let counter = port::must("open", |port| port.open(&counter))?.event;
    let trap = port::must("open", |port| port.open(&trap))?.event;
    let mut vcpus = [None; CPUS];
    for (cpu, event) in (0..).zip(&mut vcpus) {
        let open = Open::new(EventNumber::PortTick, Target::Vcpu(cpu));
        *event = Some(port::must("open", |port| port.open(&open))?.event);
    }
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, 1);
    sched::await_state(task, State::Exited)?;

    let all = (4 + 1 + 5 + 6) * ROUNDS;
    for event in [counter, trap] {
        let reading = port::must("read", |port| port.read(event))?;
        check_eq!(
            reading.map(|reading| reading.count),
            Some(all),
            "the task's stores"
        );
    }
    let totals = port::must("traps", |port| port.traps(trap))?;
    diag!("{all} stores, {totals:?}");
    check_eq!(totals.queued, all / PERIOD, "queued traps");
    check_eq!(totals.sent, totals.queued, "sent traps");
    check_eq!((totals.merged, totals.refused), (0, 0), "others");
    check_eq!(
        sched::tally(task, DATA),
        totals.sent,
        "traps that were handled"
    );
    let stored = [0, 4 * ROUNDS, 6 * ROUNDS, 6 * ROUNDS];
    for ((event, stored), cpu) in vcpus.into_iter().flatten().zip(stored).zip(0..) {
        let reading = port::must("read", |port| port.read(event))?;
        let count = reading.map(|reading| reading.count);
        check_eq!(count, Some(stored), "stores on CPU {cpu}");
        port::must("close", |port| port.close(event))?;
    }
    for event in [counter, trap] {
        port::must("close", |port| port.close(event))?;
    }
    sched::join(task)?;
    sched::stop()
}
