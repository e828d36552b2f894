// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Laws that hold whoever gets the counters, checked by what the log, the owners and the clock say.

use std::sync::Arc;

use vcpu_call::VcpuId;
use vpmu::context::{PerfConfig, PerfError, Reading, State};
use vpmu::{Event, Nanos};

use crate::rig::Rig;
use crate::rig::ground::Ground;
use crate::script::{Step, VCPUS};
use crate::world::{Deed, Outcome, World};

/// Few enough to be short of them.
const SLOTS: usize = 3;

pub(crate) fn run(steps: &[Step]) {
    let rig = Rig::with(PerfConfig {
        slots: SLOTS,
        interval: Nanos(30),
        ..PerfConfig::new(VCPUS)
    });
    let mut world = World::new(rig);
    let mut books = Books {
        ground: Ground::new(&world.rig),
        pages: Vec::new(),
        gone: 0,
        traps: 0,
    };
    for step in steps {
        world.rig.here = step.by.map(VcpuId);
        if let Some((vcpu, counts)) = step.unseen {
            books.ground.happen(&mut world.rig, vcpu, counts);
        }
        if let Some(deed) = world.resolve(&step.act) {
            books.step(&mut world, deed);
        }
    }
    books.end(world);
}

/// What is known of an event that was opened.
#[derive(Default)]
struct Page {
    /// The last reading.
    last: Reading,
    /// What it had counted when it was last reset.
    reset: u64,
    /// It wanted to count before the step.
    was_on: bool,
    /// How often it stopped without being told to.
    stops: u64,
}

struct Books {
    ground: Ground,
    pages: Vec<Page>,
    /// What was counted by events that were closed or reset since.
    gone: u64,
    /// Traps that were handed to the guest.
    traps: u64,
}

impl Books {
    fn step(&mut self, world: &mut World, deed: Deed) {
        let deed = match deed {
            // Who is in a group now is the engine's business: one by one.
            Deed::ResetGroup(event) => Deed::Reset(event),
            deed => deed,
        };
        self.before(world);
        if let Deed::Close(event) | Deed::Reset(event) = deed
            && !self.set_aside(world, event)
        {
            return;
        }
        match self.apply(world, deed) {
            Outcome::Trap(trap) => self.traps += u64::from(trap.is_some()),
            Outcome::Done | Outcome::Refused(_) => {}
        }
        self.pages.resize_with(world.events.len(), Page::default);
        self.stopped(world, deed);
        world.look();
        self.ground.follow(&world.rig);
        self.placed(world);
        self.throttles(world);
        for event in 0..world.events.len() {
            self.reads(
                world,
                event,
                matches!(deed, Deed::Reset(reset) if reset == event),
            );
        }
        self.traps(world);
        world.audit();
    }

    fn before(&mut self, world: &World) {
        for (page, opened) in self.pages.iter_mut().zip(&world.events) {
            let status = world.rig.perf.status(&opened.event);
            page.was_on = status.is_ok_and(|status| status.state >= State::Inactive);
        }
    }

    /// Counts go to the ground as well as to the engine.
    fn apply(&mut self, world: &mut World, deed: Deed) -> Outcome {
        match deed {
            Deed::Happen(vcpu, counts, sample) => {
                self.ground.happen(&mut world.rig, vcpu, counts);
                world.apply(Deed::Happen(vcpu, 0, sample))
            }
            deed => world.apply(deed),
        }
    }

    /// What will be unreadable is read before; whether it can be.
    fn set_aside(&mut self, world: &mut World, event: usize) -> bool {
        let opened = world.events[event].event.clone();
        match world.rig.perf.clone().read(&opened, &mut world.rig) {
            Ok(Some(reading)) => {
                self.ground.follow(&world.rig);
                self.gone += reading.count;
                self.pages[event].reset = self.ground.counted_by(opened.id());
                true
            }
            // End of file: its count is nobody's to know.
            Ok(None) => false,
            Err(error) => {
                assert_eq!(error, PerfError::Closed);
                true
            }
        }
    }

