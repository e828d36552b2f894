// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Any guest against a reference: honest switches and lies, ticks and traps, hotplug, in any order.

mod reference;

use perf_port::{Command, Errno, Id, Leaves, Name};
use proptest::prelude::*;
use vcpu_call::VcpuId;
use vpmu::context::TaskId;
use vpmu::context::order::Place;

use self::reference::{At, Reference};
use crate::rig::*;

const VCPUS: u32 = 3;

/// More tasks and events than these are not made: no task has more events than there are counters.
const TASKS: usize = 6;
const EVENTS: usize = 4;

/// What happens next, on vCPU `on`. Tasks and events by the order in which they were made; some
/// numbers name none.
#[derive(Clone, Copy, Debug)]
struct Step {
    on: usize,
    deed: Deed,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Create(usize),
    Fork(usize),
    Exit(usize),
    /// As rule U1 has it.
    Switch(Leaves, Option<usize>),
    /// What comes to its mind.
    Claim(Option<usize>, Leaves, Option<usize>),
    /// Another word in its page.
    Say(Option<usize>),
    Migrate(usize, usize),
    Wake(usize, usize),
    Open(usize, u64, bool),
    Close(usize),
    Tick(bool),
    Enter(bool),
    User,
    TrapDone,
    Unplug,
    Plug,
}

fn step() -> impl Strategy<Value = Step> {
    let task = 0..TASKS + 1;
    let some_task = prop::option::weighted(0.8, task.clone());
    let vcpu = 0..VCPUS as usize + 1;
    let leaves = || prop_oneof![Just(Leaves::Queued), Just(Leaves::Blocked)];
    let deed = prop_oneof![
        2 => vcpu.clone().prop_map(Deed::Create),
        1 => task.clone().prop_map(Deed::Fork),
        1 => task.clone().prop_map(Deed::Exit),
        8 => (leaves(), some_task.clone()).prop_map(|(how, next)| Deed::Switch(how, next)),
        3 => (some_task.clone(), leaves(), some_task.clone())
            .prop_map(|(prev, how, next)| Deed::Claim(prev, how, next)),
        2 => some_task.prop_map(Deed::Say),
        2 => (task.clone(), vcpu.clone()).prop_map(|(task, vcpu)| Deed::Migrate(task, vcpu)),
        2 => (task.clone(), vcpu).prop_map(|(task, vcpu)| Deed::Wake(task, vcpu)),
        4 => (task, 0_u64..4, any::<bool>())
            .prop_map(|(task, period, traps)| Deed::Open(task, period, traps)),
        2 => (0_usize..12).prop_map(Deed::Close),
        12 => any::<bool>().prop_map(Deed::Tick),
        3 => any::<bool>().prop_map(Deed::Enter),
        4 => Just(Deed::User),
        6 => Just(Deed::TrapDone),
        1 => Just(Deed::Unplug),
        2 => Just(Deed::Plug),
    ];
    (0..VCPUS as usize, deed).prop_map(|(on, deed)| Step { on, deed })
}

struct Both {
    world: World,
    reference: Reference,
    tasks: Vec<Id>,
    events: Vec<Id>,
}

/// A number that was not given.
fn nobody() -> Id {
    Id::new(1 << 40).unwrap()
}

impl Both {
    fn new() -> Self {
        Self {
            world: World::new(VCPUS),
            reference: Reference::new(VCPUS as usize),
            tasks: Vec::new(),
            events: Vec::new(),
        }
    }

    fn task(&self, task: usize) -> Id {
        self.tasks.get(task).copied().unwrap_or_else(nobody)
    }

    fn event(&self, event: usize) -> Id {
        self.events.get(event).copied().unwrap_or_else(nobody)
    }

