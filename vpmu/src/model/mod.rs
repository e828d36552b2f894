// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which PMU the guest sees, and the CPUID leaves that tell it so.

use core::fmt;
use core::str::FromStr;

use crate::event::{Event, EventConfig};
use crate::msr::{self, MsrRange, PMU_MSR_RANGES};

mod builder;
mod cpuid;
mod kind;
mod wire;

pub use builder::{ModelError, PmuModelBuilder};
pub use cpuid::{CpuidLeaf, PmuCpuid};
pub use kind::{PmuKind, Vendor};

/// A PMU as a guest finds it: its kind, the number and width of its counters, its events.
///
/// A value to copy and compare. The constants have what is usual for their kind, and advertise what
/// a clock can count, cycles; [`advertising`](Self::advertising) fits that to another source.
///
/// ```
/// use vpmu::{Event, PmuKind, PmuModel};
///
/// let model: PmuModel = "intel-v2,counters=2,fixed=0".parse()?;
/// assert_eq!(model.kind(), PmuKind::IntelV2);
/// assert_eq!((model.gp_counters(), model.fixed_counters().count()), (2, 0));
/// assert_eq!(model.to_string(), "intel-v2,counters=2,fixed=0");
///
/// let exact = PmuModel::INTEL_V2.advertising(|config| config.event != Event::LlcMisses);
/// assert_eq!(exact.cpuid().leaf_a.ebx, 1 << 4, "all but cache misses");
/// # Ok::<(), vpmu::ModelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "wire::Parts", into = "wire::Parts")
)]
pub struct PmuModel {
    kind: PmuKind,
    gp_counters: u8,
    fixed_counters: u8,
    counter_width: u8,
    full_width_writes: bool,
    /// CPUID.0AH:EBX, which also says which fixed-function counters stand still.
    unavailable_events: u8,
}

impl PmuModel {
    /// [`PmuKind::AmdK7`]: 4 counters of 48 bits.
    pub const AMD_K7: Self = Self::of(PmuKind::AmdK7);
    /// [`PmuKind::AmdCore`]: 6 counters of 48 bits.
    pub const AMD_CORE: Self = Self::of(PmuKind::AmdCore);
    /// [`PmuKind::AmdV2`]: 6 counters of 48 bits.
    pub const AMD_V2: Self = Self::of(PmuKind::AmdV2);
    /// [`PmuKind::IntelV1`]: 4 counters of 48 bits.
    pub const INTEL_V1: Self = Self::of(PmuKind::IntelV1);
    /// [`PmuKind::IntelV2`]: 4 general-purpose and 3 fixed-function counters of 48 bits.
    pub const INTEL_V2: Self = Self::of(PmuKind::IntelV2);
    /// [`PmuKind::IntelV3`]: the same with full-width writes.
    pub const INTEL_V3: Self = Self::of(PmuKind::IntelV3);
    /// [`PmuKind::IntelV4`]: 8 general-purpose and 3 fixed-function counters of 48 bits, full-width
    /// writes.
    pub const INTEL_V4: Self = Self::of(PmuKind::IntelV4);
    /// [`PmuKind::IntelV5`]: the same; a fixed-function counter that cannot count is not there.
    pub const INTEL_V5: Self = Self::of(PmuKind::IntelV5);

