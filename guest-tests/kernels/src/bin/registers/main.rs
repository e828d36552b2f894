// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The registers of whatever PMU the machine has, from inside: booted once with every model.
//!
//! Which model it is, this kernel finds out from CPUID alone; the command line's `model=` is what
//! the host was asked for.

#![no_std]
#![no_main]

mod common;
mod counting;
mod freeze;
mod globals;
mod identity;
mod log;
mod overflow;
mod presence;
mod rdpmc;
mod selects;
mod values;

use rt::model::{self, Model};
use rt::tap::{self, Outcome, Point};
use rt::trap::{self, vector};
use rt::{reset, smp};

rt::kernel!(main);

fn main() {
    model::find();
    trap::hook(vector::PMI, log::on_pmi);
    trap::hook(vector::NMI, log::on_pmi);
    let mut points: [Point; POINTS.len()] = [("", || Ok(())); POINTS.len()];
    let mut count = 0;
    for (of, name, test) in POINTS {
        if of(model::model()) {
            points[count] = (name, *test);
            count += 1;
        }
    }
    tap::run(&points[..count])
}

/// Which models have what a point is about.
type Of = fn(&Model) -> bool;

type Test = fn() -> Outcome;

const EVERY: Of = |_| true;
const INTEL: Of = |model| !model.is_amd();
const AMD: Of = Model::is_amd;
const GLOBAL: Of = |model| model.globals().is_some();
const SET: Of = |model| model.globals().is_some_and(|globals| globals.set.is_some());
const FIXED: Of = |model| model.fixed != 0;
const FULL_WIDTH: Of = |model| model.full_width;
const TWO_NUMBERS: Of = Model::has_core_numbers;
const V2: Of = |model| model.version() >= 2;
const V2_V3: Of = |model| matches!(model.version(), 2 | 3);
const V4: Of = |model| model.version() >= 4;

/// The points in order: what nobody may have touched before comes first.
const POINTS: &[(Of, &str, Test)] = &[
    (
        EVERY,
        "the model is the one that was asked for",
        identity::as_asked_for,
    ),
    (EVERY, "registers after reset, on each CPU", || {
        smp::on_each(reset::registers)
    }),
    (EVERY, "each CPU has the same model", identity::on_each_cpu),
    (
        EVERY,
        "nothing of another PMU is advertised",
        identity::nothing_of_the_others,
    ),
    (
        INTEL,
        "MISC_ENABLE tells what is available",
        identity::misc_enable,
    ),
    (
        EVERY,
        "every PMU MSR is there, or is a #GP",
        presence::every_msr,
    ),
    (EVERY, "an event select keeps its bits", selects::keep),
    (
        INTEL,
        "an event select refuses reserved bits",
        selects::refuse,
    ),
    (
        AMD,
        "an event select ignores reserved bits",
        selects::ignore,
    ),
    (
        EVERY,
        "a counter's width, and what a write takes of it",
        values::general_purpose,
    ),
    (
        FIXED,
        "a fixed counter takes its width and no more",
        values::fixed,
    ),
    (
        FULL_WIDTH,
        "full-width writes take the width and no more",
        values::full_width,
    ),
    (
        TWO_NUMBERS,
        "both numbers of a counter are one register",
        values::two_numbers,
    ),
    (
        GLOBAL,
        "the global control has the counters' bits",
        globals::control,
    ),
    (GLOBAL, "the status clear register's bits", globals::clear),
    (SET, "the status set register's bits", globals::set),
    (V2, "FIXED_CTR_CTRL's bits", globals::fixed_control),
    (V2, "DEBUGCTL's bits", globals::debug_control),
    (V4, "INUSE tells what is selected", globals::in_use),
    (
        EVERY,
        "RDPMC reads every counter, at CPL 0 and CPL 3",
        rdpmc::every_counter,
    ),
    (
        EVERY,
        "RDPMC with any other index is a #GP",
        rdpmc::no_other,
    ),
    (
        EVERY,
        "RDPMC at CPL 3 is a #GP without CR4.PCE",
        rdpmc::user_refused,
    ),
    (
        EVERY,
        "a counter moves while it is enabled, and alone",
        counting::by_enable_bit,
    ),
    (
        GLOBAL,
        "a counter moves while it is globally enabled",
        counting::by_global_control,
    ),
    (
        FIXED,
        "fixed counters count cycles or stand still",
        counting::fixed,
    ),
    (
        EVERY,
        "what cannot be counted is accepted and stands still",
        counting::not_counted,
    ),
    (
        EVERY,
        "bits that mean nothing here change nothing",
        counting::extra_bits,
    ),
    (
        V4,
        "CTR_FRZ set by hand freezes all counters",
        counting::frozen_by_hand,
    ),
    (EVERY, "a PMI from each counter", overflow::each_counter),
    (EVERY, "a PMI on each CPU", overflow::on_each_cpu),
    (
        EVERY,
        "an overflow that asks for no PMI",
        overflow::without_pmi,
    ),
    (
        EVERY,
        "an overflow while LVTPC is masked has no PMI",
        overflow::while_masked,
    ),
    (EVERY, "several overflows at once", overflow::at_once),
    (
        EVERY,
        "a running counter written close to its top",
        overflow::moved_close,
    ),
    (
        AMD,
        "delivery leaves LVTPC alone: PMIs again and again",
        overflow::again_and_again,
    ),
    (
        INTEL,
        "delivery masks LVTPC: no PMI until it is unmasked",
        overflow::once_until_unmasked,
    ),
    (
        SET,
        "a status bit set by hand asks for a PMI",
        overflow::set_by_hand,
    ),
    (
        V2_V3,
        "a PMI that freezes clears GLOBAL_CTRL",
        freeze::by_control,
    ),
    (V4, "a PMI that freezes sets CTR_FRZ", freeze::by_status),
    (
        V4,
        "a freeze ends with its acknowledgement",
        freeze::thawed_in_the_handler,
    ),
    (
        V2,
        "no freeze that was not asked for",
        freeze::not_asked_for,
    ),
    (V2, "no freeze without a delivery", freeze::not_when_masked),
];
