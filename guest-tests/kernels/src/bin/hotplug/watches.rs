// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host counts on the vCPUs as well: what it counted on one that goes can still be read, and
//! moves no more, also when the vCPU comes again.

use rt::arrivals::{self, Leaving};
use rt::host::{self, Outcome::Perf, Wish};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{books, check, check_eq};

/// Goes and comes.
const CPU: usize = 3;
/// Stays.
const OTHER: usize = 1;

fn count(watch: u32) -> Result<(u64, bool), Text> {
    let [low, high, counts_on] = host::grant(Wish::Count(watch))?;
    Ok((u64::from(low) | u64::from(high) << 32, counts_on == 1))
}

/// What a watch that is at work counted.
fn live(watch: u32) -> Result<u64, Text> {
    let (cycles, counts_on) = count(watch)?;
    check!(counts_on, "watch {watch} does not count on");
    Ok(cycles)
}

pub(crate) fn stop() -> Outcome {
    let [watch, ..] = host::grant(Wish::Watch(host::id(CPU)))?;
    let [other, ..] = host::grant(Wish::Watch(host::id(OTHER)))?;
    books::await_pmis(CPU, 1)?;
    check!(live(watch)? > 0, "nothing counted over a PMI's period");

    arrivals::one_goes(CPU, Leaving::AtWork)?;
    let (last, counts_on) = count(watch)?;
    check!(!counts_on, "the watch of a CPU that is gone counts on");
    host::expect(Wish::Watch(host::id(CPU)), Perf)?;
    let before = live(other)?;
    books::await_pmis(OTHER, 1)?;
    check!(live(other)? > before, "the other CPU's watch stands still");

    arrivals::one_comes(CPU, host::id(CPU))?;
    let [again, ..] = host::grant(Wish::Watch(host::id(CPU)))?;
    books::await_pmis(CPU, 2)?;
    check_eq!(count(watch)?, (last, false), "the old watch");
    check!(live(again)? > 0, "the new watch stands still");
    for watch in [watch, other, again] {
        host::grant(Wish::Unwatch(watch))?;
    }
    Ok(())
}
