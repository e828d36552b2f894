// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The numbers of the PMU's MSRs, and which MSRs are the PMU's at all.
//!
//! Names and numbers are those of the Intel SDM volume 4, table "IA-32 Architectural MSRs" (and
//! volume 3B, chapter "Performance Monitoring"), and for AMD of the APM volume 2, appendix A
//! ("MSR Cross-Reference") and chapter 13, section "Performance Monitoring Counters".

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

/// IA32_PMC0, the first general-purpose counter; the others follow it. Reset: 0.
pub const IA32_PMC0: MsrId = MsrId(0xC1);
/// IA32_PERFEVTSEL0, the event select of counter 0; the others follow it. Reset: 0. Its bits:
/// [`EventSelect`](crate::EventSelect).
pub const IA32_PERFEVTSEL0: MsrId = MsrId(0x186);
/// IA32_FIXED_CTR0, the first fixed-function counter; the others follow it.
pub const IA32_FIXED_CTR0: MsrId = MsrId(0x309);
/// IA32_PERF_CAPABILITIES; there only if CPUID.01H:ECX.PDCM is set.
pub const IA32_PERF_CAPABILITIES: MsrId = MsrId(0x345);
/// IA32_FIXED_CTR_CTRL, the selects of all fixed-function counters.
pub const IA32_FIXED_CTR_CTRL: MsrId = MsrId(0x38D);
/// IA32_PERF_GLOBAL_STATUS: one bit a counter that overflowed; read-only. Reset: 0.
pub const IA32_PERF_GLOBAL_STATUS: MsrId = MsrId(0x38E);
/// IA32_PERF_GLOBAL_CTRL: one enable bit a counter. Reset: those of all general-purpose counters.
pub const IA32_PERF_GLOBAL_CTRL: MsrId = MsrId(0x38F);
/// IA32_PERF_GLOBAL_OVF_CTRL: a one written here clears that bit of the status. Reads 0.
pub const IA32_PERF_GLOBAL_OVF_CTRL: MsrId = MsrId(0x390);
/// IA32_PERF_GLOBAL_STATUS_SET, from version 4 on: a one written here sets that bit of the status.
pub const IA32_PERF_GLOBAL_STATUS_SET: MsrId = MsrId(0x391);
/// IA32_PERF_GLOBAL_INUSE, from version 4 on: which counters are in use; read-only.
pub const IA32_PERF_GLOBAL_INUSE: MsrId = MsrId(0x392);
/// IA32_DEBUGCTL, of which bit 12 (FREEZE_PERFMON_ON_PMI) is the PMU's.
pub const IA32_DEBUGCTL: MsrId = MsrId(0x1D9);
/// IA32_MISC_ENABLE, of which bits 7, 11 and 12 speak of the PMU.
pub const IA32_MISC_ENABLE: MsrId = MsrId(0x1A0);
/// AMD's PerfCntrGlobalStatus (PerfMonV2): one bit a counter that overflowed.
pub const PERF_CNTR_GLOBAL_STATUS: MsrId = MsrId(0xC000_0300);
/// AMD's PerfCntrGlobalCtl (PerfMonV2): one enable bit a counter.
pub const PERF_CNTR_GLOBAL_CTL: MsrId = MsrId(0xC000_0301);
/// AMD's PerfCntrGlobalStatusClr (PerfMonV2): a one written here clears that bit of the status.
pub const PERF_CNTR_GLOBAL_STATUS_CLR: MsrId = MsrId(0xC000_0302);
/// AMD's PerfCntrGlobalStatusSet (PerfMonV2): a one written here sets that bit of the status.
pub const PERF_CNTR_GLOBAL_STATUS_SET: MsrId = MsrId(0xC000_0303);
/// AMD's PerfEvtSel0, the oldest number of the event select of counter 0; three more follow.
pub const K7_PERF_EVT_SEL0: MsrId = MsrId(0xC001_0000);
/// AMD's PerfCtr0, the oldest number of counter 0; three more follow.
pub const K7_PERF_CTR0: MsrId = MsrId(0xC001_0004);
/// AMD's PERF_CTL0, the event select of counter 0; the others follow at every second number.
pub const PERF_CTL0: MsrId = MsrId(0xC001_0200);
/// AMD's PERF_CTR0, counter 0; the others follow at every second number.
pub const PERF_CTR0: MsrId = MsrId(0xC001_0201);
/// IA32_A_PMC0, the full-width alias of IA32_PMC0; the others follow it.
pub const IA32_A_PMC0: MsrId = MsrId(0x4C1);

/// A row of `count` MSRs that starts at `first`.
///
/// ```
/// use vpmu::{MsrId, MsrRange};
///
/// let counters = MsrRange { first: MsrId(0xC1), count: 4 };
/// assert!(counters.contains(MsrId(0xC4)));
/// assert!(!counters.contains(MsrId(0xC5)));
/// ```
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
/// A VMM routes exactly these to [`VcpuPmu`](crate::VcpuPmu), whatever the vendor of host and guest:
/// what the model does not have then faults as it should (P01 of
/// [`registers`](crate::registers)), instead of being answered by a hypervisor that believes
/// otherwise. Sixteen ranges is what KVM's MSR filter takes.
///
/// Not among them, because they are no part of a core's counters: IA32_DEBUGCTL (1D9H) and the
/// branch records of both vendors; IA32_MISC_ENABLE (1A0H); Intel's C-state residencies (3F8H and
/// above, right behind the PEBS registers); AMD's instruction-based sampling (C001_1030H to
/// C001_103DH), which has a CPUID leaf of its own; and what counts for a whole socket, such as
/// AMD's L3 and northbridge counters (C001_0230H to C001_0247H) and Intel's uncore.
pub const PMU_MSR_RANGES: &[MsrRange] = &[
    // IA32_PMC0-7.
    range(0xC1, 0xC8),
    // IA32_PERFEVTSEL0-7.
    range(0x186, 0x18D),
    // MSR_OFFCORE_RSP_0 and _1: extra bits of two event selects.
    range(0x1A6, 0x1A7),
    // IA32_FIXED_CTR0-15.
    range(0x309, 0x318),
    // MSR_PERF_METRICS.
    range(0x329, 0x329),
    // IA32_PERF_CAPABILITIES.
    range(0x345, 0x345),
    // IA32_FIXED_CTR_CTRL, IA32_PERF_GLOBAL_STATUS, _CTRL, _OVF_CTRL (_STATUS_RESET), _STATUS_SET
    // and _INUSE.
    range(0x38D, 0x392),
    // IA32_PEBS_ENABLE and MSR_PEBS_DATA_CFG.
    range(0x3F1, 0x3F2),
    // IA32_PEBS_BASE, IA32_PEBS_INDEX, MSR_PEBS_LD_LAT and MSR_PEBS_FRONTEND.
    range(0x3F4, 0x3F7),
    // IA32_A_PMC0-7.
    range(0x4C1, 0x4C8),
    // IA32_DS_AREA.
    range(0x600, 0x600),
    // Version 6: four MSRs each for 32 general-purpose counters, then for 16 fixed ones.
    range(0x1900, 0x19BF),
    // PerfCntrGlobalStatus, PerfCntrGlobalCtl, PerfCntrGlobalStatusClr, PerfCntrGlobalStatusSet.
    range(0xC000_0300, 0xC000_0303),
    // PerfEvtSel0-3, PerfCtr0-3: the oldest numbers, still aliases of the next.
    range(0xC001_0000, 0xC001_0007),
    // PERF_CTL0-5 and PERF_CTR0-5, in turn.
    range(0xC001_0200, 0xC001_020B),
];
