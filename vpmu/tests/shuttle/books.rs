// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What is known of each event, and what it must say of itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, EventId, Notice, Owner, Reading, State, Status};

use crate::truth::TaskBook;
use crate::watch::{add, get};
use crate::world::{Once, Plugged, World, lock};

/// What is done to an event, so that what it must say is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is enabled from the beginning and nobody stops it: it counts all there is.
    Quiet,
    /// It begins disabled and is refreshed, nothing else.
    Limited,
    /// Anything.
    Toggled,
}

/// Whom it counts.
#[derive(Clone)]
pub(crate) enum Of {
    Task(Arc<TaskBook>, Option<VcpuId>),
    /// With the vCPU's state when it was opened, if that was known.
    Vcpu(VcpuId, Option<Plugged>),
}

impl Of {
    /// How many events it has.
    pub(crate) fn events<'a>(&'a self, world: &'a World) -> &'a AtomicU64 {
        match self {
            Self::Task(task, _) => &task.events,
            Self::Vcpu(vcpu, _) => &world.vcpu(*vcpu).events,
        }
    }

    /// Whether both count the same, as far as a group is concerned.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Task(a, on), Self::Task(b, at)) => Arc::ptr_eq(a, b) && on == at,
            (Self::Vcpu(a, _), Self::Vcpu(b, _)) => a == b,
            _ => false,
        }
    }
}

/// Hears of overflows.
#[derive(Default)]
pub(crate) struct Ear {
    overflows: AtomicU64,
    hups: AtomicU64,
}

impl Owner for Ear {
    fn notify(&self, _event: EventId, notice: Notice) {
        match notice {
            Notice::Overflow(n) => add(&self.overflows, n),
            Notice::Hup => add(&self.hups, 1),
            other => panic!("unheard of: {other:?}"),
        }
    }
}

/// When it was opened, and how far what it counts was by then.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    /// Stamps of the beginning and the end.
    pub(crate) stamps: (u64, u64),
    /// What had happened in its task or on its vCPU at those.
    pub(crate) happened: (u64, u64),
}

/// An event.
pub(crate) struct EventBook {
    pub(crate) event: Event,
    pub(crate) role: Role,
    pub(crate) of: Of,
    /// It joined the group of another one.
    pub(crate) joined: bool,
    opened: Opened,
    pub(crate) ear: Arc<Ear>,
    closing: Once,
    /// It was closed and that is over.
    closed: Once,
    /// It was reset at least once.
    pub(crate) reset: Once,
    /// The largest that was ever read.
    floor: Mutex<Reading>,
    /// What it counted until its task exited.
    last: Mutex<Option<u64>>,
    /// Overflows that refreshes granted: begun, and done.
    granted: (AtomicU64, AtomicU64),
    /// It was seen to have ended.
    ended: Once,
}

/// What was known of an event before it was asked.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// What it must have counted by now.
    least: u64,
    floor: Reading,
    last: Option<u64>,
    granted: u64,
    ended: bool,
}

impl EventBook {
    pub(crate) fn new(
        event: Event,
        role: Role,
        of: Of,
        joined: bool,
        opened: Opened,
        ear: Arc<Ear>,
    ) -> Self {
        Self {
            event,
            role,
            of,
            joined,
            opened,
            ear,
            closing: Once::default(),
            closed: Once::default(),
            reset: Once::default(),
            floor: Mutex::default(),
            last: Mutex::default(),
            granted: Default::default(),
            ended: Once::default(),
        }
    }

    pub(crate) fn attr(&self) -> &Attr {
        self.event.attr()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_raised()
    }

    pub(crate) fn begin_to_close(&self) {
        self.closing.raise();
    }

    /// A close of it succeeded.
    pub(crate) fn close(&self, world: &World) {
        assert!(!self.closed.is_raised(), "I8: closed twice");
        self.closed.raise();
        self.of.events(world).fetch_sub(1, Ordering::Relaxed);
        world.watch.closed(self.event.id());
    }

    /// Refreshes it by `f`, which grants `n` overflows.
    pub(crate) fn granting<R>(&self, n: u64, f: impl FnOnce() -> R) -> R {
        add(&self.granted.0, n);
        let result = f();
        add(&self.granted.1, n);
        result
    }

    /// What happened to whom it counts and was surely counted, until now.
    fn least(&self, world: &World) -> u64 {
        let (_, since) = self.opened.happened;
        match &self.of {
            // A task that executes another program ends it, a vCPU that was plugged did.
            Of::Task(..) if self.attr().remove_on_exec => 0,
            Of::Vcpu(vcpu, plugged) => {
                let same = plugged.is_some() && world.plugged(*vcpu) == *plugged;
                let happened = get(&world.vcpu(*vcpu).counts);
                if same { happened - since } else { 0 }
            }
            Of::Task(root, on) => {
                let (_, opened) = self.opened.stamps;
                let family = world
                    .tasks()
                    .into_iter()
                    .filter(|task| self.attr().inherit && task.surely_inherits(root, opened));
                let family: u64 = family.map(|task| task.happened(*on)).sum();
                root.happened(*on) - since + family
            }
        }
    }