    fn run(&mut self, Step { on, deed }: Step) {
        let vcpu = u32::try_from(on).unwrap();
        let there = self.reference.vcpus[on].there;
        if !there && !matches!(deed, Deed::Plug) {
            return;
        }
        let same = |by_port: Result<u64, Errno>, by_reference: Result<u64, Errno>| {
            assert_eq!(by_port, by_reference, "{deed:?} on {on}");
        };
        match deed {
            Deed::Create(at) if self.tasks.len() < TASKS => {
                let name = Name::NONE;
                let command = Command::Create {
                    vcpu: u32::try_from(at).unwrap(),
                    name,
                };
                let made = self.world.command(vcpu, command);
                self.made(made);
                same(made.map(|_| 0), self.reference.create(at));
            }
            Deed::Fork(parent) if self.tasks.len() < TASKS => {
                let command = Command::Fork {
                    parent: self.task(parent),
                    name: None,
                };
                let made = self.world.command(vcpu, command);
                self.made(made);
                same(made.map(|_| 0), self.reference.fork(parent));
            }
            Deed::Create(_) | Deed::Fork(_) => return,
            Deed::Exit(task) => {
                let command = Command::Exit {
                    task: self.task(task),
                };
                let exited = self.world.command(vcpu, command);
                same(exited, self.reference.exit(task));
            }
            Deed::Switch(leaves, next) => {
                let prev = self.reference.vcpus[on].current;
                self.say(on, next);
                if self.world.announces(vcpu) {
                    self.switch(on, prev, leaves, next);
                }
            }
            Deed::Claim(prev, leaves, next) => self.switch(on, prev, leaves, next),
            Deed::Say(task) => self.say(on, task),
            Deed::Migrate(task, to) => {
                let command = Command::Migrate {
                    task: self.task(task),
                    vcpu: u32::try_from(to).unwrap(),
                };
                let moved = self.world.command(vcpu, command);
                same(moved, self.reference.migrate(task, to));
            }
            Deed::Wake(task, to) => {
                let command = Command::Wake {
                    task: self.task(task),
                    vcpu: u32::try_from(to).unwrap(),
                };
                let woken = self.world.command(vcpu, command);
                same(woken, self.reference.wake(task, to));
            }
            Deed::Open(task, period, traps) => self.open(on, task, period, traps),
            Deed::Close(event) => {
                let command = Command::Close {
                    event: self.event(event),
                };
                let closed = self.world.command(vcpu, command);
                same(closed, self.reference.close(event));
            }
            Deed::Tick(user) => {
                self.reference.tick(on);
                let handed = self.world.tick(vcpu, user);
                self.entered(on, user, handed);
            }
            Deed::Enter(user) => {
                let handed = self.world.enter(vcpu, user);
                self.entered(on, user, handed);
            }
            Deed::User => {
                let waits = !self.reference.next_trap(on).is_empty();
                let taken = self.world.command(vcpu, Command::User);
                same(taken, Ok(u64::from(waits)));
                if waits {
                    self.handed_over(on);
                }
            }
            Deed::TrapDone => {
                let done = self.world.command(vcpu, Command::TrapDone);
                same(done, self.reference.trap_done(on));
            }
            Deed::Unplug if on == 0 || !there => return,
            Deed::Unplug => {
                let (port, thread) = self.world.vcpu(vcpu);
                port.unplug(thread);
                let perf = self.world.perf.clone();
                perf.offline(VcpuId(vcpu), self.world.host()).unwrap();
                self.reference.unplug(on);
            }
            Deed::Plug if there => return,
            Deed::Plug => {
                let perf = self.world.perf.clone();
                perf.online(VcpuId(vcpu), self.world.host()).unwrap();
                self.world.register(vcpu, frame(vcpu));
                self.reference.plug(on);
            }
        }
        self.reference.settle();
        self.compare();
        let commands = !matches!(
            deed,
            Deed::Say(_) | Deed::Switch(..) | Deed::Tick(_) | Deed::Enter(_)
        );
        if commands && self.reference.vcpus[on].there {
            assert_eq!(self.world.trap(vcpu), self.reference.trap(on), "Q10");
        }
    }

    fn made(&mut self, made: Result<u64, Errno>) {
        self.tasks.extend(made.ok().and_then(Id::new));
    }

    fn say(&mut self, on: usize, task: Option<usize>) {
        let id = task.map(|task| self.task(task));
        self.world.set_current(u32::try_from(on).unwrap(), id);
        self.reference.vcpus[on].says = task.filter(|task| *task < self.tasks.len());
    }

    fn switch(&mut self, on: usize, prev: Option<usize>, leaves: Leaves, next: Option<usize>) {
        let command = Command::Switch {
            prev: prev.map(|prev| self.task(prev)),
            leaves,
            next: next.map(|next| self.task(next)),
        };
        let vcpu = u32::try_from(on).unwrap();
        let said = self.world.command(vcpu, command);
        assert_eq!(said, self.reference.switch(on, prev, leaves, next));
        assert_eq!(self.world.trap(vcpu), self.reference.trap(on), "Q10");
    }

