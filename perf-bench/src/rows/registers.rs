// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a guest's registers cost the VMM, without the exit that brings it there, beside a mutex that
//! nobody else wants. With the perf core beneath, as they ship, which is what the limits are on; and
//! on a bare source, which shows the perf core's part.

use std::hint::black_box;

use vpmu::CounterSource;
use vpmu::source::script::ScriptSource;

use super::Setting;
use crate::baseline;
use crate::engine::{Guest, Vcpu};
use crate::measure::{Failure, Side, medians};
use crate::row::{Kind, Row};

/// Some nanoseconds each: the clock is small beside so many.
const BATCH: u32 = 256;

/// Mutexes that each may cost.
mod mutexes {
    pub(super) const RDMSR: f64 = 4.0;
    pub(super) const WRMSR_COUNTER: f64 = 4.0;
    pub(super) const WRMSR_SELECT: f64 = 30.0;
    pub(super) const ENTRY_EXIT: f64 = 1.0;
}

/// RDMSR of a counter that runs, as all others do.
pub(super) fn rdmsr(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    Ok(read(name, setting, &mut on_core()?)?.ratio_at_most(mutexes::RDMSR))
}

/// The same on a bare source.
pub(super) fn rdmsr_bare(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    read(name, setting, &mut bare()?)
}

/// WRMSR of a counter that runs.
pub(super) fn wrmsr_counter(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    Ok(write(name, setting, &mut on_core()?)?.ratio_at_most(mutexes::WRMSR_COUNTER))
}

/// The same on a bare source.
pub(super) fn wrmsr_counter_bare(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    write(name, setting, &mut bare()?)
}

/// WRMSR of the select of a counter that runs: it counts another event from then on.
pub(super) fn wrmsr_select(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    Ok(select(name, setting, &mut on_core()?)?.ratio_at_most(mutexes::WRMSR_SELECT))
}

/// The same on a bare source.
pub(super) fn wrmsr_select_bare(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    select(name, setting, &mut bare()?)
}

/// An entry to a guest that enabled no counter, and the exit.
pub(super) fn entry_exit(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    Ok(enter(name, setting, &mut Guest::on_core()?)?.ratio_at_most(mutexes::ENTRY_EXIT))
}

/// The same on a bare source.
pub(super) fn entry_exit_bare(name: &'static str, setting: &Setting) -> Result<Row, Failure> {
    enter(name, setting, &mut Guest::bare())
}

fn on_core() -> Result<Guest<Vcpu>, Failure> {
    let mut guest = Guest::on_core()?;
    guest.run_all()?;
    Ok(guest)
}

fn bare() -> Result<Guest<ScriptSource>, Failure> {
    let mut guest = Guest::bare();
    guest.run_all()?;
    Ok(guest)
}

fn read<S: CounterSource>(
    name: &'static str,
    setting: &Setting,
    guest: &mut Guest<S>,
) -> Result<Row, Failure> {
    let act = || {
        black_box(guest.read_counter()?);
        Ok(())
    };
    beside_mutex(name, setting, Side::new(BATCH, act))
}

fn write<S: CounterSource>(
    name: &'static str,
    setting: &Setting,
    guest: &mut Guest<S>,
) -> Result<Row, Failure> {
    let act = || guest.write_counter(black_box(1_000));
    beside_mutex(name, setting, Side::new(BATCH, act))
}

fn select<S: CounterSource>(
    name: &'static str,
    setting: &Setting,
    guest: &mut Guest<S>,
) -> Result<Row, Failure> {
    beside_mutex(name, setting, Side::new(BATCH, || guest.select_another()))
}

fn enter<S: CounterSource>(
    name: &'static str,
    setting: &Setting,
    guest: &mut Guest<S>,
) -> Result<Row, Failure> {
    let act = || {
        black_box(black_box(&mut *guest).enter_and_exit());
        Ok(())
    };
    beside_mutex(name, setting, Side::new(BATCH, act))
}

fn beside_mutex(name: &'static str, setting: &Setting, act: Side<'_>) -> Result<Row, Failure> {
    let mut sides = [act, baseline::mutex_pair()];
    let [value, peer] = medians(setting.method, &mut sides)?;
    let against = "an uncontended std Mutex, locked and unlocked";
    Ok(Row::new(name, value, Ok(peer), against, Kind::LibraryCall))
}
