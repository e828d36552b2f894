// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events that trap, and the law that accounts for their overflows.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rt::sched::port::{
    self, Errno, EventNumber, EventState, Id, Open, OpenFlags, Reading, Target, TrapTotals,
};
use rt::sched::{self, State, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, check_eq, diag, fail, time};

use crate::CPUS;

/// How long a trap may be on its way to a task that runs.
const PATIENCE_MS: u64 = 30_000;
/// The same, once one was waited for in vain: others will not come either, and are not to keep us.
const LESS_PATIENCE_MS: u64 = 2_000;
static IN_VAIN: AtomicBool = AtomicBool::new(false);

/// The events that were settled: overflows, queued, merged, refused, sent, dropped.
static ALL: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
/// Traps of theirs that handlers saw.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Counts in user mode only.
pub(crate) const USER: OpenFlags = OpenFlags::EXCLUDE_KERNEL;
/// Counts in the kernel only.
pub(crate) const KERNEL: OpenFlags = OpenFlags::EXCLUDE_USER;
/// Counts in both modes.
pub(crate) const BOTH: OpenFlags = OpenFlags::NONE;

/// An open event that traps.
#[derive(Clone, Copy)]
pub(crate) struct Traps {
    pub(crate) id: Id,
    /// In the records; also the tally that counts them.
    pub(crate) data: usize,
}

/// The port's number of a task.
pub(crate) fn number(task: Tid) -> Id {
    Id::new(sched::port_id(task)).expect("the port knows the task")
}

/// An event on the stores of a task, which traps with each of them.
pub(crate) fn asked(task: Tid, data: usize, flags: OpenFlags) -> Open {
    Open {
        flags: flags.with(OpenFlags::REMOVE_ON_EXEC),
        period: 1,
        data: Some(data as u64),
        ..Open::new(EventNumber::PortTick, Target::Task(number(task)))
    }
}

impl Traps {
    /// Opens what is [`asked`] for.
    pub(crate) fn open(asked: &Open) -> Result<Self, Text> {
        let opened = port::must("open", |port| port.open(asked))?;
        let data = asked.data.map_or(0, rt::index);
        Ok(Self {
            id: opened.event,
            data,
        })
    }

    pub(crate) fn on(task: Tid, data: usize, flags: OpenFlags) -> Result<Self, Text> {
        Self::open(&asked(task, data, flags))
    }

    pub(crate) fn read(self) -> Result<Reading, Text> {
        match port::must("read", |port| port.read(self.id))? {
            Some(reading) => Ok(reading),
            None => fail!("end of file: not pinned, and in error"),
        }
    }

    /// What became of its overflows, held against the law, which is true at any time.
    pub(crate) fn totals(self) -> Result<TrapTotals, Text> {
        let totals = port::must("traps", |port| port.traps(self.id))?;
        check_eq!(
            totals.queued,
            totals.sent + totals.dropped + totals.pending,
            "queued traps of {totals:?}"
        );
        Ok(totals)
    }

    /// How many of its traps the handlers of these tasks have seen.
    pub(crate) fn handled(self, tasks: &[Tid]) -> u64 {
        tasks.iter().map(|&tid| sched::tally(tid, self.data)).sum()
    }

    /// Checks that every overflow is in the totals, and that no trap is on its way any more; returns
    /// the overflows.
    pub(crate) fn check(self, what: &str, totals: &TrapTotals) -> Result<u64, Text> {
        let overflows = self.read()?.overflows;
        check_eq!(
            overflows,
            totals.queued + totals.merged + totals.refused,
            "{what}: overflows of {totals:?}"
        );
        check_eq!(totals.pending, 0, "{what}: pending traps");
        Ok(overflows)
    }

    /// Nothing overflows any more, and no trap is on its way: checks the law for tasks that were
    /// spawned for this event, prints it, and closes the event.
    pub(crate) fn settle(self, what: &str, tasks: &[Tid]) -> Result<TrapTotals, Text> {
        let totals = self.totals()?;
        let overflows = self.check(what, &totals)?;
        self.account(what, overflows, &totals, tasks)?;
        Ok(totals)
    }

