// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Intel's architectural register file, with all its transitions.

use super::{MAX_GP_COUNTERS, Ports};
use crate::counter::Counter;
use crate::msr::{
    IA32_PERF_GLOBAL_CTRL, IA32_PERF_GLOBAL_OVF_CTRL, IA32_PERF_GLOBAL_STATUS, IA32_PERFEVTSEL0,
    IA32_PMC0,
};
use crate::{
    CounterSource, CounterState, CounterView, EventSelect, MsrId, MsrRead, MsrWrite, Nanos,
    PmuModel, PmuObserver, Wake,
};

/// Bits of IA32_PERF_GLOBAL_OVF_CTRL that are defined whatever counters there are: ClrOvfBuffer
/// and ClrCondChgd.
const OVF_CTRL_ALWAYS: u64 = 1 << 62 | 1 << 63;

/// The registers of one vCPU.
#[derive(Clone, Debug)]
pub(crate) struct IntelRegisters {
    counters: [GpCounter; MAX_GP_COUNTERS],
    gp_counters: usize,
    /// Bits of IA32_PERFEVTSELx that may not be set.
    select_reserved: u64,
    global_ctrl: u64,
    global_status: u64,
}

#[derive(Clone, Copy, Debug)]
struct GpCounter {
    value: Counter,
    select: EventSelect,
    /// Follows from `select`, IA32_PERF_GLOBAL_CTRL and what the source said to them.
    state: CounterState,
    /// The overflow that is due was counted as throttled.
    throttled: bool,
}

impl GpCounter {
    /// P08.
    fn runs(&self) -> bool {
        self.state == CounterState::Counting
    }
}

/// A register that is there.
#[derive(Clone, Copy)]
enum Register {
    Pmc(usize),
    PerfEvtSel(usize),
    GlobalStatus,
    GlobalCtrl,
    GlobalOvfCtrl,
}

impl IntelRegisters {
    /// The registers of `model` after reset.
    pub(crate) fn new(model: PmuModel) -> Self {
        let counter = GpCounter {
            value: Counter::new(model.counter_width()),
            select: EventSelect(0),
            state: CounterState::Disabled,
            throttled: false,
        };
        Self {
            counters: [counter; MAX_GP_COUNTERS],
            gp_counters: model.gp_counters(),
            select_reserved: 0xFFFF_FFFF_0000_0000 | EventSelect::ANY_THREAD,
            global_ctrl: (1 << model.gp_counters()) - 1,
            global_status: 0,
        }
    }

    fn find(&self, msr: MsrId) -> Option<Register> {
        let nth = |first: MsrId| {
            let n = msr.0.checked_sub(first.0)? as usize;
            (n < self.gp_counters).then_some(n)
        };
        Some(match msr {
            IA32_PERF_GLOBAL_STATUS => Register::GlobalStatus,
            IA32_PERF_GLOBAL_CTRL => Register::GlobalCtrl,
            IA32_PERF_GLOBAL_OVF_CTRL => Register::GlobalOvfCtrl,
            _ => match nth(IA32_PMC0) {
                Some(n) => Register::Pmc(n),
                None => Register::PerfEvtSel(nth(IA32_PERFEVTSEL0)?),
            },
        })
    }

    pub(crate) fn read_msr<S: CounterSource, O: PmuObserver>(
        &mut self,
        msr: MsrId,
        ports: &mut Ports<'_, S, O>,
    ) -> MsrRead {
        MsrRead::Value(match self.find(msr) {
            Some(Register::Pmc(n)) => self.read_counter(n, ports),
            Some(Register::PerfEvtSel(n)) => self.counters[n].select.0,
            Some(Register::GlobalStatus) => {
                self.sync_all(ports);
                self.global_status
            }
            Some(Register::GlobalCtrl) => self.global_ctrl,
            Some(Register::GlobalOvfCtrl) => 0,
            None if msr.is_pmu() => return MsrRead::GeneralProtection,
            None => return MsrRead::NotHandled,
        })
    }

    pub(crate) fn write_msr<S: CounterSource, O: PmuObserver>(
        &mut self,
        msr: MsrId,
        value: u64,
        ports: &mut Ports<'_, S, O>,
    ) -> MsrWrite {
        let all = self.all_counters();
        match self.find(msr) {
            Some(Register::Pmc(n)) => {
                self.sync(n, ports);
                self.counters[n].value.write_low(value);
                self.counters[n].throttled = false;
            }
            Some(Register::PerfEvtSel(n)) if value & self.select_reserved == 0 => {
                self.sync(n, ports);
                let before = core::mem::replace(&mut self.counters[n].select, EventSelect(value));
                self.steer(n, before, ports);
            }
            Some(Register::GlobalCtrl) if value & !all == 0 => {
                self.sync_all(ports);
                self.global_ctrl = value;
                for n in 0..self.gp_counters {
                    self.steer(n, self.counters[n].select, ports);
                }
            }
            Some(Register::GlobalOvfCtrl) if value & !(all | OVF_CTRL_ALWAYS) == 0 => {
                self.sync_all(ports);
                self.global_status &= !value;
            }
            None if !msr.is_pmu() => return MsrWrite::NotHandled,
            _ => return MsrWrite::GeneralProtection,
        }
        MsrWrite::Done
    }

