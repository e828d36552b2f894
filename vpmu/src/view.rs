// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Counters as a guest sees them.

use crate::{CounterId, EventSelect};

/// Whether a counter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterState {
    /// The guest has not enabled it (P08), or a freeze holds it.
    #[default]
    Disabled,
    /// It counts.
    Counting,
    /// The guest enabled it for no privilege level: it rightly stands still.
    Idle,
    /// The guest enabled it with something that the source cannot count: it stands still.
    NotCounted,
    /// The guest enabled it with something that the host's filter refuses: it stands still.
    Filtered,
}

/// One counter as the guest sees it, from
/// [`VcpuPmu::counters`](crate::VcpuPmu::counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CounterView {
    /// Which one it is.
    pub id: CounterId,
    /// Its event select register; of a fixed-function counter the select that asks the same.
    pub select: EventSelect,
    /// Its value as RDMSR and RDPMC return it.
    pub value: u64,
    /// Whether it counts.
    pub state: CounterState,
}
