// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that uses its PMU as it likes makes the VMM allocate nothing, not even the first time.

use perf_bench::engine::{Engine, Guest, cycles};
use vcpu_call::VcpuId;
use vpmu::context::{Attr, Open, Target};
use vpmu::source::MAX_SLOTS;
use vpmu::{CounterSource, Entry};

use crate::{TIMES, allocations_of};

const VCPU: VcpuId = VcpuId(0);

/// Allocations of all that a guest does with its counters, from its first access on.
fn allocations_by<S: CounterSource>(mut guest: Guest<S>) -> u64 {
    allocations_of(|| {
        for _ in 0..TIMES {
            assert_eq!(guest.enter_and_exit(), Entry::default());
        }
        guest.run_all().unwrap();
        for times in 0..u64::from(TIMES) {
            guest.write_counter(times).unwrap();
            guest.happen(3);
            assert_eq!(guest.read_counter().unwrap(), times + 3);
            guest.select_another().unwrap();
            guest.enter_and_exit();
        }
    })
}

#[test]
fn a_guest_on_the_core_allocates_nothing() {
    assert_eq!(allocations_by(Guest::on_core().unwrap()), 0);
}

#[test]
fn a_guest_on_a_bare_source_allocates_nothing() {
    assert_eq!(allocations_by(Guest::bare()), 0);
}

/// The host's events take no room that was made for the guest's counters: not pinned ones, nor those
/// that have to make way and wait.
#[test]
fn counters_start_and_stop_among_events_without_allocating() {
    let engine = Engine::new(1, |_| ());
    let mut vcpu = engine.vcpu(VCPU).unwrap();
    let task = engine.current(&mut vcpu).unwrap();
    let pinned = Attr {
        pinned: true,
        disabled: true,
        ..Attr::counting(cycles())
    };
    // More than there are of the guest's, and in no power of two.
    for _ in 0..MAX_SLOTS + 5 {
        let open = Open::new(pinned, Target::Vcpu(VCPU));
        engine.perf().open(&open, &mut vcpu).unwrap();
    }
    for _ in 0..MAX_SLOTS {
        engine
            .open(Attr::counting(cycles()), &task, &mut vcpu)
            .unwrap();
    }
    let allocated = allocations_of(|| {
        for _ in 0..TIMES {
            for counter in 0..MAX_SLOTS {
                vcpu.start(counter, &cycles()).unwrap();
            }
            for counter in 0..MAX_SLOTS {
                vcpu.stop(counter);
            }
            vcpu.cpu_mut().rotate();
        }
    });
    assert_eq!(allocated, 0);
}
