// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A host that does nothing, and says what it is in the mood for.

use std::time::Duration;

use vmm::control::{
    Change, ClientId, Closed, CpuState, ErrorKind, EventDesk, EventList, EventNow, EventRead,
    EventState, EventTraps, Host, Info, OpenEvent, Opened, Refusal, RunState, TaskLine, TaskList,
    TaskState, Until, VcpuLine,
};

/// Bit 0 of its mood: it refuses. Bit 1: it has no perf core. Bit 2: what is waited for is there.
/// The others choose how it refuses.
#[derive(Debug, Default)]
pub(super) struct Moody {
    pub(super) mood: u8,
}

impl Moody {
    fn says<T>(&self, done: T) -> Result<T, Refusal> {
        if self.mood & 1 == 0 {
            return Ok(done);
        }
        let kind = ErrorKind::ALL[usize::from(self.mood >> 3) % ErrorKind::ALL.len()];
        // Whatever it says, the answer is one line.
        let refusal = Refusal::new(kind, "No:\n\"not now\"\u{2028}\0");
        Err(if self.mood & 2 == 0 {
            refusal
        } else {
            refusal.errno("EBUSY")
        })
    }

    fn state(&self, event: u64) -> EventState {
        let state = EventNow::ALL[usize::from(self.mood) % EventNow::ALL.len()];
        EventState { event, state }
    }
}

impl Host for Moody {
    fn info(&self) -> Result<Info, Refusal> {
        let state = CpuState::ALL[usize::from(self.mood) % CpuState::ALL.len()];
        let line = |vcpu| VcpuLine {
            vcpu,
            state,
            removal_asked: false,
        };
        self.says(Info {
            version: "\"0\"\n".to_owned(),
            pid: 1,
            accel: "none".to_owned(),
            state: RunState::Running,
            uptime_ms: u64::MAX,
            pmu: None,
            source: None,
            vcpus: (0..u32::from(self.mood >> 5)).map(line).collect(),
            events: 0,
        })
    }

    fn add_vcpu(&self) -> Result<u32, Refusal> {
        self.says(u32::MAX)
    }

    fn remove_vcpu(&self, _vcpu: u32, _limit: Duration) -> Result<(), Refusal> {
        self.says(())
    }

    fn pause(&self) -> Result<(), Refusal> {
        self.says(())
    }

    fn resume(&self) -> Result<(), Refusal> {
        self.says(())
    }

    fn stop(&self) -> Result<(), Refusal> {
        self.says(())
    }

    fn wait(&self, _until: Until, _limit: Duration) -> Result<bool, Refusal> {
        self.says(self.mood & 4 != 0)
    }

    fn events(&self) -> Option<&dyn EventDesk> {
        (self.mood & 2 == 0).then_some(self)
    }
}

impl EventDesk for Moody {
    fn tasks(&self) -> TaskList {
        let line = |task| TaskLine {
            task,
            name: "\u{7}\"\n".to_owned(),
            vcpu: u32::MAX,
            state: TaskState::ALL[usize::from(self.mood) % TaskState::ALL.len()],
            events: 0,
        };
        TaskList {
            tasks: (1..u64::from(self.mood >> 5)).map(line).collect(),
        }
    }

    fn open(&self, ClientId(client): ClientId, _open: &OpenEvent) -> Result<Opened, Refusal> {
        let EventState { event, state } = self.state(client);
        self.says(Opened {
            event,
            installed: true,
            rounds: 1,
            state,
        })
    }

    fn change(&self, event: u64, _change: Change) -> Result<EventState, Refusal> {
        self.says(self.state(event))
    }

    fn read(&self, event: u64) -> Result<EventRead, Refusal> {
        self.says(EventRead {
            event,
            vcpu: (self.mood & 16 == 0).then_some(0),
            task: (self.mood & 16 != 0).then_some(event),
            name: "\u{0}".to_owned(),
            source: String::new(),
            count: Some(u64::MAX),
            enabled_ns: Some(0),
            running_ns: None,
            scaled: None,
            state: self.state(event).state,
            overflows: 0,
            left: None,
            traps: (self.mood & 32 != 0).then_some(EventTraps {
                queued: u64::MAX,
                merged: 0,
                refused: 0,
                sent: 0,
                dropped: 0,
            }),
        })
    }

    fn close(&self, event: u64) -> Result<Closed, Refusal> {
        self.says(Closed { closed: event })
    }

    fn list(&self, _client: ClientId) -> EventList {
        EventList { events: Vec::new() }
    }

    fn open_events(&self) -> usize {
        0
    }

    fn leave(&self, _client: ClientId) {}
}
