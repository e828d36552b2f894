// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which PMU the guest sees, and the CPUID leaf that tells it so.

use core::fmt;
use core::str::FromStr;

use crate::EventSelect;

/// Why a PMU model was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No model has this name.
    #[error("Unknown PMU model (known: intel-v2)")]
    Unknown,
}

/// What CPUID returns for one leaf.
///
/// ```
/// let leaf = vpmu::PmuModel::INTEL_V2.cpuid_leaf_a();
/// assert_eq!(leaf, vpmu::CpuidLeaf { eax: 0x0730_0402, ebx: 0x7A, ecx: 0, edx: 0 });
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

/// A PMU as a guest finds it: its version, the number and width of its counters, its events.
///
/// ```
/// use vpmu::PmuModel;
///
/// let model: PmuModel = "intel-v2".parse()?;
/// assert_eq!(model, PmuModel::INTEL_V2);
/// assert_eq!(model.gp_counters(), 4);
/// assert_eq!(model.cpuid_leaf_a().eax & 0xFF, 2, "architectural version");
/// # Ok::<(), vpmu::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuModel {
    name: &'static str,
    version: u8,
    gp_counters: u8,
    counter_width: u8,
    /// CPUID.0AH:EBX. Clear bits: core cycles (0) and reference cycles (2).
    unavailable_events: u32,
    events_length: u8,
}

impl PmuModel {
    /// Intel architectural performance monitoring version 2 with four general-purpose counters of
    /// 48 bits and no fixed ones.
    ///
    /// CPUID offers the two events that a clock can count, core cycles and reference cycles.
    pub const INTEL_V2: Self = Self {
        name: "intel-v2",
        version: 2,
        gp_counters: 4,
        counter_width: 48,
        unavailable_events: 0b111_1010,
        events_length: 7,
    };

    /// Every model there is.
    pub const ALL: &'static [Self] = &[Self::INTEL_V2];

    /// The name on a command line, such as `intel-v2`; what [`FromStr`] takes.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// How many general-purpose counters there are, 1 to 8.
    pub const fn gp_counters(&self) -> usize {
        self.gp_counters as usize
    }

    /// How many bits a counter has, 32 to 63.
    pub const fn counter_width(&self) -> u32 {
        self.counter_width as u32
    }

    /// CPUID leaf 0AH, "Architectural Performance Monitoring" (SDM volume 2A, CPUID; volume 3B,
    /// "Architectural Performance Monitoring").
    ///
    /// EAX holds version, number of general-purpose counters, their width and the number of valid
    /// bits in EBX, from the lowest byte up. A set bit of EBX says that this architectural event is
    /// *not* available. EDX would number the fixed counters: there are none. A guest without a PMU
    /// gets all zeroes instead ([`CpuidLeaf::default`]).
    pub const fn cpuid_leaf_a(&self) -> CpuidLeaf {
        CpuidLeaf {
            eax: self.version as u32
                | (self.gp_counters as u32) << 8
                | (self.counter_width as u32) << 16
                | (self.events_length as u32) << 24,
            ebx: self.unavailable_events,
            ecx: 0,
            edx: 0,
        }
    }

    /// The bits of IA32_PERFEVTSELx that may not be set (P03 of [`registers`](crate::registers)).
    pub(crate) const fn event_select_reserved(&self) -> u64 {
        let any_thread = if self.version < 3 {
            EventSelect::ANY_THREAD
        } else {
            0
        };
        0xFFFF_FFFF_0000_0000 | any_thread
    }

    /// Whether delivering a PMI sets the mask bit of the LVTPC.
    ///
    /// Intel's local APIC does that when it handles the PMI, and only software clears it (SDM volume
    /// 3A, "Local Vector Table", mask flag). AMD's does not, and a guest that believes itself on AMD
    /// never clears it.
    pub const fn masks_lvtpc_on_pmi(&self) -> bool {
        true
    }
}

impl fmt::Display for PmuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name)
    }
}

impl FromStr for PmuModel {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        Self::ALL
            .iter()
            .find(|model| model.name == name)
            .copied()
            .ok_or(ModelError::Unknown)
    }
}
