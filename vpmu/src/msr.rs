// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The numbers of the PMU's MSRs, and which MSRs are the PMU's at all.
//!
//! Names and numbers are those of the Intel SDM volume 4, table "IA-32 Architectural MSRs", and
//! for AMD of the APM volume 2, appendix A ("MSR Cross-Reference") and section 13.2
//! ("Performance Monitoring Counters").

/// The number of a model-specific register: what RDMSR and WRMSR take in ECX.
///
/// ```
/// use vpmu::msr::{self, MsrId};
///
/// assert_eq!(msr::IA32_PERFEVTSEL0.nth(2), MsrId(0x188));
/// assert!(msr::IA32_PERF_GLOBAL_CTRL.is_pmu());
/// assert!(!MsrId(0x10).is_pmu(), "the time-stamp counter is no part of the PMU");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsrId(pub u32);

impl MsrId {
    /// The register `n` after this one, for registers that come in rows. Wraps around at 2^32.
    pub const fn nth(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// Whether this register belongs to a PMU, of either vendor: see [`PMU_MSR_RANGES`].
    pub fn is_pmu(self) -> bool {
        PMU_MSR_RANGES.iter().any(|range| range.contains(self))
    }
}

/// IA32_PMC0, the first general-purpose counter; the others follow it.
pub const IA32_PMC0: MsrId = MsrId(0xC1);
/// IA32_PERFEVTSEL0, the event select of counter 0; the others follow it.
pub const IA32_PERFEVTSEL0: MsrId = MsrId(0x186);
/// IA32_FIXED_CTR0, the first fixed-function counter; the others follow it.
pub const IA32_FIXED_CTR0: MsrId = MsrId(0x309);
/// IA32_PERF_CAPABILITIES.
pub const IA32_PERF_CAPABILITIES: MsrId = MsrId(0x345);
/// IA32_FIXED_CTR_CTRL.
pub const IA32_FIXED_CTR_CTRL: MsrId = MsrId(0x38D);
/// IA32_PERF_GLOBAL_STATUS: one bit a counter that overflowed; read-only.
pub const IA32_PERF_GLOBAL_STATUS: MsrId = MsrId(0x38E);
/// IA32_PERF_GLOBAL_CTRL: one enable bit a counter.
pub const IA32_PERF_GLOBAL_CTRL: MsrId = MsrId(0x38F);
/// IA32_PERF_GLOBAL_OVF_CTRL: a one written here clears that bit of the status.
pub const IA32_PERF_GLOBAL_OVF_CTRL: MsrId = MsrId(0x390);
/// IA32_A_PMC0, the full-width alias of IA32_PMC0; the others follow it.
pub const IA32_A_PMC0: MsrId = MsrId(0x4C1);

/// A row of `count` MSRs that starts at `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MsrRange {
    /// The first register of the row.
    pub first: MsrId,
    /// How many there are; never 0 in [`PMU_MSR_RANGES`].
    pub count: u32,
}

impl MsrRange {
    /// Whether `msr` is in the row.
    pub const fn contains(&self, msr: MsrId) -> bool {
        msr.0 >= self.first.0 && msr.0 - self.first.0 < self.count
    }
}

const fn range(first: u32, last: u32) -> MsrRange {
    MsrRange {
        first: MsrId(first),
        count: last - first + 1,
    }
}

/// Every MSR of a core's PMU, Intel's and AMD's: sorted, without overlap, at most 16 ranges.
///
/// A VMM routes exactly these to [`VcpuPmu`](crate::VcpuPmu). Sixteen is what KVM's MSR filter
/// takes, hence the limit.
pub const PMU_MSR_RANGES: &[MsrRange] = &[
    range(0xC1, 0xC8),
    range(0x186, 0x18D),
    range(0x1A6, 0x1A7),
    range(0x309, 0x318),
    range(0x329, 0x329),
    range(0x345, 0x345),
    range(0x38D, 0x392),
    range(0x3F1, 0x3F2),
    range(0x3F4, 0x3F7),
    range(0x4C1, 0x4C8),
    range(0x600, 0x600),
    range(0x1900, 0x19BF),
    range(0xC000_0300, 0xC000_0303),
    range(0xC001_0000, 0xC001_0007),
    range(0xC001_0200, 0xC001_020B),
];
