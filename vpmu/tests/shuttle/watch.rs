// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The observer: what must hold from one step of the engine to the next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vcpu_call::VcpuId;
use vpmu::context::{EventId, PerfObserver, Record, Retry, Step, TaskId, Trap};

use crate::world::VCPUS;

/// How often what happened, over all executions of a search.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) operations: AtomicU64,
    pub(crate) entries: AtomicU64,
    /// Reads whose count was held against what the guest did, and those of them for which only one
    /// count was right.
    pub(crate) reads: AtomicU64,
    pub(crate) exact: AtomicU64,
    pub(crate) swaps: AtomicU64,
    pub(crate) overflows: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) merged: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) limits: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) moved: AtomicU64,
    pub(crate) running: AtomicU64,
    pub(crate) not_here: AtomicU64,
    pub(crate) offline: AtomicU64,
    pub(crate) traded: AtomicU64,
    /// Operations on a task that stayed off all vCPUs meanwhile.
    pub(crate) still: AtomicU64,
}

pub(crate) fn add(tally: &AtomicU64, n: u64) {
    tally.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn get(tally: &AtomicU64) -> u64 {
    tally.load(Ordering::Relaxed)
}

impl Totals {
    fn rows(&self) -> [(&'static str, u64); 20] {
        [
            ("operations", get(&self.operations)),
            ("entries", get(&self.entries)),
            ("reads checked", get(&self.reads)),
            ("of them to the unit", get(&self.exact)),
            ("swaps", get(&self.swaps)),
            ("overflows", get(&self.overflows)),
            ("traps sent", get(&self.sent)),
            ("merged", get(&self.merged)),
            ("dropped", get(&self.dropped)),
            ("limits", get(&self.limits)),
            ("throttled", get(&self.throttled)),
            ("rotations", get(&self.rotations)),
            ("pinned failed", get(&self.failed)),
            ("announcements refused", get(&self.refused)),
            ("retries as moved", get(&self.moved)),
            ("as running", get(&self.running)),
            ("as not here", get(&self.not_here)),
            ("as offline", get(&self.offline)),
            ("as traded", get(&self.traded)),
            ("operations on a task off all vCPUs", get(&self.still)),
        ]
    }

    /// A search that never came past something has shown nothing about it. Only a vCPU that goes
    /// between the look for it and the call is too rare to be asked for: R23 does that on purpose.
    pub(crate) fn assert_all_seen(&self) {
        for (what, times) in self.rows() {
            let rare = what == "as offline";
            assert!(rare || times > 0, "never seen: {what}");
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows().into_iter().filter(|(_, times)| *times > 0);
        let rows: Vec<_> = rows
            .map(|(what, times)| format!("{times} {what}"))
            .collect();
        f.write_str(&rows.join(", "))
    }
}

/// What was told about one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) rounds: u32,
    pub(crate) moved: u32,
    pub(crate) traded: u32,
    pub(crate) overflows: u64,
    /// Overflows that queued a trap.
    pub(crate) queued: u64,
}

#[derive(Default)]
struct State {
    /// The current tasks, as the announcements that were accepted have it.
    current: [Option<TaskId>; VCPUS as usize],
    online: [bool; VCPUS as usize],
    /// The address that the counters are being looked at with.
    sample: [u64; VCPUS as usize],
    /// Traps on their way, the oldest first, with the address of the overflow that queued each.
    pending: HashMap<TaskId, VecDeque<(EventId, u64)>>,
    /// The address that the trap that was just sent must have.
    sent: Option<(TaskId, EventId, u64)>,
    told: HashMap<EventId, Told>,
    /// Events that were opened, not inherited.
    opened: HashSet<EventId>,
    closed: HashSet<EventId>,
    exited: HashSet<TaskId>,
}

/// Sees every step of the engine and holds it against I8, I9, I10, I12, I13 and I21.
///
/// Told with the engine's locks held, it waits for nobody: its own lock is never held across
/// anything that lets another thread run.
pub(crate) struct Watch {
    state: Mutex<State>,
    /// Every step is printed.
    traces: bool,
    pub(crate) totals: Arc<Totals>,
}

impl Watch {
    pub(crate) fn new(totals: &Arc<Totals>) -> Self {
        Self {
            state: Mutex::default(),
            traces: std::env::var_os("SHUTTLE_TRACE").is_some(),
            totals: Arc::clone(totals),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self, vcpu: VcpuId) -> Option<TaskId> {
        self.state().current[vcpu.index()]
    }

    pub(crate) fn is_online(&self, vcpu: VcpuId) -> bool {
        self.state().online[vcpu.index()]
    }

    /// The counters of `vcpu` are looked at with a sample of this address, or with none any more.
    pub(crate) fn sample(&self, vcpu: VcpuId, addr: u64) {
        self.state().sample[vcpu.index()] = addr;
    }

    pub(crate) fn told(&self, event: EventId) -> Told {
        self.state().told.get(&event).copied().unwrap_or_default()
    }

    /// How many traps are on their way to `task`.
    pub(crate) fn pending(&self, task: TaskId) -> usize {
        self.state().pending.get(&task).map_or(0, VecDeque::len)
    }

    /// From now on no overflow of this event begins (I9).
    pub(crate) fn closed(&self, event: EventId) {
        self.state().closed.insert(event);
    }

    /// From now on nothing of this task is on a counter (I8).
    pub(crate) fn exited(&self, task: TaskId) {
        let mut state = self.state();
        state.exited.insert(task);
        state.pending.remove(&task);
    }

    /// Holds a trap that was handed out against the overflow that queued it.
    pub(crate) fn check_sent(&self, trap: &Trap) {
        let expected = self.state().sent.take();
        let got = Some((trap.task, trap.event, trap.addr));
        assert_eq!(got, expected, "I13: not the trap that is due, {trap:?}");
    }

    /// So many overflows were told of events for which `of` says so.
    pub(crate) fn overflows(&self, of: impl Fn(EventId) -> bool) -> u64 {
        let state = self.state();
        let told = state.told.iter().filter(|(id, _)| of(**id));
        told.map(|(_, told)| told.overflows).sum()
    }

    /// So many overflows queued a trap.
    pub(crate) fn queued(&self) -> u64 {
        self.state().told.values().map(|told| told.queued).sum()
    }
}

impl State {
    fn switched_in(&mut self, vcpu: VcpuId, task: TaskId) {
        let elsewhere = self.current.iter().position(|own| *own == Some(task));
        assert_eq!(elsewhere, None, "I21: {task} is current on two vCPUs");
        let before = self.current[vcpu.index()].replace(task);
        assert_eq!(before, None, "I21: vCPU {vcpu} has two current tasks");
    }

    fn trap_queued(&mut self, vcpu: VcpuId, task: TaskId, event: EventId) {
        let current = self.current[vcpu.index()];
        assert_eq!(
            current,
            Some(task),
            "I13: a trap for somebody else's overflow"
        );
        let addr = self.sample[vcpu.index()];
        let pending = self.pending.entry(task).or_default();
        let twice = pending.iter().any(|(other, _)| *other == event);
        assert!(!twice, "I15: two traps of event {event} are on their way");
        pending.push_back((event, addr));
        self.told.entry(event).or_default().queued += 1;
    }

    fn trap_sent(&mut self, vcpu: VcpuId, task: TaskId, event: EventId) {
        let current = self.current[vcpu.index()];
        assert_eq!(current, Some(task), "I13: a trap for a task that is away");
        let due = self.pending.get_mut(&task).and_then(VecDeque::pop_front);
        // One that was inherited goes by the name of the one that was opened.
        let is = |id| id == event || !self.opened.contains(&id) && self.opened.contains(&event);
        let addr = due.filter(|(id, _)| is(*id)).map(|(_, addr)| addr);
        let addr = addr.unwrap_or_else(|| panic!("I13: not event {event} is due but {due:?}"));
        self.sent = Some((task, event, addr));
    }

    fn unswappable(&self, task: TaskId) -> bool {
        self.pending.get(&task).is_some_and(|own| !own.is_empty())
    }
}

impl PerfObserver for Watch {
    fn record(&self, record: &Record) {
        let Record {
            vcpu, task, event, ..
        } = *record;
        if self.traces {
            println!("{record:?}");
        }
        let totals = &self.totals;
        let mut state = self.state();
        match (record.step, vcpu, task, event) {
            (Step::Online, Some(vcpu), ..) => state.online[vcpu.index()] = true,
            (Step::Offline, Some(vcpu), ..) => {
                state.online[vcpu.index()] = false;
                let current = state.current[vcpu.index()];
                assert_eq!(current, None, "I10: vCPU {vcpu} went with its task");
            }
            (Step::SwitchIn, Some(vcpu), Some(task), _) => state.switched_in(vcpu, task),
            (Step::SwitchOut(_), Some(vcpu), Some(task), _) => {
                let was = state.current[vcpu.index()].take();
                assert_eq!(was, Some(task), "I21: {task} leaves where it is not");
            }
            (Step::Swap(next), _, Some(task), _) => {
                for task in [task, next] {
                    let pending = state.unswappable(task);
                    assert!(!pending, "I12: {task} is swapped with a trap on its way");
                }
                add(&totals.swaps, 1);
            }
            (Step::SlotIn(_), Some(vcpu), task, _) => {
                assert!(state.online[vcpu.index()], "I10: on a vCPU that is offline");
                let dead = task.is_some_and(|task| state.exited.contains(&task));
                assert!(!dead, "I8: on a counter after its task has exited");
            }
            (Step::Open, _, _, Some(event)) => {
                state.opened.insert(event);
            }
            (Step::Overflow(n), _, _, Some(event)) => {
                let closed = state.closed.contains(&event);
                assert!(!closed, "I9: event {event} overflows after it was closed");
                state.told.entry(event).or_default().overflows += n;
                add(&totals.overflows, n);
            }
            (Step::TrapQueued, Some(vcpu), Some(task), Some(event)) => {
                state.trap_queued(vcpu, task, event);
            }
            (Step::TrapSent, Some(vcpu), Some(task), Some(event)) => {
                state.trap_sent(vcpu, task, event);
                add(&totals.sent, 1);
            }
            (Step::TrapsDropped(n), _, Some(task), _) => {
                let pending = state.pending.remove(&task).map_or(0, |own| own.len());
                assert_eq!(n, pending, "I14: not all traps of {task} were dropped");
                add(&totals.dropped, u64::try_from(n).unwrap_or(u64::MAX));
            }
            (Step::Round(round), _, _, Some(event)) => {
                state.told.entry(event).or_default().rounds = round;
            }
            (Step::Retry(why), _, _, event) => {
                match why {
                    Retry::Moved => add(&totals.moved, 1),
                    Retry::Running => add(&totals.running, 1),
                    Retry::NotHere => add(&totals.not_here, 1),
                    Retry::Offline => add(&totals.offline, 1),
                    Retry::Traded => add(&totals.traded, 1),
                }
                let told = event.map(|event| state.told.entry(event).or_default());
                match (why, told) {
                    (Retry::Moved, Some(told)) => told.moved += 1,
                    (Retry::Traded, Some(told)) => told.traded += 1,
                    _ => {}
                }
            }
            (Step::TrapMerged, ..) => add(&totals.merged, 1),
            (Step::Limit, ..) => add(&totals.limits, 1),
            (Step::Throttled, ..) => add(&totals.throttled, 1),
            (Step::Rotate, ..) => add(&totals.rotations, 1),
            (Step::Failed, ..) => add(&totals.failed, 1),
            (Step::Refused, ..) => add(&totals.refused, 1),
            _ => {}
        }
    }
}