    /// What happened to whom it may count, until now.
    fn most(&self, world: &World) -> u64 {
        let (since, _) = self.opened.happened;
        match &self.of {
            Of::Vcpu(vcpu, _) => get(&world.vcpu(*vcpu).counts) - since,
            Of::Task(root, on) => {
                let (began, _) = self.opened.stamps;
                let family = world
                    .tasks()
                    .into_iter()
                    .filter(|task| self.attr().inherit && task.maybe_inherits(root, began));
                let family: u64 = family.map(|task| task.happened(*on)).sum();
                root.happened(*on) - since + family
            }
        }
    }

    /// To be called before it is asked, for the checks of the answer.
    pub(crate) fn before(&self, world: &World) -> Before {
        let exact = world.roomy && self.role == Role::Quiet;
        Before {
            least: if exact { self.least(world) } else { 0 },
            floor: *lock(&self.floor),
            last: *lock(&self.last),
            granted: get(&self.granted.1),
            ended: self.ended.is_raised(),
        }
    }

    /// Holds a read against what really happened, and against earlier ones (I8, I11).
    pub(crate) fn check_read(&self, world: &World, before: &Before, got: &Reading) {
        let Before { least, floor, .. } = before;
        let (id, role) = (self.event.id(), self.role);
        assert!(
            got.time_running <= got.time_enabled,
            "I11: event {id} {got:?}"
        );
        assert!(
            got.time_running >= floor.time_running && got.time_enabled >= floor.time_enabled,
            "I11: times of event {id} go back: {floor:?} {got:?}"
        );
        let reset = self.reset.is_raised();
        assert!(
            reset || got.count >= floor.count,
            "I11: event {id} goes back: {floor:?} {got:?}"
        );
        if let (Some(last), false) = (before.last, reset) {
            assert_eq!(got.count, last, "I8: event {id} goes on after the exit");
        }
        let may = *least..=self.most(world);
        assert!(
            may.contains(&got.count),
            "I11: event {id} counted {}, not {may:?}: {role:?} {:?}",
            got.count,
            self.attr()
        );
        add(&world.totals.reads, 1);
        add(&world.totals.exact, u64::from(may.start() == may.end()));
        let mut floor = lock(&self.floor);
        floor.count = floor.count.max(got.count);
        floor.time_running = floor.time_running.max(got.time_running);
        floor.time_enabled = floor.time_enabled.max(got.time_enabled);
    }

    /// Its task has exited: this is its last count.
    pub(crate) fn set_last(&self, count: u64) {
        lock(&self.last).get_or_insert(count);
    }

    /// Whether `read` may find it in the ERROR state.
    fn may_fail(&self, world: &World) -> bool {
        self.attr().pinned && !world.roomy
    }

    /// Holds its status against what was done to it (I8, I16, I19, I20).
    pub(crate) fn check_status(&self, world: &World, before: &Before, status: &Status) {
        let id = self.event.id();
        self.check_limit(before.granted, status);
        if status.state == State::Exit {
            self.ended.raise();
            assert!(self.may_end(world), "I19: event {id} ended {status:?}");
            return;
        }
        assert!(!before.ended, "I8: event {id} is back {status:?}");
        match (self.role, status.state) {
            (Role::Quiet, State::Off) => panic!("I19, I20: event {id} is off {status:?}"),
            (_, State::Error) => {
                assert!(self.may_fail(world), "I19: event {id} failed {status:?}");
            }
            _ => {}
        }
    }

    /// Whether it stays with its task: what is inherited is traded, and so is what has ended.
    pub(crate) fn stays(&self) -> bool {
        !self.attr().inherit && !self.attr().remove_on_exec
    }

    /// Whether there was a reason for it to end.
    fn may_end(&self, world: &World) -> bool {
        match &self.of {
            _ if !self.stays() => true,
            Of::Task(task, _) => task.exiting.is_raised(),
            Of::Vcpu(vcpu, plugged) => plugged.is_none() || world.plugged(*vcpu) != *plugged,
        }
    }

    /// Overflows done and overflows left are all that were ever granted (I16).
    fn check_limit(&self, granted: u64, status: &Status) {
        if self.role != Role::Limited {
            return;
        }
        // One that has ended is granted no more.
        let least = if status.state == State::Exit {
            0
        } else {
            granted
        };
        let all = least..=get(&self.granted.0);
        let sum = status.overflows + status.limit;
        assert!(
            all.contains(&sum),
            "I16: granted {all:?}, has {sum} {status:?}"
        );
        if status.state == State::Off {
            assert_eq!(status.limit, 0, "I16: stopped before its limit {status:?}");
        }
    }

    /// Holds what its owner heard against what it says, when nothing happens any more.
    pub(crate) fn check_ear(&self, status: &Status) {
        if self.attr().inherit {
            return;
        }
        let heard = get(&self.ear.overflows);
        assert_eq!(heard, status.overflows, "I14: heard {heard}: {status:?}");
        let hups = get(&self.ear.hups);
        let end = u64::from(status.state == State::Exit);
        assert_eq!(hups, status.hups + end, "I16: hung up {hups}: {status:?}");
    }
}
