// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Opening events of all kinds, and what must hold when that returns.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vpmu::EventSelect;
use vpmu::context::order::Place;
use vpmu::context::{Attr, Caller, Event, Open, PerfError, Target};

use crate::books::{Ear, EventBook, Of, Opened, Role};
use crate::caller::Counted;
use crate::dice;
use crate::truth::{Moment, TaskBook};
use crate::watch::{add, get};
use crate::world::{World, any_vcpu};

/// Own events of a task or a vCPU: with what it inherits over three forks, they fit 16 counters.
const MOST: u64 = 3;

/// Opens something, if there is room for it.
pub(crate) fn open_something(world: &World, by: &mut impl Caller) {
    let of = if dice::once_in(5) {
        let vcpu = any_vcpu();
        Of::Vcpu(vcpu, world.plugged(vcpu))
    } else {
        Of::Task(world.task(), dice::once_in(6).then(any_vcpu))
    };
    if !world.has_room_for_events() {
        return;
    }
    if of.events(world).fetch_add(1, Ordering::Relaxed) >= MOST {
        of.events(world).fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let mut attr = any_attr(&of);
    let leader = dice::once_in(3)
        .then(|| leader(world, &of, &attr))
        .flatten();
    attr.pinned &= leader.is_none();
    let role = any_role(leader.as_deref(), &attr);
    attr.disabled = match role {
        Role::Quiet => false,
        Role::Limited => true,
        Role::Toggled => dice::once_in(2),
    };
    if !open(world, by, &of, attr, role, leader) {
        of.events(world).fetch_sub(1, Ordering::Relaxed);
    }
}

fn any_attr(of: &Of) -> Attr {
    let cycles = EventSelect(0x3_003C).decode();
    let mut attr = Attr::counting(cycles);
    let mut samples = dice::once_in(2);
    if let Of::Task(task, _) = of {
        attr.inherit = task.only_inherits || dice::once_in(4);
        // So that overflows of inherited events, whose numbers nobody knows, are all traps.
        samples &= !attr.inherit || dice::once_in(2);
        let traps = samples && (attr.inherit || !dice::once_in(3));
        attr.sigtrap = traps.then_some(7);
        attr.remove_on_exec = traps || dice::once_in(6);
    }
    if samples {
        attr.period = 3 + dice::below(40);
    }
    attr.pinned = dice::once_in(5);
    attr
}

fn any_role(leader: Option<&EventBook>, attr: &Attr) -> Role {
    if leader.is_some_and(|leader| leader.role == Role::Toggled) {
        return Role::Toggled;
    }
    match dice::below(4) {
        0 => Role::Toggled,
        1 if attr.samples() && !attr.inherit => Role::Limited,
        _ => Role::Quiet,
    }
}

/// An event whose group such an event can join.
fn leader(world: &World, of: &Of, attr: &Attr) -> Option<Arc<EventBook>> {
    let events = world.events();
    let fits = |book: &&Arc<EventBook>| {
        let same = book.of.is(of) && book.attr().inherit == attr.inherit;
        same && !book.is_closing() && !book.joined && book.role != Role::Limited
    };
    let leaders: Vec<_> = events.iter().filter(fits).collect();
    dice::pick(&leaders).map(|leader| Arc::clone(leader))
}

fn happened(world: &World, of: &Of) -> u64 {
    match of {
        Of::Task(task, on) => task.happened(*on),
        Of::Vcpu(vcpu, _) => get(&world.vcpu(*vcpu).counts),
    }
}

/// Opens an event and holds the answer against what was known of its target before; whether it is
/// open.
fn open(
    world: &World,
    by: &mut impl Caller,
    of: &Of,
    attr: Attr,
    role: Role,
    leader: Option<Arc<EventBook>>,
) -> bool {
    let ear = Arc::new(Ear::default());
    let target = match of {
        Of::Task(task, None) => Target::Task(&task.task),
        Of::Task(task, Some(vcpu)) => Target::TaskOn(&task.task, *vcpu),
        Of::Vcpu(vcpu, _) => Target::Vcpu(*vcpu),
    };
    let mut open = Open::new(attr, target);
    open.owner = Some(Arc::clone(&ear) as _);
    open.group = leader.as_ref().map(|leader| &leader.event);

    let dead = matches!(of, Of::Task(task, _) if task.exited.is_raised());
    let still = Stillness::begin(of);
    let (begin, before) = (world.stamp(), happened(world, of));
    let mut by = Counted::new(by);
    let result = world.perf.open(&open, &mut by);
    let (after, end) = (happened(world, of), world.stamp());
    match result {
        Ok(event) => {
            assert!(!dead, "I8: opened for a task that has exited");
            if let Of::Vcpu(vcpu, Some(plugged)) = of
                && world.plugged(*vcpu) == Some(*plugged)
            {
                assert!(plugged.online, "I10: opened on an offline vCPU");
            }
            still.check_open(world, &event, by.calls);
            let opened = Opened {
                stamps: (begin, end),
                happened: (before, after),
            };
            let joined = leader.is_some();
            let book = EventBook::new(event, role, of.clone(), joined, opened, ear);
            let book = world.add_event(book);
            let audit = world.perf.audit_event(&book.event);
            assert_eq!(audit, Ok(()), "when open returns");
            true
        }
        Err(error) => {
            check_refusal(world, of, leader.as_deref(), error);
            false
        }
    }
}

fn check_refusal(world: &World, of: &Of, leader: Option<&EventBook>, error: PerfError) {
    let allowed = match (error, of) {
        (PerfError::NoSuchTask, Of::Task(task, _)) => task.exiting.is_raised(),
        (PerfError::NoSuchVcpu(_), Of::Vcpu(vcpu, plugged)) => {
            let online = plugged.is_some_and(|plugged| plugged.online);
            !online || world.plugged(*vcpu) != *plugged
        }
        (PerfError::Closed, _) => leader.is_some_and(EventBook::is_closing),
        // The leader has ended, was traded away, or its group is full.
        (PerfError::Invalid(_), _) => leader.is_some(),
        _ => false,
    };
    assert!(allowed, "I3: open says {error}");
}

/// What an operation may cost depends on whether its task stood still meanwhile (I4, I5).
pub(crate) struct Stillness {
    task: Option<(Arc<TaskBook>, Moment, Place)>,
}

impl Stillness {
    pub(crate) fn begin(of: &Of) -> Self {
        let task = match of {
            Of::Task(task, _) => {
                let moment = task.moment();
                Some((Arc::clone(task), moment, task.task.place()))
            }
            Of::Vcpu(..) => None,
        };
        Self { task }
    }

    /// The task was on no vCPU, all the time.
    pub(crate) fn was_off_all_vcpus(&self) -> bool {
        self.task.as_ref().is_some_and(|(task, then, place)| {
            !matches!(place, Place::Current(_)) && task.stood_still(*then)
        })
    }

    fn check_open(&self, world: &World, event: &Event, calls: usize) {
        let Some((task, then, _)) = &self.task else {
            return;
        };
        let told = world.watch.told(event.id());
        let searches = u64::from(told.rounds) + u64::from(told.moved);
        let traded = u64::from(told.traded);
        let overlapped = task.overlapped(*then);
        assert!(
            searches <= 1 + overlapped && traded <= overlapped,
            "I5: {told:?} for {overlapped} announcements"
        );
        if self.was_off_all_vcpus() {
            assert_eq!(calls, 0, "I4: a call for a task that runs nowhere");
            add(&world.totals.still, 1);
        }
    }
}
