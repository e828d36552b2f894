// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Limits (I16): n overflows are n traps, then the event is off; and a refresh starts it anew (R20).

use rt::check_eq;
use rt::sched::port::{self, EventNumber, EventState, Open, Target};
use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;

use crate::law::{KERNEL, Traps, USER, asked, number};
use crate::service;

/// More stores than there is to count.
const MORE: u64 = 5;

/// What an event has to have done when its limit is reached.
fn expect(event: Traps, task: Tid, overflows: u64, period: u64) -> Outcome {
    let reading = event.await_state(EventState::Off)?;
    check_eq!(reading.overflows, overflows, "overflows");
    // It stopped at the very store.
    check_eq!(
        reading.count,
        overflows * period,
        "stores that were counted"
    );
    check_eq!(event.handled(&[task]), overflows, "traps");
    check_eq!(event.totals()?.queued, overflows, "queued traps");
    Ok(())
}

pub(crate) fn exact() -> Outcome {
    for (limit, period) in [(1, 1), (2, 3), (3, 1), (5, 2), (8, 1)] {
        let again = limit + 1;
        let script = [
            Step::blocks(),
            Step::store(limit * period + MORE),
            Step::blocks(),
            Step::store(again * period + MORE),
            Step::blocks(),
            Step::store(MORE),
            Step::blocks(),
            Step::store(MORE * period),
            Step::exits(),
        ];
        let task = sched::spawn("limited", 1, &script)?;
        let event = Traps::open(&Open {
            period,
            limit,
            ..asked(task, 1, USER)
        })?;
        let go_on = |cpu| {
            sched::await_state(task, State::Blocked)?;
            sched::wake(task, cpu);
            sched::await_state(task, State::Blocked)
        };
        go_on(1)?;
        expect(event, task, limit, period)?;
        port::must("refresh", |port| port.refresh(event.id, again))?;
        go_on(2)?;
        expect(event, task, limit + again, period)?;
        // Off is off.
        go_on(3)?;
        expect(event, task, limit + again, period)?;
        // Enabled without a refresh it has no limit.
        port::must("enable", |port| port.enable(event.id))?;
        sched::wake(task, 1);
        sched::await_state(task, State::Exited)?;
        let totals = event.settle("limits", &[task])?;
        check_eq!(totals.queued, limit + again + MORE, "queued");
        check_eq!(totals.merged, 0, "merged");
        sched::join(task)?;
    }
    Ok(())
}

/// R13: the task is switched out right after the overflow that reached the limit, while another vCPU
/// has events of the same task rescheduled.
pub(crate) fn rescheduled() -> Outcome {
    service::let_rest(false);
    let script = [
        Step::blocks(),
        service::tick_and_yield(),
        Step::yields(),
        service::rests(),
        Step::goes_to(1),
    ];
    let task = sched::spawn("limited", 1, &script)?;
    let other = sched::spawn("other", 1, &[Step::yields(), Step::goes_to(0)])?;
    sched::await_state(task, State::Blocked)?;
    let event = Traps::open(&Open {
        limit: 1,
        ..asked(task, 1, KERNEL)
    })?;
    let counter = Open::new(EventNumber::PortTick, Target::Task(number(task)));
    let counter = port::must("open", |port| port.open(&counter))?.event;
    sched::wake(task, 1);
    let mut overflows = 1;
    for round in 0..40 {
        port::must("disable", |port| port.disable(counter))?;
        port::must("enable", |port| port.enable(counter))?;
        event.await_handled(&[task], overflows)?;
        expect(event, task, overflows, 1)?;
        let more = 1 + round % 4;
        port::must("refresh", |port| port.refresh(event.id, more))?;
        overflows += more;
    }
    event.await_handled(&[task], overflows)?;
    expect(event, task, overflows, 1)?;
    service::let_rest(true);
    sched::await_state(task, State::Blocked)?;
    let totals = event.settle("R13", &[task])?;
    check_eq!(
        (totals.queued, totals.merged),
        (overflows, 0),
        "queued and merged"
    );
    port::must("close", |port| port.close(counter))?;
    for tid in [task, other] {
        sched::kill(tid);
        sched::join(tid)?;
    }
    Ok(())
}
