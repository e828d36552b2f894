// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What must hold, whatever a guest says.

use std::collections::BTreeMap;

use perf_port::{Command, Errno, Id, Op, TrapTotals};
use perf_port_host::PortLimits;

use super::rig::World;
use super::step::Given;

const SECOND: u64 = 1_000_000_000;

/// What a guest was given, and what it may get.
pub(super) struct Laws {
    limits: PortLimits,
    /// Its open events, and whether each is inherited.
    events: BTreeMap<u64, bool>,
    given: Given,
    /// Calls that were made on each vCPU.
    calls: Vec<u64>,
    passed: u64,
}

impl Laws {
    pub(super) fn new(limits: PortLimits, vcpus: u32) -> Self {
        Self {
            limits,
            events: BTreeMap::new(),
            given: Given::default(),
            calls: vec![0; vcpus as usize],
            passed: 0,
        }
    }

    /// The numbers that the guest was given.
    pub(super) const fn given(&self) -> &Given {
        &self.given
    }

    pub(super) fn pass(&mut self, nanos: u64) {
        self.passed += nanos;
    }

    /// So long that a vCPU may call again.
    pub(super) fn patience(&mut self, world: &mut World) {
        world.pass(SECOND);
        self.pass(SECOND);
    }

    /// A command had this result.
    pub(super) fn answered(
        &mut self,
        vcpu: u32,
        op: Option<Op>,
        args: &[u64],
        result: Result<u64, Errno>,
    ) {
        match result {
            Err(Errno::TryAgain) => {
                assert_ne!(self.limits.calls_per_second, 0, "there is no limit");
                return;
            }
            Err(errno) => assert!(!matches!(errno, Errno::Other(_)), "{errno:?}"),
            Ok(_) => {}
        }
        let calls = &mut self.calls[vcpu as usize];
        *calls += 1;
        let rate = u64::from(self.limits.calls_per_second);
        let most = rate + self.passed.saturating_mul(rate) / SECOND;
        assert!(
            rate == 0 || *calls <= most,
            "{calls} calls where {most} may be"
        );
        match (op, result) {
            (None, result) => assert_eq!(result, Err(Errno::NoSuchOp)),
            (Some(Op::Create | Op::Fork), Ok(task)) => {
                let before = self.given.tasks.last();
                assert!(before < Some(&task), "no number is given twice");
                self.given.tasks.push(task);
            }
            (Some(Op::Open), Ok(event)) => {
                let inherited = args[0] & 4 != 0;
                assert!(
                    !self.given.events.contains(&event),
                    "no number is given twice"
                );
                self.given.events.push(event);
                self.events.insert(event, inherited);
            }
            (Some(Op::Close), Ok(_)) => {
                let closed = self.events.remove(&args[0]);
                assert!(closed.is_some(), "it was open");
            }
            _ => {}
        }
    }

    /// After every step.
    pub(super) fn check(&self, world: &World) {
        world.audit();
        let (tasks, events) = (world.port.tasks().len(), world.port.events());
        assert!(tasks <= self.limits.tasks, "{tasks} tasks");
        assert!(events <= self.limits.events, "{events} events");
        assert_eq!(events, self.events.len());
    }

    pub(super) fn open_events(&self) -> Vec<Id> {
        self.events.keys().copied().filter_map(Id::new).collect()
    }

    /// The law of traps.
    pub(super) fn account(&mut self, world: &mut World, event: Id) {
        self.patience(world);
        let read = world.command(0, Command::Read { event });
        let overflows = match read {
            Ok(0) => Some(world.outs(0)[3]),
            // In error: it says nothing else.
            other => {
                assert_eq!(other, Ok(1));
                None
            }
        };
        self.patience(world);
        let TrapTotals {
            queued,
            merged,
            refused,
            sent,
            dropped,
            pending,
        } = world.traps_of(event);
        assert_eq!(queued, sent + dropped + pending, "of event {event}");
        let accounted = queued + merged + refused;
        // Inherited events' overflows are not among those that are read.
        if !self.events[&event.get()] && accounted > 0 {
            assert!(overflows.is_none_or(|overflows| overflows == accounted));
        }
    }
}
