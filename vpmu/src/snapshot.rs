// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The state of a PMU as plain values: to keep, to move, to put back (P36 of
//! [`registers`](crate::registers)).
//!
//! With the feature `serde` everything here can be serialised; the layout of a file is its writer's
//! choice.

use alloc::vec::Vec;

use crate::{CounterId, Nanos, PmuModel};

/// All that a guest can see of its PMU, now or later: from
/// [`VcpuPmu::snapshot`](crate::VcpuPmu::snapshot), for
/// [`VcpuPmu::restore`](crate::VcpuPmu::restore).
///
/// What is the host's is no part of it: statistics, observer, filter and re-arm interval.
///
/// ```
/// use vpmu::msr::{IA32_PERFEVTSEL0, IA32_PMC0};
/// use vpmu::source::script::ScriptSource;
/// use vpmu::{MsrRead, MsrWrite, Nanos, PmuModel, RestoreError, VcpuPmu};
///
/// let mut here = VcpuPmu::new(PmuModel::INTEL_V2, ScriptSource::new());
/// assert_eq!(here.write_msr(IA32_PERFEVTSEL0, 0x43_003C), MsrWrite::Done);
/// here.source_mut().count(1_000);
/// let snapshot = here.snapshot(Nanos(5));
///
/// let mut there = VcpuPmu::new(PmuModel::INTEL_V2, ScriptSource::new());
/// there.restore(&snapshot, Nanos(70))?;
/// there.source_mut().count(1);
/// assert_eq!(there.read_msr(IA32_PMC0), MsrRead::Value(1_001));
///
/// let mut other = VcpuPmu::new(PmuModel::INTEL_V4, ScriptSource::new());
/// assert!(matches!(other.restore(&snapshot, Nanos(70)), Err(RestoreError::Model { .. })));
/// # Ok::<(), RestoreError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PmuSnapshot {
    /// The PMU that it is the state of.
    pub model: PmuModel,
    /// One entry a counter, the general-purpose ones first.
    pub counters: Vec<CounterSnapshot>,
    /// IA32_FIXED_CTR_CTRL; 0 where it is not there.
    pub fixed_control: u64,
    /// The global control register; where it is not there, a bit for each counter.
    pub global_control: u64,
    /// The global status register; 0 where it is not there.
    pub global_status: u64,
    /// IA32_DEBUGCTL as far as it is kept; 0 where it is not there.
    pub debug_control: u64,
    /// For how long the throttle still holds PMIs back (P19), 0 if it does not.
    pub throttled_for: Nanos,
}

/// One counter of a [`PmuSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CounterSnapshot {
    /// Which one it is.
    pub id: CounterId,
    /// Its value. At 2^width or above while an overflow is due that the guest has not seen: the
    /// counter reads 2^width - 1 then (P14).
    pub count: u64,
    /// Its event select; 0 for a fixed-function counter.
    pub select: u64,
    /// Its status bit was set by hand, and the PMI asked for with that is still to come (P24).
    pub pmi_asked: bool,
    /// The overflow that is due was counted as throttled.
    pub throttled: bool,
}

/// Why a snapshot was not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It is the state of another PMU.
    #[error(
        "The snapshot is of another PMU: {} there, {} here",
        .snapshot.in_full(),
        .here.in_full()
    )]
    Model {
        /// The snapshot's model.
        snapshot: PmuModel,
        /// The model of the PMU that was to take it.
        here: PmuModel,
    },
    /// It does not have each counter of its model once, in order.
    #[error("The snapshot does not have the counters of its model")]
    Counters,
    /// A register could never hold this.
    #[error("The snapshot has {value:#x} in {register}, which cannot be")]
    Value {
        /// The register's name.
        register: &'static str,
        /// What the snapshot has for it.
        value: u64,
    },
    /// A counter could never be in this state.
    #[error("The snapshot has a PMI of {counter} to come, which cannot be")]
    Pending {
        /// The counter.
        counter: CounterId,
    },
}
