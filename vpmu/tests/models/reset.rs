// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P34: power-up, RESET and the return of a vCPU.

use vpmu::{CounterId, PmiOutcome, PmuModel};

use crate::rig::{DEBUGCTL, FREEZE, Pmi, Rig};
use crate::shapes::{self, INTEL_FROM_V2, bits, counters, has_globals, has_status_set, slot};
use crate::table::registers;

/// A PMU with something in every register: all counters running with INT, all overflows due once and
/// shown, then due again.
fn busy(model: PmuModel) -> Rig {
    let mut rig = Rig::new(model);
    for counter in counters(&model) {
        rig.set_before(counter, 5);
        rig.start(counter, Pmi::Wanted);
    }
    rig.count(6);
    rig.enter();
    for counter in counters(&model) {
        rig.set_before(counter, 5);
    }
    rig.count(6);
    if shapes::INTEL_FROM_V2.contains(&model.kind()) {
        rig.write(DEBUGCTL, FREEZE);
    }
    rig
}

#[test]
fn p34_every_register_is_at_its_reset_value() {
    for model in shapes::all() {
        let mut rig = busy(model);
        let changed = registers(&model)
            .iter()
            .filter(|register| rig.read(register.msr) != register.reset)
            .count();
        assert!(changed >= 2 * counters(&model).len().min(4), "{model}");
        rig.pmu.reset();
        for register in registers(&model) {
            assert_eq!(
                rig.read(register.msr),
                register.reset,
                "{model}: {}",
                register.name
            );
        }
    }
}

#[test]
fn p34_counters_are_stopped_and_nothing_is_pending() {
    for model in shapes::all() {
        let mut rig = busy(model);
        rig.pmu.reset();
        assert!(!rig.pmu.counting(), "{model}");
        for counter in counters(&model) {
            let running = rig.pmu.source().running(slot(counter));
            assert_eq!(running, None, "{model} {counter}");
        }
        let asked = rig.apic.asked;
        for counter in counters(&model) {
            rig.start(counter, Pmi::Wanted);
        }
        let entry = rig.enter();
        assert_eq!((entry.pmi, rig.apic.asked), (None, asked), "{model}");
        rig.count(9);
        for counter in counters(&model) {
            assert_eq!(rig.value(counter), 9, "{model} {counter}");
        }
    }
}

#[test]
fn p34_an_asked_pmi_is_gone() {
    for model in shapes::all().into_iter().filter(has_status_set) {
        let mut rig = Rig::new(model);
        for counter in counters(&model) {
            rig.start(counter, Pmi::Wanted);
        }
        rig.set_status(bits(&model));
        rig.pmu.reset();
        assert_eq!(rig.enter().pmi, None, "{model}");
        for counter in counters(&model) {
            rig.start(counter, Pmi::Wanted);
        }
        assert_eq!(rig.enter().pmi, None, "{model}");
    }
}

#[test]
fn p34_statistics_stay() {
    for model in shapes::all() {
        let mut rig = busy(model);
        let first = rig.value(CounterId::Gp(0));
        assert_eq!(first, shapes::top(&model), "{model}: it holds an overflow");
        let before = *rig.pmu.stats();
        rig.pmu.reset();
        let after = *rig.pmu.stats();
        assert_eq!(
            (after.overflows, after.pmis, after.skid),
            (before.overflows, before.pmis, before.skid),
            "{model}"
        );
        assert!(after.pmis > 0 && after.overflows > 0, "{model}");
    }
}

#[test]
fn p34_a_freeze_is_over() {
    for model in shapes::of(&INTEL_FROM_V2) {
        let mut rig = busy(model);
        assert_eq!(rig.enter().pmi, Some(PmiOutcome::Nmi), "{model}");
        assert!(!rig.pmu.counting(), "{model}: frozen");
        rig.pmu.reset();
        rig.start(CounterId::Gp(0), Pmi::Wanted);
        rig.set_before(CounterId::Gp(0), 1);
        rig.count(1);
        assert!(rig.enter().pmi.is_some(), "{model}");
        assert!(rig.pmu.counting(), "{model}: DEBUGCTL was reset, too");
    }
}

#[test]
fn p34_a_new_pmu_is_in_its_reset_state() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let fresh: Vec<_> = registers(&model)
            .iter()
            .map(|register| rig.read(register.msr))
            .collect();
        let resets: Vec<_> = registers(&model)
            .iter()
            .map(|register| register.reset)
            .collect();
        assert_eq!(fresh, resets, "{model}");
        if has_globals(&model) {
            assert_eq!(rig.control(), shapes::gp_bits(&model), "{model}");
        }
    }
}
