// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! This kernel's own events on its tasks and vCPUs, at random, held against the counting law.

use rt::random::Random;
use rt::sched::port::{
    self, Errno, EventNumber, EventState, Id, Open, OpenFlags, Reading, Target, TrapTotals,
};
use rt::sched::{self, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::time::Deadline;
use rt::{check, fail, index};

use crate::{CPUS, TASKS, refused};

/// In the traps of events that are closed when all their traps have arrived.
pub(crate) const EXACT: usize = 1;
/// In the traps of events that are closed with a trap on its way, at times.
pub(crate) const LOOSE: usize = 2;
/// In the traps of events that are closed while they overflow.
const WILD: usize = 3;

/// Events that are open at once.
const MANY: usize = 24;
/// How long a trap may be on its way.
const PATIENCE_MS: u64 = 20_000;

/// An open event.
#[derive(Clone, Copy)]
struct Event {
    id: Id,
    samples: bool,
    /// Its traps' data.
    sigtrap: Option<usize>,
}

/// Those that are open, and what became of the others.
pub(crate) struct Events {
    open: [Option<Event>; MANY],
    exact: u64,
    least: u64,
    most: u64,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            open: [None; MANY],
            exact: 0,
            least: 0,
            most: 0,
        }
    }

    /// Traps that tasks must have got: exactly with [`EXACT`], at least and at most with [`LOOSE`].
    pub(crate) const fn traps(&self) -> [u64; 3] {
        [self.exact, self.least, self.most]
    }

    /// One thing, whatever it is.
    pub(crate) fn step(&mut self, random: &mut Random) -> Outcome {
        let place = index(random.below(MANY as u64));
        let Some(event) = self.open[place] else {
            self.open[place] = open(random)?;
            return Ok(());
        };
        let id = event.id;
        match random.below(8) {
            0 | 1 => {
                self.open[place] = None;
                self.close(event)
            }
            2 => read(event).map(|_| ()),
            3 if event.sigtrap.is_some() => traps(event).map(|_| ()),
            4 if event.samples => {
                let overflows = random.below(20);
                port::must("refresh", |port| port.refresh(id, overflows))
            }
            5 if event.samples => {
                let period = 1 + random.below(50);
                port::must("set period", |port| port.set_period(id, period))
            }
            5 => port::must("reset", |port| port.reset(id)),
            6 => port::must("disable", |port| port.disable(id)),
            _ => port::must("enable", |port| port.enable(id)),
        }
    }

    /// None is left.
    pub(crate) fn close_all(&mut self) -> Outcome {
        for place in 0..MANY {
            if let Some(event) = self.open[place].take() {
                self.close(event)?;
            }
        }
        Ok(())
    }

    fn close(&mut self, event: Event) -> Outcome {
        if event.sigtrap.is_some_and(|data| data != WILD) {
            port::must("disable", |port| port.disable(event.id))?;
            let totals = if event.sigtrap == Some(EXACT) {
                settle(event)?
            } else {
                traps(event)?
            };
            // Nothing overflows between the two looks any more.
            let overflows = read(event)?.map_or(0, |reading| reading.overflows);
            check!(
                overflows == totals.queued + totals.merged + totals.refused,
                "event {}: {overflows} overflows, {totals:?}",
                event.id.get()
            );
            if event.sigtrap == Some(EXACT) {
                self.exact += totals.sent;
            } else {
                self.least += totals.sent;
                self.most += totals.queued - totals.dropped;
            }
        }
        port::must("close", |port| port.close(event.id))
    }
}

fn any_task(random: &mut Random) -> Option<Id> {
    let tid = Tid(index(random.below(TASKS as u64)));
    Id::new(sched::port_id(tid))
}

/// Opens an event; none on a vCPU that is not there.
fn open(random: &mut Random) -> Result<Option<Event>, Text> {
    let vcpu = rt::host::id(index(random.below(CPUS as u64)));
    let Some(task) = any_task(random) else {
        fail!("a task without a number");
    };
    let target = match random.below(8) {
        0 => Target::Vcpu(vcpu),
        1 => Target::TaskOn(task, vcpu),
        _ => Target::Task(task),
    };
    let samples = random.below(4) > 0;
    let traps = samples && !matches!(target, Target::Vcpu(_)) && random.below(4) > 0;
    let sigtrap = traps.then(|| [EXACT, LOOSE, WILD][index(random.below(3))]);
    let mut flags = OpenFlags::NONE;
    if traps {
        flags = flags.with(OpenFlags::REMOVE_ON_EXEC);
    }
    match random.below(4) {
        0 => flags = flags.with(OpenFlags::EXCLUDE_KERNEL),
        1 => flags = flags.with(OpenFlags::EXCLUDE_USER),
        _ => {}
    }
    let limited = samples && random.below(4) == 0;
    if !limited && random.below(4) == 0 {
        flags = flags.with(OpenFlags::DISABLED);
    }
    let asked = Open {
        flags,
        period: if samples { 1 + random.below(50) } else { 0 },
        data: sigtrap.map(|data| data as u64),
        limit: if limited { 1 + random.below(50) } else { 0 },
        ..Open::new(EventNumber::PortTick, target)
    };
    match port::ask(|port| port.open(&asked)) {
        Ok(opened) => Ok(Some(Event {
            id: opened.event,
            samples,
            sigtrap,
        })),
        Err(Errno::NoSuchVcpu) if matches!(target, Target::Vcpu(_)) => Ok(None),
        Err(errno) => Err(refused("open", errno)),
    }
}

fn read(event: Event) -> Result<Option<Reading>, Text> {
    port::must("read", |port| port.read(event.id))
}

/// What became of its overflows, held against the law.
fn traps(event: Event) -> Result<TrapTotals, Text> {
    let totals = port::must("traps", |port| port.traps(event.id))?;
    check!(
        totals.queued == totals.sent + totals.dropped + totals.pending && totals.pending <= 1,
        "event {}: {totals:?}",
        event.id.get()
    );
    Ok(totals)
}

/// Waits until no trap of a disabled event is on its way.
fn settle(event: Event) -> Result<TrapTotals, Text> {
    let deadline = Deadline::after_ms(PATIENCE_MS);
    loop {
        let totals = traps(event)?;
        let over = read(event)?.is_some_and(|reading| reading.state == EventState::Exit);
        if totals.pending == 0 || over {
            return Ok(totals);
        }
        check!(
            !deadline.is_over(),
            "event {}: no trap in {PATIENCE_MS} ms: {totals:?}",
            event.id.get()
        );
    }
}