    /// Every kind's usual model.
    pub const ALL: &'static [Self] = &[
        Self::AMD_K7,
        Self::AMD_CORE,
        Self::AMD_V2,
        Self::INTEL_V1,
        Self::INTEL_V2,
        Self::INTEL_V3,
        Self::INTEL_V4,
        Self::INTEL_V5,
    ];

    /// How many architectural events leaf 0AH speaks of, one bit each.
    const ARCHITECTURAL_EVENTS: u8 = 7;

    /// The usual model of `kind`.
    pub const fn of(kind: PmuKind) -> Self {
        let (gp_counters, fixed_counters, full_width_writes) = match kind {
            PmuKind::AmdK7 | PmuKind::IntelV1 => (4, 0, false),
            PmuKind::AmdCore | PmuKind::AmdV2 => (6, 0, false),
            PmuKind::IntelV2 => (4, 3, false),
            PmuKind::IntelV3 => (4, 3, true),
            PmuKind::IntelV4 | PmuKind::IntelV5 => (8, 3, true),
        };
        Self {
            kind,
            gp_counters,
            fixed_counters,
            counter_width: 48,
            full_width_writes,
            // All but core cycles (0) and reference cycles (2).
            unavailable_events: 0b111_1010,
        }
    }

    /// A model of `kind` to be changed in part.
    pub const fn builder(kind: PmuKind) -> PmuModelBuilder {
        PmuModelBuilder::new(kind)
    }

    /// The same model for a source that counts what `supports` says: CPUID tells the guest which
    /// architectural events there are, where it has a place for that.
    ///
    /// On Intel's, leaf 0AH masks each event that is not supported. A fixed-function counter without
    /// its event is not there from version 5 on; before, they are numbered without gaps, and it
    /// stands still. AMD masks nothing.
    pub fn advertising(self, supports: impl Fn(&EventConfig) -> bool) -> Self {
        let mut unavailable_events = 0;
        for (bit, event) in Event::ARCHITECTURAL.iter().enumerate() {
            if !supports(&EventConfig::everywhere(*event)) {
                unavailable_events |= 1 << bit;
            }
        }
        Self {
            unavailable_events,
            ..self
        }
    }

    /// Which generation of which vendor's.
    pub const fn kind(&self) -> PmuKind {
        self.kind
    }

    /// The kind's name, such as `intel-v2`; the model in full is what it displays as.
    pub const fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// All parts of the model, the events that it advertises included.
    pub(crate) fn in_full(&self) -> impl fmt::Display + use<> {
        wire::InFull(*self)
    }

    /// Whose it is.
    pub const fn vendor(&self) -> Vendor {
        self.kind.vendor()
    }

    /// How many general-purpose counters there are, 1 to 8.
    pub const fn gp_counters(&self) -> usize {
        self.gp_counters as usize
    }

    /// The numbers of the fixed-function counters that there are, in order.
    pub fn fixed_counters(&self) -> impl Iterator<Item = usize> + use<> {
        let bitmap = self.fixed_bitmap();
        (0..u8::BITS as usize).filter(move |n| bitmap & 1 << n != 0)
    }

    /// A bit for each fixed-function counter that there is.
    pub(crate) const fn fixed_bitmap(&self) -> u8 {
        let all = (1 << self.fixed_counters) - 1;
        match self.kind {
            // The events of the fixed-function counters are bits 1, 0 and 2 of leaf 0AH.
            PmuKind::IntelV5 => {
                let unavailable = self.unavailable_events;
                let gone = (unavailable >> 1 & 1) | (unavailable & 1) << 1 | (unavailable & 1 << 2);
                all & !gone
            }
            _ => all,
        }
    }

    /// How many bits a counter has, 32 to 63.
    pub const fn counter_width(&self) -> u32 {
        self.counter_width as u32
    }

    /// Whether there are IA32_A_PMCx and, to say so, IA32_PERF_CAPABILITIES.
    pub const fn full_width_writes(&self) -> bool {
        self.full_width_writes
    }

    /// Whether there are AMD's counters at C001_0200H.
    pub(crate) const fn has_amd_core_counters(&self) -> bool {
        matches!(self.kind, PmuKind::AmdCore | PmuKind::AmdV2)
    }

    /// Whether there are AMD's global control and status.
    pub(crate) const fn has_amd_global_registers(&self) -> bool {
        matches!(self.kind, PmuKind::AmdV2)
    }

    /// Whether the model has an IA32_DEBUGCTL of which the PMU has to know.
    pub(crate) const fn has_debugctl(&self) -> bool {
        matches!(self.kind.version(), Some(2..))
    }

    /// The MSRs that a VMM has to route to [`VcpuPmu`](crate::VcpuPmu): [`PMU_MSR_RANGES`], and
    /// IA32_DEBUGCTL where the PMU can freeze. Sorted, without overlap, at most 16 ranges.
    pub fn msr_ranges(&self) -> impl Iterator<Item = MsrRange> + use<> {
        let debugctl = self.has_debugctl().then_some(MsrRange {
            first: msr::IA32_DEBUGCTL,
            count: 1,
        });
        let below = |range: &&MsrRange| range.first < msr::IA32_DEBUGCTL;
        let above = |range: &&MsrRange| range.first > msr::IA32_DEBUGCTL;
        PMU_MSR_RANGES
            .iter()
            .filter(below)
            .copied()
            .chain(debugctl)
            .chain(PMU_MSR_RANGES.iter().filter(above).copied())
    }

    /// What IA32_MISC_ENABLE says of the PMU: the bits to set or clear, and their values (P29 of
    /// [`registers`](crate::registers)). The VMM sets them once; AMD has no such register, so there are
    /// none.
    ///
    /// Bit 7 is set, performance monitoring is there; so are bits 11 and 12, branch trace storage and
    /// PEBS are not (SDM volume 4, table "IA-32 Architectural MSRs").
    ///
    /// ```
    /// assert_eq!(vpmu::PmuModel::INTEL_V2.misc_enable(), (0x1880, 0x1880));
    /// assert_eq!(vpmu::PmuModel::AMD_V2.misc_enable(), (0, 0));
    /// ```
    pub const fn misc_enable(&self) -> (u64, u64) {
        const PERFMON_AVAILABLE: u64 = 1 << 7;
        const BTS_UNAVAILABLE: u64 = 1 << 11;
        const PEBS_UNAVAILABLE: u64 = 1 << 12;
        let bits = PERFMON_AVAILABLE | BTS_UNAVAILABLE | PEBS_UNAVAILABLE;
        match self.vendor() {
            Vendor::Intel => (bits, bits),
            Vendor::Amd => (0, 0),
        }
    }

    /// Whether delivering a PMI sets the mask bit of the LVTPC.
    ///
    /// Intel's local APIC does that when it handles the PMI, and only software clears it (SDM volume
    /// 3A, "Local Vector Table", mask flag). AMD's does not, and a guest that believes itself on AMD
    /// never clears it.
    pub const fn masks_lvtpc_on_pmi(&self) -> bool {
        matches!(self.vendor(), Vendor::Intel)
    }
}

