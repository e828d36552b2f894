// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The promises of `vpmu::source`, as tests over any source. A test carries the number of the
//! promise it holds.

use vpmu::source::MAX_SLOTS;
use vpmu::{CounterSource, EventConfig, NotCounted, Wake};

use crate::allocator::allocations;

/// A source with a guest.
pub(crate) trait Rig: Sized {
    type Source: CounterSource;

    /// What the guest does, and the source counts.
    const COUNTED: EventConfig;

    /// What the source does not count.
    const REFUSED: EventConfig;

    /// Each count makes the vCPU leave the guest, also those before an overflow.
    const EXITS_BY_ITSELF: bool = false;

    /// A new source, or why this machine has none.
    fn new() -> Result<Self, String>;

    fn source(&mut self) -> &mut Self::Source;

    /// Runs the guest until [`COUNTED`](Self::COUNTED) happened so many times.
    fn advance(&mut self, counts: u64);

    /// Runs the guest until it is called back.
    fn run(&mut self, wake: Wake);

    /// What [`COUNTED`](Self::COUNTED) is happens outside of the guest, where that is possible.
    fn outside(&mut self) {}

    fn start(&mut self, slot: usize) {
        let started = self.source().start(slot, &Self::COUNTED);
        assert_eq!(started, Ok(()), "slot {slot}");
    }

    fn take(&mut self, slot: usize) -> u64 {
        self.source().take(slot)
    }

    /// Runs the guest until it is called back for an overflow after `distance` counts.
    fn run_to_overflow(&mut self, wake: Wake, distance: u64) {
        let exits = if Self::EXITS_BY_ITSELF { distance } else { 1 };
        for _ in 0..exits {
            self.run(wake);
        }
    }
}

