// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An observer that is switched at run time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vcpu_call::VcpuId;
use vpmu::Nanos;
use vpmu::context::{Perf, PerfConfig, PerfObserver, Record};

#[derive(Default)]
struct Switched {
    on: AtomicBool,
    told: AtomicU64,
}

impl PerfObserver for Switched {
    fn looks(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn record(&self, _record: &Record) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn while_nobody_looks_nothing_is_told_and_no_clock_read() {
    let switched = Arc::new(Switched::default());
    let reads = Arc::new(AtomicU64::new(0));
    let clock = {
        let reads = Arc::clone(&reads);
        move || Nanos(reads.fetch_add(1, Ordering::Relaxed))
    };
    let perf = Perf::with_observer(PerfConfig::new(1), clock, Arc::clone(&switched));
    let task = perf.create_task(VcpuId(0)).unwrap();
    let before = reads.load(Ordering::Relaxed);
    perf.migrate(&task, VcpuId(0)).unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), before);
    assert_eq!(switched.told.load(Ordering::Relaxed), 0);

    switched.on.store(true, Ordering::Relaxed);
    perf.migrate(&task, VcpuId(0)).unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), before + 1);
    assert_eq!(switched.told.load(Ordering::Relaxed), 1);
}
