// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A task that is stuck on a vCPU that is gone, and what is done to events on it meanwhile.

use rt::host::{self, Wish};
use rt::hotplug::{self, Event};
use rt::sched::port::{self, EventNumber, Open};
use rt::sched::{self, State, Step, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check_eq, smp};

use crate::asker::{self, By, Request, Words};
use crate::{ELSEWHERE, STUCK};

/// What the task stores when it runs again.
const STORES: u64 = 25;
const PERIOD: u32 = 10;
/// The event that overflows is off after so many overflows.
const OVERFLOWS: u32 = 2;

/// How the task comes to run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Back {
    /// The vCPU is plugged in, and the task is woken there.
    PluggedIn,
    /// It is woken on another vCPU.
    Elsewhere,
}

/// A task that blocks, and stores whenever it is woken.
pub(crate) fn blocks_on(cpu: usize) -> Result<Tid, Text> {
    let script = [Step::blocks(), Step::store(STORES), Step::goes_to(0)];
    let task = sched::spawn("stuck", cpu, &script)?;
    sched::await_state(task, State::Blocked)?;
    Ok(task)
}

/// How the vCPU is unplugged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Gone {
    /// It took its page back, and was stopped.
    Tidy,
    /// As it was: halted for want of tasks, with its page registered.
    AsItWas,
}

/// The vCPU is unplugged, as the guest can do it without being asked.
pub(crate) fn unplug(how: Gone) -> Outcome {
    match how {
        Gone::Tidy => {
            sched::leave(STUCK, ELSEWHERE)?;
            smp::stop_cpu(STUCK)?;
            hotplug::eject(STUCK);
        }
        Gone::AsItWas => {
            sched::await_idle(STUCK)?;
            hotplug::eject(STUCK);
            sched::lost(STUCK, ELSEWHERE);
        }
    }
    host::await_state(STUCK, host::State::Offline)
}

/// It comes again, and runs tasks.
pub(crate) fn plug_in() -> Outcome {
    host::grant(Wish::Add(host::id(STUCK)))?;
    check_eq!(
        hotplug::take_event(),
        Some((STUCK, Event::Added)),
        "the controller's event"
    );
    smp::start_cpu(STUCK)?;
    sched::enter(STUCK)
}

/// Wakes a task, which stores, and waits until it blocks again.
pub(crate) fn runs(task: Tid, cpu: usize) -> Outcome {
    sched::wake(task, cpu);
    sched::await_state(task, State::Blocked)
}

/// Whether or not the host was told that the task blocked, however the vCPU goes, and however the task
/// comes to run again.
pub(crate) fn in_all_ways(by: By) -> Outcome {
    for told in [false, true] {
        for gone in [Gone::Tidy, Gone::AsItWas] {
            for back in [Back::PluggedIn, Back::Elsewhere] {
                let way = |why: Text| {
                    Text::format(format_args!(
                        "{gone:?}, {back:?}, the host told {told}: {why}"
                    ))
                };
                let done = stuck(by, told, gone, back).map_err(way);
                let over = end_all();
                done.and(over)?;
            }
        }
    }
    Ok(())
}

fn stuck(by: By, told: bool, gone: Gone, back: Back) -> Outcome {
    let witness = if told { Some(witness()?) } else { None };
    let task = blocks_on(STUCK)?;
    unplug(gone)?;
    let done = while_gone(by, task, back);
    if smp::is_online(STUCK) {
        done?;
    } else {
        // Whatever came of it, the next one begins as this one did.
        let again = plug_in();
        done.and(again)?;
    }
    match witness {
        Some(event) => port::must("close", |port| port.close(event)),
        None => Ok(()),
    }
}

/// No task is left.
pub(crate) fn end_all() -> Outcome {
    sched::tasks().for_each(sched::kill);
    sched::join_all()
}

/// An event on a task that does nothing: while it is open, all is announced.
fn witness() -> Result<port::Id, Text> {
    let script = [Step::blocks(), Step::exits()];
    let task = sched::spawn("witness", ELSEWHERE, &script)?;
    sched::await_state(task, State::Blocked)?;
    let open = Open::new(EventNumber::PortTick, asker::target(task));
    Ok(port::must("open", |port| port.open(&open))?.event)
}

fn while_gone(by: By, task: Tid, back: Back) -> Outcome {
    let ask = |request: Request| -> Result<Words, Text> {
        asker::at_once(by, request, || runs(task, ELSEWHERE))
    };
    let open = |request: Request| -> Result<asker::Event, Text> {
        let [event, rounds] = ask(request)?;
        // One that is off needs nobody's help, if it is not the first.
        let looks = u64::from(matches!(request, Request::Open(_)));
        check_eq!(rounds, looks, "rounds of {request:?}");
        Ok(u32::try_from(event).expect("there are few events"))
    };
    let count = |event| ask(Request::Read(event)).map(|[count, _]| count);

    // The first event of the task, and one that finds another one there.
    let plain = open(Request::Open(task))?;
    let limited = open(Request::OpenOff(task, PERIOD))?;
    let closed = open(Request::Open(task))?;
    check_eq!(count(plain)?, 0, "the count of a task that is stuck");
    ask(Request::Disable(plain))?;
    ask(Request::Enable(plain))?;
    ask(Request::Refresh(limited, OVERFLOWS))?;
    ask(Request::Reset(limited))?;
    ask(Request::Close(closed))?;

    match back {
        Back::PluggedIn => {
            plug_in()?;
            runs(task, STUCK)?;
        }
        Back::Elsewhere => runs(task, ELSEWHERE)?,
    }
    check_eq!(count(plain)?, STORES, "the count of the task");
    let limit = u64::from(PERIOD * OVERFLOWS);
    check_eq!(count(limited)?, limit, "the count up to the limit");

    // Nothing is left of a task's last event either.
    ask(Request::Close(limited))?;
    ask(Request::Close(plain))?;
    let last = open(Request::Open(task))?;
    runs(task, ELSEWHERE)?;
    check_eq!(count(last)?, STORES, "the count of the second first event");
    ask(Request::Close(last)).map(|_| ())
}
