// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What threads leave behind while the VM runs: small, copied, put into words by the writer.

use vcpu_call::VcpuId;
use vcpu_life::VcpuState;
use vpmu::context::{EventId, Step, TaskId};
use vpmu::{CounterId, EventSelect, PmiOutcome};

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) time: u64,
    /// How many records its ring had no room for just before it.
    pub(super) lost: u64,
    pub(super) what: What,
}

/// What it was. Unless it says so, it is about the vCPU whose ring it is in.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// The vCPU is on its way into the guest.
    Enter,
    /// It is back, because of this.
    Exit(&'static str),
    State(u32, VcpuState),
    Pmi(PmiOutcome),
    /// With the skid, if it was measured.
    Overflow(CounterId, Option<u64>),
    /// An overflow is held back for so many nanoseconds.
    Throttled(CounterId, u64),
    /// A select stands still, and why.
    Still(CounterId, EventSelect, &'static str),
    /// What a counter counted since the VM was made.
    Counted(CounterId, u64),
    /// A step of the perf core, on this vCPU's thread if it was one.
    Core {
        vcpu: Option<VcpuId>,
        task: Option<TaskId>,
        event: Option<EventId>,
        step: Step,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_as_small_as_the_documentation_says() {
        assert!(size_of::<Record>() <= 88, "{}", size_of::<Record>());
    }
}
