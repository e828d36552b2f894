// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What only a source on Linux has: events that come back, filters, threads, signals.

// Real threads, as only real ones are counted by Linux.
#![allow(clippy::disallowed_methods)]

use std::convert::Infallible;
use std::thread;

use vpmu::msr::MsrId;
use vpmu::source::host::HostSource;
use vpmu::{
    CounterSource, EventConfig, EventSelect, MsrRead, MsrWrite, Nanos, NotCounted, PmiOutcome,
    PmiSink, PmuModel, VcpuPmu, Wake,
};

use super::Host;
use crate::contract::{Rig, rig};

/// PERF_CTL0 and PERF_CTR0.
const PERF_CTL0: MsrId = MsrId(0xC001_0200);
const PERF_CTR0: MsrId = MsrId(0xC001_0201);

#[test]
fn what_was_counted_before_is_not_opened_again() {
    let Some(mut rig) = rig::<Host>() else { return };
    let clock = EventConfig::everywhere(HostSource::TASK_CLOCK);
    for _ in 0..10 {
        rig.start(0);
        rig.advance(3);
        assert_eq!(rig.take(0), 3);
        assert_eq!(rig.source().start(0, &clock), Ok(()));
        rig.advance(1);
        assert!(rig.take(0) > 0);
    }
    let stats = rig.source().stats();
    assert_eq!((stats.opened, stats.reused), (2, 18));
    assert_eq!((stats.refused, stats.stood_still), (0, 0));
}

#[test]
fn a_clock_of_the_thread_moves_in_the_guest_alone() {
    let Some(mut rig) = rig::<Host>() else { return };
    let clock = EventConfig::everywhere(HostSource::TASK_CLOCK);
    assert_eq!(rig.source().start(0, &clock), Ok(()));
    rig.outside();
    assert_eq!(rig.take(0), 0);
    rig.advance(10);
    assert!(rig.take(0) > 0);
    assert_eq!(rig.take(0), 0);
}

#[test]
fn s4_levels_are_kept_apart() {
    let Some(mut rig) = rig::<Host>() else { return };
    let user = Host::COUNTED;
    let kernel = EventConfig {
        usr: false,
        os: true,
        ..user
    };
    let nowhere = EventConfig { usr: false, ..user };
    if !rig.source().supports(&kernel) {
        eprintln!("SKIPPED: this host counts no kernel for us");
        return;
    }
    for (slot, config) in [user, kernel, nowhere].iter().enumerate() {
        assert_eq!(rig.source().start(slot, config), Ok(()));
    }
    rig.advance(7);
    assert_eq!([0, 1, 2].map(|slot| rig.take(slot)), [7, 0, 0]);
}

#[test]
fn an_overflow_is_one_signal() {
    let Some(mut rig) = rig::<Host>() else { return };
    rig.start(0);
    assert_eq!(rig.source().arm(0, 5), Wake::BySource);
    let mut left = 4;
    rig.touch(|_| {
        left -= 1;
        left >= 0
    });
    assert_eq!(rig.kicks.take(), 0, "before the overflow");
    assert_eq!(rig.take(0), 4);
    assert_eq!(rig.source().arm(0, 1), Wake::BySource, "the same overflow");
    rig.run(Wake::BySource);
    let past = rig.take(0);
    assert!(past >= 1);
    let mut left = 100;
    rig.touch(|_| {
        left -= 1;
        left >= 0
    });
    assert_eq!(rig.kicks.take(), 0, "taken: none after it");
    assert_eq!(rig.take(0), 100);
}

#[test]
fn a_source_moves_with_its_vcpu_to_another_thread() {
    let Some(mut rig) = rig::<Host>() else { return };
    rig.start(0);
    rig.advance(3);
    assert_eq!(rig.take(0), 3);
    let mut source = rig.source;
    let moved = thread::spawn(move || {
        assert_eq!(
            source.start(1, &Host::COUNTED),
            Err(NotCounted),
            "slot 0 runs there"
        );
        source.stop(0);
        let mut rig = Host {
            source,
            ..rig_here()
        };
        rig.start(0);
        rig.advance(5);
        assert_eq!(rig.take(0), 5);
        let wake = rig.source().arm(0, 4);
        rig.run(wake);
        assert!(rig.take(0) >= 4, "the signal comes here");
    });
    moved.join().unwrap();
}

/// A rig on a thread where there is one for certain.
fn rig_here() -> Host {
    rig().expect("there was one on another thread")
}

/// A local APIC that takes every PMI.
#[derive(Default)]
struct Apic {
    pmis: u32,
}

impl PmiSink for Apic {
    type Error = Infallible;

    fn pmi(&mut self, _model: PmuModel) -> Result<PmiOutcome, Infallible> {
        self.pmis += 1;
        Ok(PmiOutcome::Nmi)
    }
}

/// The whole way: a guest programs a counter, faults, is called back, and gets its PMI.
#[test]
fn p14_a_signal_of_the_host_becomes_a_pmi() {
    let Some(Host {
        source,
        mut pages,
        kicks,
    }) = rig::<Host>()
    else {
        return;
    };
    let mut pmu = VcpuPmu::new(PmuModel::AMD_CORE, source);
    pmu.set_min_rearm(Nanos(0));
    let mut apic = Apic::default();
    let faults = 0x02FF | EventSelect::USR | EventSelect::EN | EventSelect::INT;
    assert_eq!(pmu.write_msr(PERF_CTL0, faults), MsrWrite::Done);
    for round in 1..=5 {
        let before_overflow = (1 << 48) - 20;
        assert_eq!(pmu.write_msr(PERF_CTR0, before_overflow), MsrWrite::Done);
        let mut touched = 0;
        while apic.pmis < round {
            let entry = pmu.enter_guest(Nanos(0), &mut apic).unwrap();
            assert_eq!(entry.recheck, None, "the source sees to it");
            while apic.pmis < round && kicks.take() == 0 {
                pages.touch();
                touched += 1;
                assert!(touched < super::pages::MANY, "nobody is called back");
            }
            pmu.exit_guest();
        }
        let MsrRead::Value(past) = pmu.read_msr(PERF_CTR0) else {
            panic!("there is a counter 0");
        };
        assert_eq!(past + 20, u64::from(touched), "no fault is lost");
    }
    assert_eq!(pmu.stats().overflows, 5);
}
