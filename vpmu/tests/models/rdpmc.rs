// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! P07: which counter an index of RDPMC names.

use vpmu::CounterId;

use crate::rig::{Pmi, Rig};
use crate::shapes::{self, counters, is_amd, top};

/// The index of a counter.
fn index(counter: CounterId) -> u32 {
    match counter {
        CounterId::Gp(n) => n.into(),
        CounterId::Fixed(i) => 1 << 30 | u32::from(i),
    }
}

#[test]
fn p07_reads_what_rdmsr_reads() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        for (at, counter) in counters(&model).into_iter().enumerate() {
            rig.set_value(counter, 1_000 * at as u64);
            rig.start(counter, Pmi::None);
        }
        rig.count(5);
        for (at, counter) in counters(&model).into_iter().enumerate() {
            let value = 1_000 * at as u64 + 5;
            let read = rig.pmu.read_pmc(index(counter));
            assert_eq!(read, Some(value), "{model} {counter}");
            assert_eq!(rig.value(counter), value, "{model} {counter}");
        }
    }
}

#[test]
fn p07_every_other_index_faults() {
    for model in shapes::all() {
        let mut rig = Rig::new(model);
        let there: Vec<u32> = counters(&model).into_iter().map(index).collect();
        let low = 0..0x100;
        let single = (0..32).map(|bit| 1 << bit);
        let marked = (8..32).flat_map(|bit| (0..8).map(move |n| 1 << bit | n));
        let fixed_fast = (0..4).map(|i| 0b11 << 30 | i);
        for ecx in low
            .chain(single)
            .chain(marked)
            .chain(fixed_fast)
            .chain([u32::MAX])
        {
            let read = rig.pmu.read_pmc(ecx);
            assert_eq!(
                read.is_some(),
                there.contains(&ecx),
                "{model}: index {ecx:#x}"
            );
        }
    }
}

#[test]
fn p07_bit_30_is_intels() {
    for model in shapes::all().into_iter().filter(is_amd) {
        let mut rig = Rig::new(model);
        for n in 0..8 {
            assert_eq!(rig.pmu.read_pmc(1 << 30 | n), None, "{model}");
        }
    }
}

#[test]
fn p14_rdpmc_holds_a_due_overflow_back() {
    for model in shapes::all() {
        for counter in counters(&model) {
            let mut rig = Rig::new(model);
            rig.set_before(counter, 1);
            rig.start(counter, Pmi::Wanted);
            rig.count(9);
            let read = rig.pmu.read_pmc(index(counter));
            assert_eq!(read, Some(top(&model)), "{model} {counter}");
            rig.enter();
            let read = rig.pmu.read_pmc(index(counter));
            assert_eq!(read, Some(8), "{model} {counter}");
        }
    }
}
