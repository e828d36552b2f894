// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Overflows and their interrupt: none lost, none doubled, none late.

#![no_std]
#![no_main]

mod late;
mod log;
mod row;
mod single;

use rt::smp;
use rt::trap::{self, vector};

use crate::late::*;
use crate::log::*;
use crate::row::*;
use crate::single::*;

rt::kernel!(main);

fn main() {
    trap::hook(vector::PMI, on_pmi);
    trap::hook(vector::NMI, on_pmi);
    rt::tap::run(&[
        ("a PMI as a vector on each CPU", || {
            smp::on_each(one_pmi::<VECTOR>)
        }),
        ("a PMI as an NMI on each CPU", || {
            smp::on_each(one_pmi::<NMI>)
        }),
        ("a PMI from each counter", each_counter),
        ("a PMI interrupts user code", user_code),
        (
            "delivery sets the LVTPC mask: no second PMI",
            mask_on_delivery,
        ),
        ("an overflow while LVTPC is masked sets STATUS only", masked),
        ("an overflow without INT sets STATUS only", || {
            without_int::<VECTOR>()
        }),
        ("four counters overflow at once", several),
        (
            "a counter enabled again with an overflow pending",
            enabled_again,
        ),
        ("a halted guest's overflow comes", part_time),
        (
            "no vector after the counter was disabled",
            late::<DISABLE, VECTOR>,
        ),
        (
            "no NMI after the counter was disabled",
            late::<DISABLE, NMI>,
        ),
        (
            "no vector after GLOBAL_CTRL was cleared",
            late::<GLOBAL, VECTOR>,
        ),
        ("no NMI after GLOBAL_CTRL was cleared", late::<GLOBAL, NMI>),
        ("no vector after LVTPC was masked", late::<MASK, VECTOR>),
        ("no NMI after LVTPC was masked", late::<MASK, NMI>),
        (
            "no vector after the counter was rewritten",
            late::<REWRITE, VECTOR>,
        ),
        (
            "no NMI after the counter was rewritten",
            late::<REWRITE, NMI>,
        ),
        (
            "no vector without a status bit when it is cleared",
            late::<CLEAR, VECTOR>,
        ),
        (
            "no NMI without a status bit when it is cleared",
            late::<CLEAR, NMI>,
        ),
        ("1,000 overflows in a row, as vectors", || {
            smp::run_on(0, in_a_row::<VECTOR>)
        }),
        ("1,000 overflows in a row, as NMIs, on CPU 1", || {
            smp::run_on(1, in_a_row::<NMI>)
        }),
    ]);
}
