// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What happened in a PMU, told as it happens, for logs and traces.

use crate::{CounterId, EventSelect, Nanos, PmiOutcome};

/// Sees what a [`VcpuPmu`](crate::VcpuPmu) does.
///
/// Every method does nothing by default, so that an implementation picks what it wants to see and
/// what is not watched costs nothing. The methods run on the vCPU's thread, between exit and entry.
/// Totals are in [`PmuStats`](crate::PmuStats) without an observer.
///
/// ```
/// use vpmu::msr::IA32_PERFEVTSEL0;
/// use vpmu::source::script::ScriptSource;
/// use vpmu::{CounterId, EventSelect, MsrWrite, PmuModel, PmuObserver, VcpuPmu};
///
/// #[derive(Default)]
/// struct Warnings(Vec<EventSelect>);
///
/// impl PmuObserver for Warnings {
///     fn not_counted(&mut self, _counter: CounterId, select: EventSelect) {
///         self.0.push(select);
///     }
/// }
///
/// let source = ScriptSource::supporting(|_| false);
/// let mut pmu = VcpuPmu::with_observer(PmuModel::INTEL_V2, source, Warnings::default());
/// for _ in 0..2 {
///     assert_eq!(pmu.write_msr(IA32_PERFEVTSEL0, 0x43_00C0), MsrWrite::Done);
/// }
/// assert_eq!(pmu.observer().0, [EventSelect(0x43_00C0)]);
/// ```
pub trait PmuObserver {
    /// Counter `counter` was enabled with a select that the source cannot count: it stands still.
    ///
    /// Told once for each distinct select, for the first
    /// [`UnsupportedSelects::CAPACITY`](crate::UnsupportedSelects::CAPACITY) of them (P11 of
    /// [`registers`](crate::registers)).
    fn not_counted(&mut self, counter: CounterId, select: EventSelect) {
        let _ = (counter, select);
    }

    /// Counter `counter` was enabled with a select that the host's filter refuses: it stands still.
    ///
    /// Told once for each distinct select, like [`not_counted`](Self::not_counted) (P35).
    fn filtered(&mut self, counter: CounterId, select: EventSelect) {
        let _ = (counter, select);
    }

    /// An overflow of `counter` became visible to the guest.
    ///
    /// `skid` is there for an overflow with INT: how many counts ago it happened (P21).
    fn overflow(&mut self, counter: CounterId, skid: Option<u64>) {
        let _ = (counter, skid);
    }

    /// An overflow of `counter` is held back until `until` (P19). Told once an overflow.
    fn throttled(&mut self, counter: CounterId, until: Nanos) {
        let _ = (counter, until);
    }

    /// The sink was asked for a PMI at `now` and did this, after the overflows it stands for were
    /// told.
    fn pmi(&mut self, now: Nanos, outcome: PmiOutcome) {
        let _ = (now, outcome);
    }
}

/// The observer that looks away: the one of [`VcpuPmu::new`](crate::VcpuPmu::new).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoObserver;

impl PmuObserver for NoObserver {}
