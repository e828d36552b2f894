// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Which PMU this machine has, as CPUID says, and the numbers of its MSRs: for kernels that run on
//! any. The others know theirs: see [`crate::pmu`].

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::{Cpuid, cpuid};
use crate::fail;
use crate::text::Text;

/// Whose PMU, and which generation of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// AMD's four counters at C001_0000H.
    AmdK7,
    /// AMD's six counters at C001_0200H.
    AmdCore,
    /// AMD's PerfMonV2.
    AmdV2,
    /// Intel's architectural PMU, of this version.
    Intel(u32),
}

/// A PMU, as far as software can find out about it without touching it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// The generation.
    pub kind: Kind,
    /// General-purpose counters.
    pub counters: u32,
    /// A bit for each fixed-function counter that there is.
    pub fixed: u32,
    /// Bits of a counter.
    pub width: u32,
    /// Whether there is IA32_PERF_CAPABILITIES, and with it IA32_A_PMCx.
    pub full_width: bool,
    /// A bit for each architectural event that can be counted, as in leaf 0xA; AMD's guests are
    /// not told.
    pub events: u32,
}

/// Core cycles among the architectural events.
pub const CORE_CYCLES: u32 = 1 << 0;
/// Instructions retired.
pub const INSTRUCTIONS: u32 = 1 << 1;
/// Reference cycles.
pub const REF_CYCLES: u32 = 1 << 2;

/// MSRs that Intel's and AMD's guests know.
#[expect(missing_docs, reason = "the manuals' names")]
pub mod msr {
    pub const PMC0: u32 = 0xc1;
    pub const PERFEVTSEL0: u32 = 0x186;
    pub const DEBUGCTL: u32 = 0x1d9;
    pub const FIXED_CTR0: u32 = 0x309;
    pub const PERF_CAPABILITIES: u32 = 0x345;
    pub const FIXED_CTR_CTRL: u32 = 0x38d;
    pub const GLOBAL_STATUS: u32 = 0x38e;
    pub const GLOBAL_CTRL: u32 = 0x38f;
    pub const GLOBAL_OVF_CTRL: u32 = 0x390;
    pub const GLOBAL_STATUS_SET: u32 = 0x391;
    pub const GLOBAL_INUSE: u32 = 0x392;
    pub const A_PMC0: u32 = 0x4c1;
    pub const AMD_GLOBAL_STATUS: u32 = 0xc000_0300;
    pub const AMD_GLOBAL_CTL: u32 = 0xc000_0301;
    pub const AMD_GLOBAL_STATUS_CLR: u32 = 0xc000_0302;
    pub const AMD_GLOBAL_STATUS_SET: u32 = 0xc000_0303;
    pub const K7_EVT_SEL0: u32 = 0xc001_0000;
    pub const K7_CTR0: u32 = 0xc001_0004;
    pub const AMD_CTL0: u32 = 0xc001_0200;
    pub const AMD_CTR0: u32 = 0xc001_0201;
}

/// The registers of all counters in one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Globals {
    /// Which counters overflowed.
    pub status: u32,
    /// Which counters are enabled.
    pub control: u32,
    /// Clears bits of the status.
    pub clear: u32,
    /// Sets bits of the status, if there is such a register.
    pub set: Option<u32>,
}

impl Model {
    /// What CPUID says, on this CPU.
    ///
    /// # Errors
    /// What of it makes no sense.
    pub fn from_cpuid() -> Result<Self, Text> {
        let leaf = cpuid(0, 0);
        let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
        match vendor.as_flattened() {
            b"GenuineIntel" => Self::intel(),
            b"AuthenticAMD" | b"HygonGenuine" => Self::amd(),
            other => fail!(
                "the vendor is {}",
                core::str::from_utf8(other).unwrap_or("(no text)")
            ),
        }
    }

    fn intel() -> Result<Self, Text> {
        let leaf = leaf(0xa);
        let [version, counters, width, events] = leaf.eax.to_le_bytes().map(u32::from);
        if version == 0 || events > 31 {
            fail!("leaf 0xA EAX is {:#x}", leaf.eax);
        }
        let contiguous = (1 << (leaf.edx & 0x1f)) - 1;
        let fixed = match version {
            1 => 0,
            2..=4 => contiguous,
            _ => contiguous | leaf.ecx,
        };
        let fixed_width = leaf.edx >> 5 & 0xff;
        if fixed != 0 && fixed_width != width {
            fail!("fixed counters of {fixed_width} bits, others of {width}");
        }
        Ok(Self {
            kind: Kind::Intel(version),
            counters,
            fixed,
            width,
            full_width: cpuid(1, 0).ecx & 1 << 15 != 0,
            events: !leaf.ebx & ((1 << events) - 1),
        })
    }

    fn amd() -> Result<Self, Text> {
        let extended = leaf(0x8000_0022);
        let v2 = extended.eax & 1 != 0;
        let core = leaf(0x8000_0001).ecx & 1 << 23 != 0;
        let (kind, counters) = match (v2, core) {
            (true, true) => (Kind::AmdV2, extended.ebx & 0xf),
            (false, true) => (Kind::AmdCore, 6),
            (false, false) => (Kind::AmdK7, 4),
            (true, false) => fail!("PerfMonV2 without the core counters"),
        };
        Ok(Self {
            kind,
            counters,
            fixed: 0,
            width: 48,
            full_width: false,
            events: 0,
        })
    }

