// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which WRMSR makes the RDPMC trap worth its price.
//!
//! A guest that enables nothing keeps its debug registers. From the first thing that it enables on it
//! may read a counter by RDPMC at any time, also one that it has disabled again.

use vpmu::EventSelect;
use vpmu::msr::{
    IA32_FIXED_CTR_CTRL, IA32_PERF_GLOBAL_CTRL, IA32_PERFEVTSEL0, K7_PERF_EVT_SEL0, MsrId,
    MsrRange, PERF_CNTR_GLOBAL_CTL, PERF_CTL0,
};

/// Event selects in a row.
const SELECTS: [MsrRange; 2] = [
    MsrRange {
        first: IA32_PERFEVTSEL0,
        count: 8,
    },
    MsrRange {
        first: K7_PERF_EVT_SEL0,
        count: 4,
    },
];
/// AMD's PERF_CTLn and PERF_CTRn take turns.
const CORE_PAIRS: MsrRange = MsrRange {
    first: PERF_CTL0,
    count: 12,
};
/// Whose bits enable counters.
const CONTROLS: [MsrId; 3] = [
    IA32_FIXED_CTR_CTRL,
    IA32_PERF_GLOBAL_CTRL,
    PERF_CNTR_GLOBAL_CTL,
];

/// Whether a WRMSR that the PMU took may have enabled a counter. By its number alone: what the model
/// does not have has not been taken.
pub(crate) fn enables(msr: MsrId, value: u64) -> bool {
    let in_row = SELECTS.iter().any(|row| row.contains(msr));
    let core_select = CORE_PAIRS.contains(msr) && (msr.0 - CORE_PAIRS.first.0).is_multiple_of(2);
    if in_row || core_select {
        return EventSelect(value).enabled();
    }
    CONTROLS.contains(&msr) && value != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use vpmu::PmuModel;

    const EN: u64 = EventSelect::EN;

    #[test]
    fn every_select_enables_by_its_enable_bit() {
        let selects = (0x186..=0x18d)
            .chain(0xc001_0000..=0xc001_0003)
            .chain((0xc001_0200..=0xc001_020a).step_by(2));
        for msr in selects.map(MsrId) {
            assert!(enables(msr, EN | 0x3c), "{msr:?}");
            assert!(!enables(msr, !EN), "{msr:?}");
        }
    }

    #[test]
    fn a_control_enables_by_any_bit() {
        for msr in [0x38d, 0x38f, 0xc000_0301].map(MsrId) {
            assert!(enables(msr, 1) && enables(msr, 1 << 35), "{msr:?}");
            assert!(!enables(msr, 0), "{msr:?}");
        }
    }

    #[test]
    fn nothing_else_of_a_pmu_enables() {
        let enabling = |msr: &MsrId| enables(*msr, u64::MAX);
        for model in PmuModel::ALL {
            let all = model.msr_ranges();
            let all = all.flat_map(|range| (0..range.count).map(move |n| range.first.0 + n));
            assert_eq!(all.map(MsrId).filter(enabling).count(), 8 + 4 + 6 + 3);
        }
    }
}