/// A rig, unless this machine has none, which is no fault of the source's.
pub(crate) fn rig<R: Rig>() -> Option<R> {
    match R::new() {
        Ok(rig) => Some(rig),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

pub(crate) fn s1_slots_count_from_start_to_stop(rig: &mut impl Rig) {
    rig.advance(5);
    rig.start(0);
    rig.advance(7);
    rig.start(MAX_SLOTS - 1);
    rig.advance(100);
    assert_eq!((rig.take(0), rig.take(MAX_SLOTS - 1)), (107, 100));
    rig.source().stop(0);
    rig.advance(1);
    assert_eq!((rig.take(0), rig.take(MAX_SLOTS - 1)), (0, 1));
}

pub(crate) fn s1_all_slots_run_at_once(rig: &mut impl Rig) {
    for slot in 0..MAX_SLOTS {
        rig.start(slot);
        rig.advance(1);
    }
    for slot in (0..MAX_SLOTS).rev() {
        let since = u64::try_from(MAX_SLOTS - slot).unwrap();
        assert_eq!(rig.take(slot), since, "slot {slot}");
    }
}

pub(crate) fn s1_only_what_the_guest_does_is_counted(rig: &mut impl Rig) {
    rig.start(0);
    rig.outside();
    rig.advance(3);
    rig.outside();
    assert_eq!(rig.take(0), 3);
    rig.outside();
    assert_eq!(rig.take(0), 0);
}

pub(crate) fn s2_every_event_is_taken_once(rig: &mut impl Rig) {
    rig.start(3);
    let mut taken = 0;
    for step in 0..100 {
        rig.advance(step);
        if step % 3 == 0 {
            taken += rig.take(3);
            assert_eq!(rig.take(3), 0);
        }
    }
    assert_eq!(taken + rig.take(3), 99 * 100 / 2);
}

pub(crate) fn s3_slots_that_do_not_run(rig: &mut impl Rig) {
    rig.source().stop(1);
    rig.advance(9);
    assert_eq!(rig.take(1), 0);
    rig.start(1);
    rig.advance(9);
    rig.start(1);
    rig.advance(2);
    assert_eq!(rig.take(1), 2, "started anew");
    rig.advance(9);
    rig.source().stop(1);
    rig.start(1);
    assert_eq!(rig.take(1), 0, "what was not taken is dropped");
}

pub(crate) fn s3_slots_that_there_are_not<R: Rig>(rig: &mut R) {
    for slot in [MAX_SLOTS, usize::MAX] {
        assert_eq!(rig.source().start(slot, &R::COUNTED), Err(NotCounted));
        rig.advance(9);
        rig.source().stop(slot);
        assert_eq!(rig.take(slot), 0);
    }
}

pub(crate) fn s4_what_is_not_supported_does_not_start<R: Rig>(rig: &mut R) {
    assert!(rig.source().supports(&R::COUNTED) && !rig.source().supports(&R::REFUSED));
    rig.start(0);
    rig.advance(2);
    assert_eq!(rig.source().start(0, &R::REFUSED), Err(NotCounted));
    rig.advance(9);
    assert_eq!(rig.take(0), 0, "the slot is stopped");
    assert!(rig.source().supports(&R::COUNTED) && !rig.source().supports(&R::REFUSED));
}

pub(crate) fn s4_what_is_supported_starts<R: Rig>(rig: &mut R) {
    for config in modified(R::COUNTED) {
        let supported = rig.source().supports(&config);
        let started = rig.source().start(0, &config).is_ok();
        assert_eq!(started, supported, "{config:?}");
        rig.source().stop(0);
    }
}

/// `config` with other levels and modifiers.
fn modified(config: EventConfig) -> impl Iterator<Item = EventConfig> {
    (0..64_u8).map(move |bits| EventConfig {
        usr: bits & 1 != 0,
        os: bits & 2 != 0,
        edge: bits & 4 != 0,
        invert: bits & 8 != 0,
        cmask: bits >> 4 & 1,
        any_thread: bits & 32 != 0,
        ..config
    })
}

pub(crate) fn s5_the_vcpu_comes_back_for_an_overflow(rig: &mut impl Rig) {
    rig.start(0);
    for distance in [1, 2, 50, 333, 1] {
        let mut left = distance;
        // A source that has itself kicked may count slower than cycles pass.
        for _ in 0..=distance {
            let wake = rig.source().arm(0, left);
            assert_ne!(wake, Wake::InCycles(0), "that is no distance");
            rig.run_to_overflow(wake, left);
            let counts = rig.take(0);
            left = left.saturating_sub(counts);
            if left == 0 {
                break;
            }
            assert_ne!(wake, Wake::BySource, "called back {left} too early");
        }
        assert_eq!(
            left, 0,
            "it does not come back for an overflow after {distance}"
        );
    }
}

pub(crate) fn s5_of_two_overflows_the_nearer_comes_first(rig: &mut impl Rig) {
    for slot in [0, 1] {
        rig.start(slot);
    }
    for (far, near) in [(0, 1), (1, 0)] {
        let wakes = [(far, 5_000), (near, 20)].map(|(slot, left)| rig.source().arm(slot, left));
        rig.run_to_overflow(nearest(wakes), 20);
        let [at_far, at_near] = [far, near].map(|slot| rig.take(slot));
        assert!((20..5_000).contains(&at_near), "{at_near}");
        assert_eq!(at_far, at_near, "both count the same");
    }
}

fn nearest(wakes: [Wake; 2]) -> Wake {
    match wakes {
        [Wake::InCycles(a), Wake::InCycles(b)] => Wake::InCycles(a.min(b)),
        [_, by_source] => by_source,
    }
}

pub(crate) fn s5_arming_changes_no_count(rig: &mut impl Rig) {
    rig.start(0);
    rig.source().arm(0, 3);
    rig.advance(2);
    rig.source().arm(0, 1_000);
    rig.source().arm(0, 500);
    rig.advance(5);
    assert_eq!(rig.take(0), 7);
    rig.source().arm(0, 2);
    rig.advance(9);
    assert_eq!(rig.take(0), 9, "also past an overflow that nobody came for");
}

pub(crate) fn s5_an_overflow_that_moves_away_is_waited_for(rig: &mut impl Rig) {
    rig.start(0);
    rig.source().arm(0, 100);
    rig.advance(10);
    rig.take(0);
    let wake = rig.source().arm(0, 400);
    rig.run_to_overflow(wake, 400);
    assert!(
        rig.take(0) >= 400,
        "called back for the overflow that is gone"
    );
}

pub(crate) fn s6_nothing_allocates<R: Rig>(rig: &mut R) {
    let mut allocated = 0;
    for round in 0..40_usize {
        let slot = round % MAX_SLOTS;
        let before = allocations();
        let source = rig.source();
        source.supports(&R::COUNTED);
        assert_eq!(source.start(slot, &R::COUNTED), Ok(()));
        source.arm(slot, 1_000);
        source.enter_guest();
        source.exit_guest();
        allocated += allocations() - before;
        rig.advance(1);
        let before = allocations();
        let source = rig.source();
        source.take(slot);
        if round % 3 == 0 {
            source.stop(slot);
        }
        assert_eq!(source.start(slot, &R::REFUSED), Err(NotCounted));
        allocated += allocations() - before;
    }
    assert_eq!(allocated, 0);
}

/// All of them on one rig.
macro_rules! contract {
    ($rig:ty) => {
        contract!(
            $rig,
            s1_slots_count_from_start_to_stop,
            s1_all_slots_run_at_once,
            s1_only_what_the_guest_does_is_counted,
            s2_every_event_is_taken_once,
            s3_slots_that_do_not_run,
            s3_slots_that_there_are_not,
            s4_what_is_not_supported_does_not_start,
            s4_what_is_supported_starts,
            s5_the_vcpu_comes_back_for_an_overflow,
            s5_of_two_overflows_the_nearer_comes_first,
            s5_arming_changes_no_count,
            s5_an_overflow_that_moves_away_is_waited_for,
            s6_nothing_allocates,
        );
    };
    ($rig:ty, $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                if let Some(mut rig) = crate::contract::rig::<$rig>() {
                    crate::contract::$test(&mut rig);
                }
            }
        )*
    };
}
