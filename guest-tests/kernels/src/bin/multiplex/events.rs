// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The events of a point, which are closed when it ends.

use rt::sched::Tid;
use rt::sched::port::{self, Errno, EventNumber, EventState, Id, Open, OpenFlags, Reading, Target};
use rt::text::Text;
use rt::{fail, sched};

use crate::VCPU;

/// How many counters a vCPU has: all events together, and the guest's own.
pub(crate) const COUNTERS: usize = 16;

/// The most events that a point has.
const MOST: usize = 40;

/// What the events of vCPU 1 are on.
pub(crate) fn vcpu() -> Target {
    Target::Vcpu(u32::try_from(VCPU).expect("a small number"))
}

/// What the events of a task are on.
pub(crate) fn task(tid: Tid) -> Result<Target, Text> {
    match Id::new(sched::port_id(tid)) {
        Some(id) => Ok(Target::Task(id)),
        None => fail!("the port does not know task {}", tid.0),
    }
}

/// Counts ticks.
pub(crate) const fn ticks(on: Target) -> Open {
    Open::new(EventNumber::PortTick, on)
}

/// Never waits for its turn.
pub(crate) const fn pinned(open: Open) -> Open {
    Open {
        flags: OpenFlags::PINNED,
        ..open
    }
}

/// Some events, in the order in which they were opened.
pub(crate) struct Events {
    ids: [Option<Id>; MOST],
    count: usize,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            ids: [None; MOST],
            count: 0,
        }
    }

    /// So many that are alike.
    pub(crate) fn alike(open: Open, count: usize) -> Result<Self, Text> {
        let mut events = Self::new();
        for _ in 0..count {
            events.open(open)?;
        }
        Ok(events)
    }

    pub(crate) fn open(&mut self, open: Open) -> Result<Id, Text> {
        match self.try_open(open) {
            Ok(event) => Ok(event),
            Err(errno) => fail!("event {} is refused: {errno:?}", self.count),
        }
    }

    pub(crate) fn try_open(&mut self, open: Open) -> Result<Id, Errno> {
        let event = port::ask(|vcpu| vcpu.open(&open))?.event;
        self.ids[self.count] = Some(event);
        self.count += 1;
        Ok(event)
    }

    /// Closes the first one.
    pub(crate) fn close_first(&mut self) -> Result<(), Text> {
        let mut open = self.ids.iter_mut().filter_map(Option::take);
        match open.next() {
            Some(event) => port::must("a close", |vcpu| vcpu.close(event)),
            None => fail!("no event is open"),
        }
    }

    /// Those that are open.
    pub(crate) fn ids(&self) -> impl Iterator<Item = Id> {
        self.ids.iter().filter_map(|id| *id)
    }

    /// A reading of each that is open and in no error.
    pub(crate) fn read(&self) -> Result<impl Iterator<Item = Reading>, Text> {
        let mut readings = [None; MOST];
        for (reading, event) in readings.iter_mut().zip(self.ids()) {
            *reading = read(event)?;
        }
        Ok(readings.into_iter().flatten())
    }

    /// The sum of the counts.
    pub(crate) fn sum(&self) -> Result<u64, Text> {
        Ok(self.read()?.map(|reading| reading.count).sum())
    }

    /// The smallest count.
    pub(crate) fn least(&self) -> Result<u64, Text> {
        let counts = self.read()?.map(|reading| reading.count);
        Ok(counts.min().unwrap_or_default())
    }

    /// Whether each is on a counter.
    pub(crate) fn all_active(&self) -> Result<bool, Text> {
        Ok(self
            .read()?
            .all(|reading| reading.state == EventState::Active))
    }

    /// That each counted exactly this.
    ///
    /// # Errors
    /// Which did not.
    pub(crate) fn all_counted(&self, count: u64) -> Result<(), Text> {
        for (number, event) in self.ids().enumerate() {
            match read(event)? {
                Some(reading) if reading.count == count => {}
                other => fail!("event {number}: {other:?}, not a count of {count}"),
            }
        }
        Ok(())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        for event in self.ids() {
            // The point has its verdict by now.
            _ = port::ask(|vcpu| vcpu.close(event));
        }
    }
}

/// Nothing for an event in error: end of file.
pub(crate) fn read(event: Id) -> Result<Option<Reading>, Text> {
    port::must("a read", |vcpu| vcpu.read(event))
}

/// The reading of an event that is in no error.
pub(crate) fn reading(event: Id) -> Result<Reading, Text> {
    match read(event)? {
        Some(reading) => Ok(reading),
        None => fail!("end of file"),
    }
}

/// Whether the event is in error.
pub(crate) fn failed(event: Id) -> Result<bool, Text> {
    Ok(read(event)?.is_none())
}

/// Its state, error excluded.
pub(crate) fn state(event: Id) -> Result<EventState, Text> {
    Ok(reading(event)?.state)
}
