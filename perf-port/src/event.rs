// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What an event is opened with: which one, and how.

/// Which event is counted.
///
/// ```
/// use perf_port::EventNumber;
///
/// assert_eq!(EventNumber::PortTick.number(), 0x100);
/// assert_eq!(EventNumber::from_number(2), Some(EventNumber::Instructions));
/// assert_eq!(EventNumber::from_number(0), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventNumber {
    /// Unhalted core cycles.
    Cycles,
    /// Instructions retired.
    Instructions,
    /// Unhalted reference cycles.
    RefCycles,
    /// References to the last-level cache.
    LlcReferences,
    /// Misses of the last-level cache.
    LlcMisses,
    /// Branch instructions retired.
    Branches,
    /// Mispredicted branch instructions retired.
    BranchMisses,
    /// Stores to the tick page: exact on any host.
    PortTick,
}

impl EventNumber {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Cycles,
        Self::Instructions,
        Self::RefCycles,
        Self::LlcReferences,
        Self::LlcMisses,
        Self::Branches,
        Self::BranchMisses,
        Self::PortTick,
    ];

    /// Its number.
    pub const fn number(self) -> u64 {
        match self {
            Self::Cycles => 1,
            Self::Instructions => 2,
            Self::RefCycles => 3,
            Self::LlcReferences => 4,
            Self::LlcMisses => 5,
            Self::Branches => 6,
            Self::BranchMisses => 7,
            Self::PortTick => 0x100,
        }
    }

    /// The event of that number, if there is one.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.number() == number)
    }
}

/// How an event counts: bits of OPEN's first argument.
///
/// ```
/// use perf_port::OpenFlags;
///
/// let flags = OpenFlags::PINNED.with(OpenFlags::EXCLUDE_KERNEL);
/// assert!(flags.contains(OpenFlags::PINNED) && !flags.contains(OpenFlags::INHERIT));
/// assert_eq!(OpenFlags::from_bits(flags.bits()), Some(flags));
/// assert_eq!(OpenFlags::from_bits(1 << 7), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags(u64);

impl OpenFlags {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// Starts disabled. An event with a limit does anyway, and is refreshed at once.
    pub const DISABLED: Self = Self(1);
    /// Always on a counter, or else in the error state.
    pub const PINNED: Self = Self(2);
    /// Counts tasks as well that the task forks from now on.
    pub const INHERIT: Self = Self(4);
    /// Is removed when the task executes another program.
    pub const REMOVE_ON_EXEC: Self = Self(8);
    /// Each overflow is a trap to the task.
    pub const SIGTRAP: Self = Self(16);
    /// Does not count in user mode.
    pub const EXCLUDE_USER: Self = Self(32);
    /// Does not count in kernel mode.
    pub const EXCLUDE_KERNEL: Self = Self(64);

    const ALL: u64 = 127;

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The flags of these bits, if all of them are known.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        if bits & !Self::ALL == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// These flags and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags, without [`SIGTRAP`](Self::SIGTRAP).
    pub(crate) const fn without_trap(self) -> Self {
        Self(self.0 & !Self::SIGTRAP.0)
    }

    /// Whether all of `other` are there.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