    pub(crate) fn read_pmc<S: CounterSource, O: PmuObserver>(
        &mut self,
        index: u32,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<u64> {
        let n = index as usize;
        (n < self.gp_counters).then(|| self.read_counter(n, ports))
    }

    pub(crate) fn counting(&self) -> bool {
        self.counters.iter().any(GpCounter::runs)
    }

    pub(crate) fn views(&self) -> impl Iterator<Item = CounterView> + '_ {
        self.counters[..self.gp_counters]
            .iter()
            .map(|counter| CounterView {
                select: counter.select,
                value: counter.value.visible(),
                state: counter.state,
            })
    }

    /// Takes what every counter counted so far, and shows overflows that ask for no PMI (P13).
    pub(crate) fn sync_all<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        for n in 0..self.gp_counters {
            self.sync(n, ports);
        }
    }

    /// Whether an overflow could become visible with a PMI now (P14, P15).
    pub(crate) fn interrupt_due(&self) -> bool {
        (0..self.gp_counters).any(|n| self.due_with_pmi(n))
    }

    /// Shows all overflows whose PMI the sink was asked for.
    pub(crate) fn show_interrupting<S: CounterSource, O: PmuObserver>(
        &mut self,
        ports: &mut Ports<'_, S, O>,
    ) {
        for n in 0..self.gp_counters {
            if self.due_with_pmi(n) {
                self.show(n, ports);
            }
        }
    }

    /// Marks all overflows that the throttle holds until `until` (P19).
    pub(crate) fn throttle<S: CounterSource, O: PmuObserver>(
        &mut self,
        until: Nanos,
        ports: &mut Ports<'_, S, O>,
    ) {
        for n in 0..self.gp_counters {
            if self.due_with_pmi(n) && !self.counters[n].throttled {
                self.counters[n].throttled = true;
                ports.throttled(n, until);
            }
        }
    }

    /// Tells the source of every overflow with INT that lies ahead. Returns after how many guest
    /// cycles the VMM has to look again (P20).
    pub(crate) fn arm<S: CounterSource, O: PmuObserver>(
        &self,
        ports: &mut Ports<'_, S, O>,
    ) -> Option<u64> {
        let mut nearest = None;
        for (n, counter) in self.counters[..self.gp_counters].iter().enumerate() {
            if counter.runs()
                && counter.select.interrupts()
                && let Wake::InCycles(cycles) = ports.source.arm(n, counter.value.distance())
            {
                nearest = Some(nearest.map_or(cycles, |nearest: u64| nearest.min(cycles)));
            }
        }
        nearest
    }

    const fn all_counters(&self) -> u64 {
        (1 << self.gp_counters) - 1
    }

    /// P08.
    const fn enabled(&self, n: usize) -> bool {
        self.counters[n].select.enabled() && self.global_ctrl & 1 << n != 0
    }

    /// P15, judged by the registers as they are now. Only after a sync, which has shown whatever was
    /// due without INT.
    fn due_with_pmi(&self, n: usize) -> bool {
        let counter = &self.counters[n];
        counter.value.due() && counter.runs()
    }

    fn read_counter<S: CounterSource, O: PmuObserver>(
        &mut self,
        n: usize,
        ports: &mut Ports<'_, S, O>,
    ) -> u64 {
        self.sync(n, ports);
        self.counters[n].value.visible()
    }

    fn sync<S: CounterSource, O: PmuObserver>(&mut self, n: usize, ports: &mut Ports<'_, S, O>) {
        let counter = &mut self.counters[n];
        if !counter.runs() {
            return;
        }
        let counts = ports.source.take(n);
        counter.value.add(counts);
        ports.counted(n, counts);
        if !counter.select.interrupts() {
            self.show(n, ports);
        }
    }

    /// Makes an overflow visible, if one is due.
    fn show<S: CounterSource, O: PmuObserver>(&mut self, n: usize, ports: &mut Ports<'_, S, O>) {
        let counter = &mut self.counters[n];
        if let Some(wrap) = counter.value.wrap() {
            counter.throttled = false;
            self.global_status |= 1 << n;
            let skid = counter.select.interrupts().then_some(wrap.skid);
            ports.overflowed(n, wrap.overflows, skid);
        }
    }

    /// Makes the source count what the registers now ask of counter `n`, whose counts so far were
    /// taken and whose select was `before`.
    fn steer<S: CounterSource, O: PmuObserver>(
        &mut self,
        n: usize,
        before: EventSelect,
        ports: &mut Ports<'_, S, O>,
    ) {
        let enabled = self.enabled(n);
        let counter = &mut self.counters[n];
        let config = counter.select.decode();
        let ran = counter.runs();
        if ran && enabled && config == before.decode() {
            return;
        }
        if ran {
            ports.source.stop(n);
        }
        counter.state = if !enabled {
            CounterState::Disabled
        } else if !config.usr && !config.os {
            CounterState::Idle
        } else if ports.source.supports(&config) && ports.source.start(n, &config).is_ok() {
            CounterState::Counting
        } else {
            ports.not_counted(n, counter.select);
            CounterState::NotCounted
        };
    }
}
