// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What CPUID says of a model.

use super::PmuModel;

/// What CPUID returns for one leaf.
///
/// ```
/// let leaf = vpmu::PmuModel::INTEL_V2.cpuid().leaf_a;
/// assert_eq!(leaf, vpmu::CpuidLeaf { eax: 0x0730_0402, ebx: 0x7A, ecx: 0, edx: 0x603 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CpuidLeaf {
    /// EAX as CPUID leaves it.
    pub eax: u32,
    /// EBX as CPUID leaves it.
    pub ebx: u32,
    /// ECX as CPUID leaves it.
    pub ecx: u32,
    /// EDX as CPUID leaves it.
    pub edx: u32,
}

/// Everything that CPUID says of a PMU. A guest without one has the default: nothing.
///
/// ```
/// use vpmu::{PmuCpuid, PmuModel};
///
/// let cpuid = PmuModel::AMD_V2.cpuid();
/// assert!(cpuid.perfctr_core);
/// assert_eq!((cpuid.leaf_8000_0022.eax, cpuid.leaf_8000_0022.ebx), (1, 6));
/// assert_eq!(cpuid.leaf_a, Default::default(), "that is Intel's");
/// assert_eq!(PmuCpuid::default().leaf_8000_0022.eax, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PmuCpuid {
    /// CPUID.01H:ECX\[15\], PDCM: there is IA32_PERF_CAPABILITIES.
    pub pdcm: bool,
    /// Leaf 0AH, "Architectural Performance Monitoring" (SDM volume 2A, CPUID).
    ///
    /// EAX holds version, number of general-purpose counters, their width and the number of valid
    /// bits in EBX, from the lowest byte up. A set bit of EBX says that this architectural event is
    /// *not* available. EDX numbers the fixed-function counters (bits 4:0) and says how wide they are
    /// (12:5) and that AnyThread is gone (15); from version 5 on ECX has a bit for each of them.
    pub leaf_a: CpuidLeaf,
    /// Fn8000_0001_ECX\[23\], PerfCtrExtCore: there are the counters at C001_0200H (APM volume 3,
    /// appendix E).
    pub perfctr_core: bool,
    /// Fn8000_0022, "Extended Performance Monitoring and Debug" (APM volume 3, appendix E): EAX\[0\]
    /// is PerfMonV2, EBX\[3:0\] the number of core counters.
    pub leaf_8000_0022: CpuidLeaf,
}

/// EDX of leaf 0AH: AnyThread is deprecated.
const ANY_THREAD_GONE: u32 = 1 << 15;

impl PmuModel {
    /// What CPUID says of this model.
    pub const fn cpuid(&self) -> PmuCpuid {
        let mut cpuid = PmuCpuid {
            pdcm: self.full_width_writes,
            leaf_a: CpuidLeaf {
                eax: 0,
                ebx: 0,
                ecx: 0,
                edx: 0,
            },
            perfctr_core: false,
            leaf_8000_0022: CpuidLeaf {
                eax: 0,
                ebx: 0,
                ecx: 0,
                edx: 0,
            },
        };
        match self.kind.version() {
            Some(version) => cpuid.leaf_a = self.leaf_a(version),
            None => {
                cpuid.perfctr_core = self.has_amd_core_counters();
                if self.has_amd_global_registers() {
                    cpuid.leaf_8000_0022.eax = 1;
                    cpuid.leaf_8000_0022.ebx = self.gp_counters as u32;
                }
            }
        }
        cpuid
    }

    const fn leaf_a(&self, version: u8) -> CpuidLeaf {
        let width = self.counter_width as u32;
        let fixed = self.fixed_bitmap();
        // Version 5 has a counter if its bit is set, or if it is one of the first so many.
        let (contiguous, bitmap) = if version < 5 {
            (self.fixed_counters as u32, 0)
        } else if fixed.trailing_ones() == u8::BITS - fixed.leading_zeros() {
            (fixed.trailing_ones(), fixed as u32)
        } else {
            (0, fixed as u32)
        };
        let fixed_width = if fixed == 0 { 0 } else { width };
        let any_thread = if version < 5 { 0 } else { ANY_THREAD_GONE };
        CpuidLeaf {
            eax: version as u32
                | (self.gp_counters as u32) << 8
                | width << 16
                | (Self::ARCHITECTURAL_EVENTS as u32) << 24,
            ebx: self.unavailable_events as u32,
            ecx: bitmap,
            edx: if version < 2 {
                0
            } else {
                contiguous | fixed_width << 5 | any_thread
            },
        }
    }
}
