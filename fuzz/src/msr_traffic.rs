// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that does anything to the registers of any model.

use std::sync::Arc;

use arbitrary::Unstructured;
use vpmu::{EventFilter, Nanos};

use crate::guest::{self, Pmu};
use crate::input::{Op, Shape};
use crate::laws::Laws;
use crate::tally;

/// Does what the bytes say, and checks the laws at each step.
pub fn run(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    if let Ok(shape) = Shape::choose(&mut bytes) {
        traffic(&mut bytes, shape, guest::new(shape.model), None);
    }
}

/// The steps, on this PMU with this filter.
pub(crate) fn traffic(
    bytes: &mut Unstructured<'_>,
    shape: &Shape,
    mut pmu: Pmu,
    filter: Option<Arc<EventFilter>>,
) {
    pmu.set_filter(filter.clone());
    let mut laws = Laws::new(&pmu, filter.clone());
    let mut now = Nanos(0);
    let mut operations = 0;
    while let Ok(op) = Op::take(bytes, shape) {
        laws.before(&op);
        let told = guest::apply(&mut pmu, &mut now, &op);
        laws.after(&pmu, now, &op, told);
        if op == Op::Move {
            pmu = moved(pmu, now, &laws, filter.clone());
            laws.moved(&pmu);
        }
        operations += u64::from(op.is_register_operation());
    }
    tally::add(operations);
    laws.nothing_is_lost(shape, pmu, now);
}

/// The same PMU on another vCPU.
fn moved(mut pmu: Pmu, now: Nanos, laws: &Laws, filter: Option<Arc<EventFilter>>) -> Pmu {
    let snapshot = pmu.snapshot(now);
    let mut other = guest::new(pmu.model());
    other.set_min_rearm(laws.min_rearm());
    other.set_filter(filter);
    let taken = other.restore(&snapshot, now);
    assert_eq!(taken, Ok(()), "P36: {snapshot:?}");
    assert_eq!(other.snapshot(now), snapshot, "P36");
    other
}