    /// I19, I20: whoever stopped was told to, reached a limit, failed or ended.
    fn stopped(&mut self, world: &World, deed: Deed) {
        for (event, page) in self.pages.iter_mut().enumerate() {
            let status = world.rig.perf.status(&world.events[event].event);
            let (true, Ok(status)) = (page.was_on, status) else {
                continue;
            };
            let attr = world.events[event].event.attr();
            let fine = match status.state {
                State::Active(_) | State::Inactive => true,
                State::Off => {
                    let told = match deed {
                        Deed::Disable(own) => own == event,
                        Deed::DisableGroup(_) => true,
                        _ => false,
                    };
                    page.stops += u64::from(!told);
                    page.stops <= status.hups
                }
                State::Error => attr.pinned,
                State::Exit => match deed {
                    Deed::Exec(_) => attr.remove_on_exec,
                    Deed::Exit(_) | Deed::Offline(_) => true,
                    _ => false,
                },
                State::Dead => false,
            };
            assert!(fine, "event {event} after {deed:?}: {status:?}");
        }
    }

    /// I6: ACTIVE is what the log says.
    fn placed(&self, world: &World) {
        for opened in &world.events {
            let Ok(status) = world.rig.perf.status(&opened.event) else {
                assert_eq!(
                    self.ground.vcpu(opened.event.id()),
                    None,
                    "closed, and counts"
                );
                continue;
            };
            let says = match status.state {
                State::Active(vcpu) => Some(vcpu),
                _ => None,
            };
            assert_eq!(self.ground.vcpu(opened.event.id()), says, "{status:?}");
        }
    }

    /// V4: what costs its guest an exit each overflows when it does.
    fn throttles(&self, world: &World) {
        for opened in &world.events {
            let ticks = opened.event.attr().config.event == Event::PortTick;
            if ticks && let Ok(status) = world.rig.perf.status(&opened.event) {
                assert_eq!(status.throttled, 0, "{status:?}");
            }
        }
    }

    /// I11, and that what was counted was counted once.
    fn reads(&mut self, world: &mut World, event: usize, was_reset: bool) {
        let opened = world.events[event].event.clone();
        let perf = world.rig.perf.clone();
        let Ok(Some(reading)) = perf.read(&opened, &mut world.rig) else {
            return;
        };
        let page = &mut self.pages[event];
        let last = page.last;
        let grows = was_reset || reading.count >= last.count;
        assert!(grows, "event {event}: {last:?}, {reading:?}");
        assert!(
            reading.time_enabled >= last.time_enabled,
            "{last:?}, {reading:?}"
        );
        assert!(
            reading.time_running >= last.time_running,
            "{last:?}, {reading:?}"
        );
        assert!(reading.time_running <= reading.time_enabled, "{reading:?}");
        page.last = reading;
        if !opened.attr().inherit {
            let counted = self.ground.counted_by(opened.id()) - page.reset;
            assert_eq!(reading.count, counted, "event {event}");
        }
    }

    /// I14: what overflowed was told, and if it traps, it is accounted for.
    fn traps(&self, world: &World) {
        let mut sent = 0;
        let mut told = 0;
        for opened in &world.events {
            let traps = opened.event.traps();
            let (overflows, _) = opened.told.sums();
            told += overflows;
            sent += traps.sent;
            if opened.event.attr().sigtrap.is_some() {
                assert_eq!(overflows, traps.queued + traps.merged + traps.refused);
                assert!(traps.queued >= traps.sent + traps.dropped, "{traps:?}");
            }
        }
        assert_eq!(told, self.ground.overflows());
        assert_eq!(sent, self.traps);
    }

    /// Everybody goes, and nothing is left.
    fn end(mut self, mut world: World) {
        world.rig.here = None;
        for vcpu in 0..VCPUS {
            world.apply(Deed::Offline(vcpu));
        }
        self.ground.follow(&world.rig);
        assert_eq!(self.ground.on_counters(), 0);
        let mut counted = self.gone;
        for opened in &world.events {
            // Off the counters, even one that failed can be enabled, and read.
            let _ = world.rig.enable(&opened.event);
            let reading = world.rig.perf.clone().read(&opened.event, &mut world.rig);
            counted += reading.map_or(0, |reading| reading.expect("no error").count);
        }
        assert_eq!(counted, self.ground.counted());
        for task in &world.tasks {
            if !task.has_exited() {
                world.rig.exit(task).unwrap();
            }
        }
        self.traps(&world);
        for opened in &mut world.events {
            let traps = opened.event.traps();
            assert_eq!(traps.queued, traps.sent + traps.dropped, "{traps:?}");
            let closed = world.rig.close(&opened.event);
            assert_eq!(closed.is_err(), opened.closed);
        }
        world.audit();
        let told: Vec<_> = world
            .events
            .iter()
            .map(|opened| Arc::clone(&opened.told))
            .collect();
        world.events.clear();
        // I17: the engine is still there, and keeps nothing.
        assert!(told.iter().all(|told| Arc::strong_count(told) == 1));
    }
}