impl fmt::Display for PmuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Self::of(self.kind);
        f.write_str(self.kind.name())?;
        let numbers = [
            ("counters", self.gp_counters, usual.gp_counters),
            ("fixed", self.fixed_counters, usual.fixed_counters),
            ("width", self.counter_width, usual.counter_width),
        ];
        for (name, value, usual) in numbers {
            if value != usual {
                write!(f, ",{name}={value}")?;
            }
        }
        if self.full_width_writes != usual.full_width_writes {
            let on = if self.full_width_writes { "on" } else { "off" };
            write!(f, ",full-width={on}")?;
        }
        Ok(())
    }
}

impl FromStr for PmuModel {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default().parse()?;
        let mut builder = Self::builder(kind);
        for part in parts {
            let (name, value) = part.split_once('=').ok_or(ModelError::Syntax)?;
            let number = || value.parse().map_err(|_| ModelError::Syntax);
            builder = match (name, value) {
                ("counters", _) => builder.counters(number()?),
                ("fixed", _) => builder.fixed(number()?),
                ("width", _) => builder.width(number()?),
                ("full-width", "on") => builder.full_width_writes(true),
                ("full-width", "off") => builder.full_width_writes(false),
                _ => return Err(ModelError::Syntax),
            };
        }
        builder.build()
    }
}
