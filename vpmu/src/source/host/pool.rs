// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Open events, kept for the next time that the same is counted.
//!
//! Opening an event takes Linux many times as long as switching one on, and now and then
//! milliseconds. A guest that multiplexes programs the same few events over and over. (An event that is
//! open could be given another meaning by `PERF_EVENT_IOC_MODIFY_ATTRIBUTES`, but Linux does that for
//! breakpoints alone.)

use super::request::Request;
use crate::source::MAX_SLOTS;

/// As many as can be running, and as many again that have run.
const CAPACITY: usize = 2 * MAX_SLOTS;

/// An event and what it counts.
#[derive(Debug)]
struct Place<E> {
    request: Request,
    event: E,
    claimed: bool,
    /// When it was last released, in releases.
    released: u64,
}

/// Open events, each claimed by one slot at most.
#[derive(Debug)]
pub(super) struct Pool<E> {
    places: [Option<Place<E>>; CAPACITY],
    releases: u64,
}

impl<E> Pool<E> {
    pub(super) const fn new() -> Self {
        Self {
            places: [const { None }; CAPACITY],
            releases: 0,
        }
    }

    /// Claims an event that counts `request` and is nobody's.
    pub(super) fn claim(&mut self, request: &Request) -> Option<usize> {
        let fits = |place: &Place<E>| !place.claimed && place.request == *request;
        let index = self
            .places
            .iter()
            .position(|place| place.as_ref().is_some_and(fits))?;
        if let Some(place) = &mut self.places[index] {
            place.claimed = true;
        }
        Some(index)
    }

    /// Takes in an event, claimed, and closes the one that was idle longest if there is no room.
    /// `None` if all are claimed.
    pub(super) fn add(&mut self, request: Request, event: E) -> Option<usize> {
        let index = (0..CAPACITY)
            .filter(|&index| {
                !self.places[index]
                    .as_ref()
                    .is_some_and(|place| place.claimed)
            })
            .min_by_key(|&index| self.places[index].as_ref().map(|place| place.released))?;
        self.places[index] = Some(Place {
            request,
            event,
            claimed: true,
            released: 0,
        });
        Some(index)
    }

    /// The event at `index`, which is claimed.
    pub(super) fn event(&self, index: usize) -> Option<&E> {
        self.places.get(index)?.as_ref().map(|place| &place.event)
    }

    /// Keeps the event at `index` for whoever wants the same next.
    pub(super) fn release(&mut self, index: usize) {
        self.releases += 1;
        if let Some(place) = &mut self.places[index] {
            place.claimed = false;
            place.released = self.releases;
        }
    }

    /// Closes the event at `index`.
    pub(super) fn close(&mut self, index: usize) {
        self.places[index] = None;
    }

    /// Closes all that are idle.
    pub(super) fn close_idle(&mut self) {
        for place in &mut self.places {
            if place.as_ref().is_some_and(|place| !place.claimed) {
                *place = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(config: u64) -> Request {
        Request {
            kind: 0,
            config,
            usr: true,
            os: true,
            guest_only: true,
        }
    }

    #[test]
    fn an_idle_event_is_claimed_by_the_same_request_alone() {
        let mut pool = Pool::new();
        let index = pool.add(request(1), 'a').unwrap();
        assert_eq!(pool.claim(&request(1)), None, "it is claimed");
        pool.release(index);
        let other = Request {
            os: false,
            ..request(1)
        };
        assert_eq!(pool.claim(&other), None);
        assert_eq!(pool.claim(&request(1)), Some(index));
        assert_eq!(pool.event(index), Some(&'a'));
        assert_eq!(pool.claim(&request(1)), None, "once");
    }

    #[test]
    fn a_full_pool_closes_the_one_that_was_idle_longest() {
        let mut pool = Pool::new();
        let numbers = 0..u64::try_from(CAPACITY).unwrap();
        for n in numbers.clone() {
            pool.add(request(n), n).unwrap();
        }
        assert_eq!(pool.add(request(99), 99), None, "all are claimed");
        for n in [5, 3, 4] {
            pool.release(n);
        }
        assert_eq!(pool.add(request(99), 99), Some(5));
        assert_eq!(pool.claim(&request(5)), None);
        assert_eq!(pool.claim(&request(3)), Some(3), "the others are kept");
    }

    #[test]
    fn what_was_closed_is_gone() {
        let mut pool = Pool::new();
        let first = pool.add(request(1), 'a').unwrap();
        let second = pool.add(request(2), 'b').unwrap();
        pool.release(first);
        pool.close_idle();
        assert_eq!((pool.event(first), pool.event(second)), (None, Some(&'b')));
        pool.close(second);
        assert_eq!(pool.event(second), None);
    }
}