    fn open(&mut self, on: usize, task: usize, period: u64, traps: bool) {
        let events = self.reference.events.iter();
        let own = events.filter(|event| event.task == task && !event.closed);
        if own.count() >= EVENTS {
            return;
        }
        let traps = traps && period > 0;
        let id = self.task(task);
        let open = if traps {
            trapping(id, period, self.events.len() as u64)
        } else {
            perf_port::Open {
                period,
                ..ticks(id)
            }
        };
        let vcpu = u32::try_from(on).unwrap();
        let opened = self.world.command(vcpu, Command::Open(open));
        let expected = self.reference.open(task, period, traps);
        assert_eq!(opened.map(|_| 0), expected);
        self.events.extend(opened.ok().and_then(Id::new));
    }

    /// The vCPU went into the guest, after a trap was handed over or was not.
    fn entered(&mut self, on: usize, user: bool, handed: bool) {
        let waits = !self.reference.next_trap(on).is_empty();
        assert_eq!(handed, waits && user, "Q11");
        if handed {
            self.handed_over(on);
        }
        if waits {
            let said = self.world.trap(u32::try_from(on).unwrap());
            assert_eq!(said, self.reference.trap(on), "Q10");
        }
        self.reference.enter(on);
    }

    /// The record is of an event whose turn it was.
    fn handed_over(&mut self, on: usize) {
        let record = self.world.record(u32::try_from(on).unwrap());
        let mut events = self.events.iter();
        let event = events.position(|event| event.get() == record.event);
        let event = event.expect("an event of the guest's");
        assert!(
            self.reference.next_trap(on).contains(&event),
            "first in, first out"
        );
        let task = self.reference.events[event].task;
        assert_eq!(record.task, self.tasks[task].get(), "I13");
        assert_eq!(record.data, event as u64);
        self.reference.hand_over(on, event);
    }

    fn compare(&self) {
        let Self {
            world, reference, ..
        } = self;
        world.audit();
        let place = |at| {
            let id = |vcpu| VcpuId(u32::try_from(vcpu).unwrap());
            match at {
                At::Blocked(vcpu) => Place::Blocked(id(vcpu)),
                At::Queued(vcpu) => Place::Queued(id(vcpu)),
                At::Current(vcpu) => Place::Current(id(vcpu)),
            }
        };
        for (id, task) in self.tasks.iter().zip(&reference.tasks) {
            let known = world.port.task(TaskId(id.get()));
            assert_eq!(known.is_none(), task.exited, "Q9");
            if let Some(known) = known {
                assert_eq!(known.place(), place(task.at), "task {id}");
            }
        }
        for (vcpu, expected) in (0..).zip(&reference.vcpus) {
            let current = world.threads.cpus[vcpu as usize].current();
            let current = current.map(|task| task.id().0);
            let expected_id = expected.current.map(|task| self.tasks[task].get());
            assert_eq!(current, expected_id, "vCPU {vcpu}");
            if expected.there {
                assert_eq!(world.announces(vcpu), reference.announces(), "R24");
            }
        }
    }

    /// All counts are right, every task exits, every event is closed, and nothing is left.
    fn end(mut self) {
        for (id, expected) in self.events.iter().zip(&self.reference.events) {
            if expected.closed {
                continue;
            }
            let reading = self.world.reading(0, *id);
            assert_eq!(reading.count, expected.count);
            assert_eq!(reading.overflows, expected.overflows);
            assert_eq!(self.world.traps_of(*id), expected.totals);
        }
        for task in &self.tasks {
            let gone = self.world.command(0, Command::Exit { task: *task });
            assert!(matches!(gone, Ok(0) | Err(Errno::NoSuchTask)));
        }
        for (id, expected) in self.events.iter().zip(&self.reference.events) {
            if expected.closed {
                continue;
            }
            let totals = self.world.traps_of(*id);
            assert_eq!(totals.pending, 0);
            assert_eq!(totals.queued, totals.sent + totals.dropped, "I14");
            if expected.traps {
                let accounted = totals.queued + totals.merged + totals.refused;
                assert_eq!(expected.overflows, accounted, "I14");
            }
            self.world.close(0, *id);
        }
        assert_eq!(
            (self.world.port.events(), self.world.port.tasks()),
            (0, vec![])
        );
        assert!(!self.world.perf.announces(), "I17: nothing is left");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_port_does_what_the_reference_does(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut both = Both::new();
        // So that there is something to talk about.
        for task in 0..3 {
            both.run(Step { on: 0, deed: Deed::Create(task) });
        }
        for step in steps {
            both.run(step);
        }
        both.end();
    }
}
