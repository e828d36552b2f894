// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The clock source, over a clock that is told what to show.

use vpmu::{ClockSource, Event, EventConfig, GuestClock, Wake};

use crate::contract::Rig;

struct Shown(u64);

impl GuestClock for Shown {
    fn cycles(&mut self) -> u64 {
        self.0
    }
}

struct Clock(ClockSource<Shown>);

impl Rig for Clock {
    type Source = ClockSource<Shown>;

    const COUNTED: EventConfig = EventConfig::everywhere(Event::CoreCycles);
    const REFUSED: EventConfig = EventConfig::everywhere(Event::Instructions);

    fn new() -> Result<Self, String> {
        Ok(Self(ClockSource::new(Shown(1_000_000))))
    }

    fn source(&mut self) -> &mut ClockSource<Shown> {
        &mut self.0
    }

    fn advance(&mut self, counts: u64) {
        self.0.clock_mut().0 += counts;
    }

    fn run(&mut self, wake: Wake) {
        match wake {
            Wake::InCycles(cycles) => self.advance(cycles),
            Wake::BySource => panic!("a clock calls nobody back"),
        }
    }
}

contract!(Clock);
