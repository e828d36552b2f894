// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A host for tests: counts what it is told, refuses what it is told, remembers what it was asked.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::vec::Vec;

use libc::pid_t;

use super::request::Request;
use super::sys::{Backend, NEVER, PerfEvent};

/// One event, open or closed.
#[derive(Debug)]
pub(super) struct Fake {
    pub(super) open: bool,
    pub(super) on: bool,
    /// Somebody else has its counter. It asks for it again when it is switched on.
    pub(super) lost: bool,
    pub(super) count: u64,
    pub(super) period: u64,
    pub(super) overflows: u64,
    /// Counts until the next overflow.
    left: u64,
    /// What every reading adds.
    step: u64,
}

#[derive(Debug, Default)]
pub(super) struct World {
    /// In the order in which they were opened.
    pub(super) events: Vec<Fake>,
    pub(super) thread: pid_t,
    /// Others hold every counter.
    pub(super) taken: bool,
    /// The error with which an event of this kind is refused.
    pub(super) refuses: Option<fn(&Request) -> Option<i32>>,
    /// How much an event moves between two readings on its own account.
    pub(super) moves: Option<fn(&Request) -> u64>,
    pub(super) refuses_periods: bool,
    /// How often a period was set.
    pub(super) periods: u32,
}

/// Shared by the test, the backend and its events.
#[derive(Clone, Debug, Default)]
pub(super) struct TestHost(Rc<RefCell<World>>);

impl TestHost {
    pub(super) fn world(&self) -> std::cell::RefMut<'_, World> {
        self.0.borrow_mut()
    }

    /// So many events happen, to every event that is on.
    pub(super) fn pass(&self, counts: u64) {
        for event in &mut self.world().events {
            if !event.on || event.lost {
                continue;
            }
            event.count += counts;
            let mut counts = counts;
            while counts >= event.left {
                counts -= event.left;
                event.overflows += 1;
                event.left = event.period;
            }
            event.left -= counts;
        }
    }
}

impl Backend for TestHost {
    type Event = TestEvent;

    fn open(&mut self, request: &Request) -> io::Result<TestEvent> {
        let mut world = self.world();
        if let Some(error) = world.refuses.and_then(|refuses| refuses(request)) {
            return Err(io::Error::from_raw_os_error(error));
        }
        let event = Fake {
            open: true,
            on: false,
            lost: false,
            count: 0,
            period: NEVER,
            overflows: 0,
            left: NEVER,
            step: world.moves.map_or(0, |moves| moves(request)),
        };
        world.events.push(event);
        Ok(TestEvent {
            host: self.clone(),
            index: world.events.len() - 1,
        })
    }

    fn thread(&self) -> pid_t {
        self.world().thread
    }
}

#[derive(Debug)]
pub(super) struct TestEvent {
    host: TestHost,
    index: usize,
}

impl PerfEvent for TestEvent {
    fn enable(&self) -> io::Result<()> {
        let mut world = self.host.world();
        let taken = world.taken;
        let event = &mut world.events[self.index];
        event.on = true;
        event.lost = taken;
        Ok(())
    }

    fn disable(&self) -> io::Result<()> {
        self.host.world().events[self.index].on = false;
        Ok(())
    }

    fn set_period(&self, events: u64) -> io::Result<()> {
        let mut world = self.host.world();
        if world.refuses_periods {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        world.periods += 1;
        let event = &mut world.events[self.index];
        // As Linux 6.18 does with software events.
        event.left = if event.on { 1 } else { events };
        event.period = events;
        Ok(())
    }

    fn read(&self) -> io::Result<Option<u64>> {
        let mut world = self.host.world();
        let event = &mut world.events[self.index];
        if event.lost {
            return Ok(None);
        }
        if event.on {
            event.count += event.step;
        }
        Ok(Some(event.count))
    }
}

impl Drop for TestEvent {
    fn drop(&mut self) {
        let mut world = self.host.world();
        let event = &mut world.events[self.index];
        event.open = false;
        event.on = false;
    }
}
