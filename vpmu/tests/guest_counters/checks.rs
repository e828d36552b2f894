// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the tests ask for and look at.

use vcpu_call::VcpuId;
use vpmu::context::{Attr, Event, State, Target};
use vpmu::source::script::ScriptSource;
use vpmu::{CounterSource, EventConfig, NotCounted};

use crate::rig::*;

pub(crate) const V0: VcpuId = VcpuId(0);

/// An event that counts and does no more.
pub(crate) fn counting() -> Attr {
    Attr::counting(cycles())
}

/// One that always counts, or says that it cannot.
pub(crate) fn pinned() -> Attr {
    Attr {
        pinned: true,
        ..counting()
    }
}

pub(crate) fn disabled(attr: Attr) -> Attr {
    Attr {
        disabled: true,
        ..attr
    }
}

/// What the guest asks for on vCPU 0, and the host's events there.
impl Rig {
    /// The guest runs a counter.
    pub(crate) fn start(&mut self, counter: usize) -> Result<(), NotCounted> {
        self.start_with(counter, &user_instructions())
    }

    pub(crate) fn start_with(
        &mut self,
        counter: usize,
        config: &EventConfig,
    ) -> Result<(), NotCounted> {
        let started = self.cpu(0).start(counter, config);
        self.audit();
        started
    }

    pub(crate) fn stop(&mut self, counter: usize) {
        self.cpu(0).stop(counter);
        self.audit();
    }

    pub(crate) fn take(&mut self, counter: usize) -> u64 {
        self.cpu(0).take(counter)
    }

    pub(crate) fn source(&mut self) -> &mut ScriptSource {
        self.cpu(0).source_mut()
    }

    /// `counts` events happen, and nobody looks yet.
    pub(crate) fn unseen(&mut self, counts: u64) {
        self.source().count(counts);
    }

    pub(crate) fn guest_slot(&mut self, counter: usize) -> Option<usize> {
        self.cpu(0).guest_slot(counter)
    }

    /// What the slot of a guest's counter counts.
    pub(crate) fn programmed(&mut self, counter: usize) -> Option<EventConfig> {
        let slot = self.guest_slot(counter)?;
        self.source().running(slot)
    }

    pub(crate) fn open_on_vcpu(&mut self, attr: Attr) -> Event {
        let event = self.open(attr, Target::Vcpu(V0)).unwrap();
        self.audit();
        event
    }

    pub(crate) fn counts(&self, event: &Event) -> bool {
        self.state(event) == State::Active(V0)
    }

    #[track_caller]
    pub(crate) fn audit(&self) {
        for cpu in self.cpus.iter().flatten() {
            assert_eq!(cpu.audit(), Ok(()));
        }
    }
}
