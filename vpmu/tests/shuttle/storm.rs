// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Everything at once.

use std::sync::Arc;

use shuttle::thread;
use vcpu_call::VcpuId;

use crate::search::{Turns, explore, night, replay, search};
use crate::watch::{Totals, get};
use crate::world::{VCPUS, World};
use crate::{dice, end, guest, host};

fn storm(totals: &Arc<Totals>) {
    let hosts = 2 + dice::below(2);
    let world = World::new(totals, u64::from(VCPUS) + hosts);
    let mut threads = Vec::new();
    for vcpu in (0..VCPUS).map(VcpuId) {
        let world = Arc::clone(&world);
        threads.push(thread::spawn(move || guest::live(&world, vcpu)));
    }
    for _ in 0..hosts {
        let world = Arc::clone(&world);
        threads.push(thread::spawn(move || host::live(&world)));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    end::settle(world);
}

/// By day, at least so many operations: a search that is silently cut short shows less than it
/// says.
fn assert_searched(totals: &Totals, operations: u64) {
    let ran = get(&totals.operations);
    assert!(night().is_some() || ran >= operations, "only {ran}");
    totals.assert_all_seen();
}

#[test]
fn storm_of_random_turns() {
    let totals = search("random", Turns::Random, 10_000, storm);
    assert_searched(&totals, 1_500_000);
}

#[test]
fn storm_of_few_preemptions() {
    let totals = search("PCT", Turns::Preemptions(5), 5_000, storm);
    assert_searched(&totals, 750_000);
}

#[test]
fn storm_short() {
    let totals = explore("short", Turns::Random, 250, storm);
    assert!(get(&totals.operations) >= 50_000);
}

#[test]
#[ignore = "plays the schedule in the file SHUTTLE_REPLAY"]
fn replay_a_schedule() {
    replay(storm);
}