    /// The same for an event of a family, whose overflows are not counted in one place.
    pub(crate) fn settle_family(
        self,
        what: &str,
        tasks: &[Tid],
        overflows: u64,
    ) -> Result<TrapTotals, Text> {
        let totals = self.totals()?;
        check_eq!(
            overflows,
            totals.queued + totals.merged + totals.refused,
            "{what}: overflows of {totals:?}"
        );
        check_eq!(totals.pending, 0, "{what}: pending traps");
        self.account(what, overflows, &totals, tasks)?;
        Ok(totals)
    }

    fn account(self, what: &str, overflows: u64, totals: &TrapTotals, tasks: &[Tid]) -> Outcome {
        let handled = self.handled(tasks);
        diag!(
            "{what}: {overflows} overflows = {} queued + {} merged + {} refused; queued = {} sent + {} \
             dropped + {} pending; {handled} handled",
            totals.queued,
            totals.merged,
            totals.refused,
            totals.sent,
            totals.dropped,
            totals.pending
        );
        check_eq!(handled, totals.sent, "{what}: traps handled, of those sent");
        note(overflows, totals, handled);
        port::must("close", |port| port.close(self.id))
    }

    /// Waits until handlers have seen so many of its traps.
    pub(crate) fn await_handled(self, tasks: &[Tid], least: u64) -> Outcome {
        let patience = if IN_VAIN.load(Relaxed) {
            LESS_PATIENCE_MS
        } else {
            PATIENCE_MS
        };
        let came = time::wait_ms(patience, || self.handled(tasks) >= least);
        IN_VAIN.fetch_or(!came, Relaxed);
        check!(
            came,
            "{} traps, not {least}, after {patience} ms: {:?}",
            self.handled(tasks),
            self.totals()?
        );
        Ok(())
    }

    /// Checks that nothing is known of it any more.
    pub(crate) fn is_gone(self) -> Outcome {
        let errno = port::ask(|port| port.traps(self.id));
        check_eq!(errno, Err(Errno::BadEvent), "a closed event");
        Ok(())
    }

    /// Waits until it is in a state: what the guest does not do itself takes a moment.
    pub(crate) fn await_state(self, wanted: EventState) -> Result<Reading, Text> {
        let deadline = time::Deadline::after_ms(PATIENCE_MS);
        loop {
            let reading = self.read()?;
            if reading.state == wanted {
                return Ok(reading);
            }
            check!(
                !deadline.is_over(),
                "it is {:?}, not {wanted:?}, after {PATIENCE_MS} ms",
                reading.state
            );
        }
    }
}

/// Takes an event into the sums.
pub(crate) fn note(overflows: u64, totals: &TrapTotals, handled: u64) {
    let numbers = [
        overflows,
        totals.queued,
        totals.merged,
        totals.refused,
        totals.sent,
        totals.dropped,
    ];
    for (sum, number) in ALL.iter().zip(numbers) {
        sum.fetch_add(number, Relaxed);
    }
    HANDLED.fetch_add(handled, Relaxed);
}

/// Lets a task run on CPU `cpu` that waits in its first step, to its end.
pub(crate) fn run(task: Tid, cpu: usize) -> Outcome {
    sched::await_state(task, State::Blocked)?;
    sched::wake(task, cpu);
    sched::await_state(task, State::Exited)
}

/// The sums over all events, and what the scheduler was handed.
pub(crate) fn whole() -> Outcome {
    let [overflows, queued, merged, refused, sent, dropped] =
        ALL.each_ref().map(|sum| sum.load(Relaxed));
    let handled = HANDLED.load(Relaxed);
    let delivered: u64 = (0..CPUS)
        .map(|cpu| sched::counts(cpu).by_exception + sched::counts(cpu).by_user)
        .sum();
    diag!(
        "all: {overflows} overflows = {queued} queued + {merged} merged + {refused} refused; queued = \
         {sent} sent + {dropped} dropped; {delivered} delivered, {handled} handled"
    );
    check!(
        sent > 1_000 && merged > 0 && dropped > 0,
        "too little happened"
    );
    check_eq!(overflows, queued + merged + refused, "overflows");
    check_eq!(queued, sent + dropped, "queued traps");
    check_eq!(delivered, sent, "traps that were delivered");
    Ok(())
}
