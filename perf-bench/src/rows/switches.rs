// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Context switches, beside a mutex that nobody else wants: what a switch may cost is told in
//! those, since that is what it must make do with.

use super::Setting;
use crate::baseline;
use crate::engine::Switching;
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};

/// Some nanoseconds each: the clock is small beside so many.
const BATCH: u32 = 256;

/// Mutexes that a switch between two tasks without events may cost.
const MUTEXES: f64 = 2.0;

/// Between two tasks that nobody watches.
pub(super) fn without_events(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    Ok(switch(name, setting, 0)?.ratio_at_most(MUTEXES))
}

/// Between two tasks with one event each.
pub(super) fn with_one(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    switch(name, setting, 1)
}

/// Between two tasks with eight events each.
pub(super) fn with_eight(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    switch(name, setting, 8)
}

fn switch(name: &'static str, setting: &Setting, events: usize) -> Result<Row, Failure> {
    let mut switching = Switching::between(events)?;
    let switch = Side::new(BATCH, || Ok(switching.switch()?));
    let mut sides = [switch, baseline::mutex_pair()];
    let [value, peer] = medians(setting.method, &mut sides)?;
    let against = "an uncontended std Mutex, locked and unlocked";
    Ok(Row::new(name, value, Ok(peer), against, Kind::LibraryCall))
}
