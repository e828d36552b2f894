// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Two tasks that take turns on a vCPU.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, Leaves, PerfError, Task};
use vpmu::source::MAX_SLOTS;

use super::{Engine, Vcpu, cycles};
use crate::measure::Failure;

const VCPU: VcpuId = VcpuId(0);

/// A vCPU that switches between two tasks.
///
/// ```
/// use perf_bench::engine::Switching;
///
/// let mut two = Switching::between(1)?;
/// two.switch()?;
/// assert_eq!(two.switched(), 1);
/// # Ok::<(), perf_bench::measure::Failure>(())
/// ```
#[derive(Debug)]
pub struct Switching {
    engine: Engine,
    vcpu: Vcpu,
    tasks: [Task; 2],
    /// The event of the first task that the other shares, if any is.
    shared: Option<Event>,
    /// A handle of the task that is not current, which the switch gives for one of that which was:
    /// so no handle has to be made.
    next: Option<Task>,
    switched: u64,
}

impl Switching {
    /// Between tasks with so many events each, at most [`MAX_SLOTS`], that have nothing to do with
    /// each other.
    ///
    /// # Errors
    /// When an event does not fit.
    pub fn between(events: usize) -> Result<Self, Failure> {
        if events > MAX_SLOTS {
            return Err("a task has more events than counters".into());
        }
        let engine = Engine::new(1, |_| ());
        let mut vcpu = engine.vcpu(VCPU)?;
        let first = engine.perf().create_task(VCPU)?;
        let second = engine.perf().create_task(VCPU)?;
        for task in [&first, &second] {
            for _ in 0..events {
                engine.open(Attr::counting(cycles()), task, &mut vcpu)?;
            }
        }
        Self::start(engine, vcpu, [first, second], None)
    }

    /// Between a task and one that it forked, with so many inherited events: they trade contexts.
    ///
    /// # Errors
    /// When an event does not fit.
    pub fn between_twins(events: usize) -> Result<Self, Failure> {
        let engine = Engine::new(1, |_| ());
        let mut vcpu = engine.vcpu(VCPU)?;
        let first = engine.perf().create_task(VCPU)?;
        let attr = Attr {
            inherit: true,
            ..Attr::counting(cycles())
        };
        let mut shared = None;
        for _ in 0..events {
            shared = Some(engine.open(attr, &first, &mut vcpu)?);
        }
        let second = engine.perf().fork(&first, &mut vcpu)?;
        Self::start(engine, vcpu, [first, second], shared)
    }

    fn start(
        engine: Engine,
        mut vcpu: Vcpu,
        tasks: [Task; 2],
        shared: Option<Event>,
    ) -> Result<Self, Failure> {
        let [first, second] = tasks.clone();
        vcpu.cpu_mut().switch(None, Leaves::Queued, Some(first))?;
        Ok(Self {
            engine,
            vcpu,
            tasks,
            shared,
            next: Some(second),
            switched: 0,
        })
    }

    /// Switches to the other task.
    ///
    /// # Errors
    /// None but the core's faults.
    pub fn switch(&mut self) -> Result<(), PerfError> {
        let [first, second] = &self.tasks;
        let current = if self.switched.is_multiple_of(2) {
            first
        } else {
            second
        };
        let cpu = self.vcpu.cpu_mut();
        self.next = cpu.switch(Some(current), Leaves::Queued, self.next.take())?;
        self.switched += 1;
        Ok(())
    }

    /// How often they were switched.
    #[must_use]
    pub fn switched(&self) -> u64 {
        self.switched
    }

    /// How many counters run.
    #[must_use]
    pub fn running(&self) -> usize {
        let source = self.vcpu.cpu().source();
        let running = |&slot: &usize| source.running(slot).is_some();
        (0..MAX_SLOTS).filter(running).count()
    }

    /// Whether the first task's context is on the counters though its twin is current, that is
    /// whether the last switch was a trade; of no meaning for tasks that are no twins, nor while
    /// the first is current.
    ///
    /// # Errors
    /// None but the core's faults.
    pub fn traded(&self) -> Result<bool, PerfError> {
        let Some(event) = &self.shared else {
            return Ok(false);
        };
        let state = self.engine.perf().status(event)?.state;
        Ok(state == vpmu::context::State::Active(VCPU))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_task_counts() {
        for events in [0, 1, 8] {
            let mut switching = Switching::between(events).unwrap();
            for _ in 0..4 {
                switching.switch().unwrap();
                assert_eq!(switching.running(), events);
                assert!(!switching.traded().unwrap());
            }
        }
        assert!(Switching::between(MAX_SLOTS + 1).is_err());
    }

    #[test]
    fn twins_trade_their_contexts() {
        let mut switching = Switching::between_twins(2).unwrap();
        for _ in 0..4 {
            switching.switch().unwrap();
            assert!(switching.traded().unwrap());
            assert_eq!(switching.running(), 2);
        }
    }
}
