// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The PMUs that there are in manuals: who made them, and what they can be like.

use core::fmt;
use core::str::FromStr;

use super::ModelError;

/// Whose PMU it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vendor {
    /// Intel's: IA32_PERFEVTSELx, CPUID leaf 0AH.
    Intel,
    /// AMD's: PerfEvtSeln and PERF_CTLn, CPUID leaf 8000_0022H.
    Amd,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intel => "Intel",
            Self::Amd => "AMD",
        })
    }
}

/// A generation of one vendor's PMU.
///
/// ```
/// use vpmu::{PmuKind, Vendor};
///
/// assert_eq!(PmuKind::AmdCore.to_string(), "amd-core");
/// assert_eq!("intel-v4".parse(), Ok(PmuKind::IntelV4));
/// assert_eq!(PmuKind::IntelV4.vendor(), Vendor::Intel);
/// assert_eq!(PmuKind::IntelV4.version(), Some(4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PmuKind {
    /// AMD since the K7: four counters at C001_0000H, no global registers (APM volume 2, section
    /// "Performance Monitoring Counters").
    AmdK7,
    /// AMD with the core performance counter extensions: six counters at C001_0200H, four of them
    /// also at their old numbers (CPUID Fn8000_0001_ECX\[PerfCtrExtCore\]).
    AmdCore,
    /// AMD performance monitoring version 2: global control and status as well (CPUID
    /// Fn8000_0022_EAX\[PerfMonV2\]).
    AmdV2,
    /// Intel architectural performance monitoring version 1: counters and selects alone (SDM volume
    /// 3B, chapter "Performance Monitoring").
    IntelV1,
    /// Version 2: fixed-function counters, global control and status.
    IntelV2,
    /// Version 3: AnyThread.
    IntelV3,
    /// Version 4: streamlined freeze, status set, counters in use.
    IntelV4,
    /// Version 5: fixed-function counters by a bitmap; AnyThread is gone.
    IntelV5,
}

/// What a kind allows.
pub(super) struct Limits {
    pub(super) counters: (u8, u8),
    pub(super) fixed: (u8, u8),
    pub(super) width: (u8, u8),
}

impl PmuKind {
    /// Every kind there is.
    pub const ALL: &'static [Self] = &[
        Self::AmdK7,
        Self::AmdCore,
        Self::AmdV2,
        Self::IntelV1,
        Self::IntelV2,
        Self::IntelV3,
        Self::IntelV4,
        Self::IntelV5,
    ];

    /// The name on a command line, such as `intel-v2`; what [`FromStr`] takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmdK7 => "amd-k7",
            Self::AmdCore => "amd-core",
            Self::AmdV2 => "amd-v2",
            Self::IntelV1 => "intel-v1",
            Self::IntelV2 => "intel-v2",
            Self::IntelV3 => "intel-v3",
            Self::IntelV4 => "intel-v4",
            Self::IntelV5 => "intel-v5",
        }
    }

    /// Whose it is.
    pub const fn vendor(self) -> Vendor {
        match self {
            Self::AmdK7 | Self::AmdCore | Self::AmdV2 => Vendor::Amd,
            _ => Vendor::Intel,
        }
    }

    /// The version of Intel's architectural performance monitoring; `None` for AMD's.
    pub const fn version(self) -> Option<u8> {
        match self {
            Self::AmdK7 | Self::AmdCore | Self::AmdV2 => None,
            Self::IntelV1 => Some(1),
            Self::IntelV2 => Some(2),
            Self::IntelV3 => Some(3),
            Self::IntelV4 => Some(4),
            Self::IntelV5 => Some(5),
        }
    }

    pub(super) const fn limits(self) -> Limits {
        match self {
            Self::AmdK7 => Limits {
                counters: (4, 4),
                fixed: (0, 0),
                width: (48, 48),
            },
            Self::AmdCore => Limits {
                counters: (6, 6),
                fixed: (0, 0),
                width: (48, 48),
            },
            Self::AmdV2 => Limits {
                counters: (1, 6),
                fixed: (0, 0),
                width: (48, 48),
            },
            Self::IntelV1 => Limits {
                counters: (1, 8),
                fixed: (0, 0),
                width: (32, 63),
            },
            _ => Limits {
                counters: (1, 8),
                fixed: (0, 3),
                width: (32, 63),
            },
        }
    }
}

impl fmt::Display for PmuKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PmuKind {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        Self::ALL
            .iter()
            .find(|kind| kind.name() == name)
            .copied()
            .ok_or(ModelError::Unknown)
    }
}