    /// The version of Intel's architectural PMU, 0 of AMD's.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self.kind {
            Kind::Intel(version) => version,
            _ => 0,
        }
    }

    /// Whether it is AMD's.
    #[must_use]
    pub fn is_amd(&self) -> bool {
        self.version() == 0
    }

    /// Whether AMD's counters at C001_0200H are there.
    #[must_use]
    pub fn has_core_numbers(&self) -> bool {
        matches!(self.kind, Kind::AmdCore | Kind::AmdV2)
    }

    /// The registers of all counters in one, if there are any.
    #[must_use]
    pub fn globals(&self) -> Option<Globals> {
        match self.kind {
            Kind::AmdV2 => Some(Globals {
                status: msr::AMD_GLOBAL_STATUS,
                control: msr::AMD_GLOBAL_CTL,
                clear: msr::AMD_GLOBAL_STATUS_CLR,
                set: Some(msr::AMD_GLOBAL_STATUS_SET),
            }),
            Kind::Intel(version @ 2..) => Some(Globals {
                status: msr::GLOBAL_STATUS,
                control: msr::GLOBAL_CTRL,
                clear: msr::GLOBAL_OVF_CTRL,
                set: (version >= 4).then_some(msr::GLOBAL_STATUS_SET),
            }),
            _ => None,
        }
    }

    /// Whether the delivery of a PMI sets the mask bit of the LVTPC.
    #[must_use]
    pub fn masks_lvtpc(&self) -> bool {
        !self.is_amd()
    }

    /// The event select of core cycles, at every privilege level, without EN.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        let event = if self.is_amd() { 0x76 } else { 0x3c };
        event | 1 << 16 | 1 << 17
    }

    /// The bits of the general-purpose counters in the global registers.
    #[must_use]
    pub fn gp_bits(&self) -> u64 {
        (1 << self.counters) - 1
    }

    /// The bits of all counters in the global registers.
    #[must_use]
    pub fn all_bits(&self) -> u64 {
        self.gp_bits() | u64::from(self.fixed) << 32
    }

    /// All bits of a counter.
    #[must_use]
    pub fn counter_mask(&self) -> u64 {
        (1 << self.width) - 1
    }

    /// The MSR of an event select.
    #[must_use]
    pub fn select(&self, n: u32) -> u32 {
        match self.kind {
            Kind::Intel(_) => msr::PERFEVTSEL0 + n,
            Kind::AmdK7 => msr::K7_EVT_SEL0 + n,
            Kind::AmdCore | Kind::AmdV2 => msr::AMD_CTL0 + 2 * n,
        }
    }

    /// The MSR of a general-purpose counter.
    #[must_use]
    pub fn gp_counter(&self, n: u32) -> u32 {
        match self.kind {
            Kind::Intel(_) => msr::PMC0 + n,
            Kind::AmdK7 => msr::K7_CTR0 + n,
            Kind::AmdCore | Kind::AmdV2 => msr::AMD_CTR0 + 2 * n,
        }
    }

    /// Whether the fixed-function counter `i` is there.
    #[must_use]
    pub fn has_fixed(&self, i: u32) -> bool {
        i < 32 && self.fixed & 1 << i != 0
    }

    /// Whether the fixed-function counter `i` is there and can count its event.
    #[must_use]
    pub fn counts_fixed(&self, i: u32) -> bool {
        let event = match i {
            0 => INSTRUCTIONS,
            1 => CORE_CYCLES,
            2 => REF_CYCLES,
            _ => 0,
        };
        self.has_fixed(i) && self.events & event != 0
    }
}

/// A leaf of CPUID, zeroes if it is above the highest.
fn leaf(number: u32) -> Cpuid {
    if number <= cpuid(number & 0x8000_0000, 0).eax {
        return cpuid(number, 0);
    }
    Cpuid {
        eax: 0,
        ebx: 0,
        ecx: 0,
        edx: 0,
    }
}

/// The machine's, once it is known.
struct Known {
    ready: AtomicBool,
    model: UnsafeCell<Model>,
}

// SAFETY: the model is written once, by the CPU that turns `ready` true, and read after that.
unsafe impl Sync for Known {}

static KNOWN: Known = Known {
    ready: AtomicBool::new(false),
    model: UnsafeCell::new(Model {
        kind: Kind::AmdK7,
        counters: 0,
        fixed: 0,
        width: 0,
        full_width: false,
        events: 0,
    }),
};

/// Remembers what CPUID says, for [`model`]. Called once, at the start, on CPU 0.
///
/// # Panics
/// If CPUID makes no sense, or on a second call.
pub fn find() {
    assert!(!KNOWN.ready.load(Ordering::Acquire), "the model is known");
    match Model::from_cpuid() {
        // SAFETY: no other CPU runs yet, and nobody has read the model.
        Ok(model) => unsafe { *KNOWN.model.get() = model },
        Err(why) => panic!("{why}"),
    }
    KNOWN.ready.store(true, Ordering::Release);
}

/// The PMU of this machine; also for NMI handlers.
///
/// # Panics
/// Before [`find`] was called.
#[must_use]
pub fn model() -> &'static Model {
    assert!(
        KNOWN.ready.load(Ordering::Acquire),
        "which model is not known"
    );
    // SAFETY: written before `ready` was stored, and never again.
    unsafe { &*KNOWN.model.get() }
}
