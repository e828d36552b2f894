// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What this host counts: found out by counting.

use core::hint::black_box;
use std::io;
use std::vec;
use std::vec::Vec;

use perf_event_open_sys::bindings::PERF_TYPE_RAW;

use super::error::HostError;
use super::request::{self, Request};
use super::sys::{Backend, PerfEvent};
use crate::{Event, EventConfig, Vendor};

/// A counter that stands still for so many rounds of work does not count.
const ROUNDS: u32 = 8;

/// Steps of one round.
const STEPS: u32 = 20_000;

/// 64-bit words for the work to go through: 8 MiB, more than most first- and second-level caches.
const WORDS: usize = 1 << 20;

/// What became of trying to count one event.
#[derive(Debug)]
#[non_exhaustive]
pub struct Probed {
    /// The event.
    pub event: Event,
    /// Whether it is counted where all privilege levels are.
    pub everywhere: Result<(), HostError>,
    /// Whether it is counted where user mode alone is, which takes fewer privileges.
    pub user: Result<(), HostError>,
}

impl Probed {
    /// Tries to count `event`, which is asked for by `request`.
    fn new(
        event: Event,
        request: impl Fn(&EventConfig) -> Option<Request>,
        backend: &mut impl Backend,
        work: &mut Work,
    ) -> Self {
        let mut at = |os| {
            let config = EventConfig {
                os,
                ..EventConfig::everywhere(event)
            };
            let request = request(&config).ok_or(HostError::NoCounter)?;
            counts(&request, backend, work)
        };
        Self {
            event,
            everywhere: at(true),
            user: at(false),
        }
    }

    /// Whether it is counted at the levels of `config`.
    fn covers(&self, config: &EventConfig) -> bool {
        let row = if config.os {
            &self.everywhere
        } else {
            &self.user
        };
        row.is_ok()
    }
}

/// What this host's hardware counts; from [`HostSource::probe`](super::HostSource::probe).
#[derive(Debug)]
pub struct Probe {
    host: Option<Vendor>,
    events: Vec<Probed>,
    by_number: Probed,
}

impl Probe {
    /// Counts each event in turn. If there is none that counts, the error is the first one's.
    pub(super) fn run(backend: &mut impl Backend, host: Option<Vendor>) -> Result<Self, HostError> {
        let mut work = Work::new();
        let named = |config: &EventConfig| request::hardware(config, Vendor::Intel, host);
        let events = Event::ARCHITECTURAL
            .map(|event| Probed::new(event, named, backend, &mut work))
            .into();
        let numbered = |config: &EventConfig| request::by_number(config, host?);
        Ok(Self {
            host,
            events: some_count(events)?,
            by_number: Probed::new(Event::Instructions, numbered, backend, &mut work),
        })
    }

    /// The architectural events and what became of each.
    pub fn events(&self) -> &[Probed] {
        &self.events
    }

    /// Instructions, asked for by their number in the CPU's manual instead of by name. It stands for
    /// all that have no name, or modifiers: that the CPU has such an event is for its manual to say.
    pub const fn by_number(&self) -> &Probed {
        &self.by_number
    }

    /// What the host is to be asked for, if it counts that.
    pub(super) fn request(&self, config: &EventConfig, guest: Vendor) -> Option<Request> {
        let request = request::hardware(config, guest, self.host)?;
        let row = if request.kind == PERF_TYPE_RAW {
            &self.by_number
        } else {
            self.events.iter().find(|row| row.event == config.event)?
        };
        row.covers(config).then_some(request)
    }
}

/// The same, or why none of them counts.
fn some_count(events: Vec<Probed>) -> Result<Vec<Probed>, HostError> {
    if events.iter().any(|row| row.user.is_ok()) {
        return Ok(events);
    }
    let why = events.into_iter().find_map(|row| row.user.err());
    Err(why.unwrap_or(HostError::NoCounter))
}

/// Whether `request` is granted, and counts what this thread does where guests are not asked for.
pub(super) fn counts(
    request: &Request,
    backend: &mut impl Backend,
    work: &mut Work,
) -> Result<(), HostError> {
    let failed = |error| HostError::new(error, request.os);
    let own = Request {
        guest_only: false,
        ..*request
    };
    let event = backend.open(&own).map_err(failed)?;
    event.enable().map_err(failed)?;
    moves(&event, work).map_err(failed)??;
    drop(event);
    if request.guest_only {
        // There is no guest yet in which it could move.
        backend
            .open(request)
            .map_err(|error| match HostError::new(error, request.os) {
                HostError::NoCounter | HostError::Refused(_) => HostError::NotGuestOnly,
                permission => permission,
            })?;
    }
    Ok(())
}

fn moves(event: &impl PerfEvent, work: &mut Work) -> io::Result<Result<(), HostError>> {
    for _ in 0..ROUNDS {
        work.round();
        match event.read()? {
            None => return Ok(Err(HostError::Busy)),
            Some(0) => {}
            Some(_) => return Ok(Ok(())),
        }
    }
    Ok(Err(HostError::StandsStill))
}

/// Something of everything: steps, branches that nobody can foresee, memory that no cache holds.
pub(super) struct Work {
    memory: Vec<u64>,
    seed: u64,
}

impl Work {
    pub(super) fn new() -> Self {
        Self {
            memory: vec![0; WORDS],
            seed: 0x9E37_79B9_7F4A_7C15,
        }
    }

    fn round(&mut self) {
        for _ in 0..STEPS {
            self.seed ^= self.seed << 13;
            self.seed ^= self.seed >> 7;
            self.seed ^= self.seed << 17;
            let [low, mid, high, turn, ..] = self.seed.to_le_bytes();
            let place = usize::from(low) | usize::from(mid) << 8 | usize::from(high & 0xF) << 16;
            if turn & 1 == 0 {
                self.memory[black_box(place)] += 1;
            } else {
                black_box(&self.memory);
            }
        }
    }
}

#[cfg(test)]
mod tests;
