// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Requests.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use super::{CpuState, RunState, VERSION};

/// The name that a client gives a request, to know its answer by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A text, of [`MAX_BYTES`](Self::MAX_BYTES) at most.
    Text(String),
}

impl Id {
    /// The longest text, in bytes.
    pub const MAX_BYTES: usize = 256;
}

/// One request of a client.
///
/// ```
/// use vmm::control::{Id, Request, Verb};
///
/// let request = Request { id: Some(Id::Number(7)), verb: Verb::CpusAdd { count: 1 } };
/// let line = request.line();
/// assert_eq!(line, "{\"v\":1,\"id\":7,\"do\":\"cpus-add\",\"count\":1}\n");
/// assert_eq!(Request::parse(line.as_bytes()), Ok(request));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Given back with the answer.
    pub id: Option<Id>,
    /// What to do.
    pub verb: Verb,
}

impl Request {
    /// One without a name.
    pub const fn new(verb: Verb) -> Self {
        Self { id: None, verb }
    }

    /// As it is sent, with its LF.
    pub fn line(&self) -> String {
        // A map with keys that are strings can be written, and a string as well.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            v: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: &'a Option<Id>,
            #[serde(flatten)]
            verb: &'a Verb,
        }
        let whole = Whole {
            v: VERSION,
            id: &self.id,
            verb: &self.verb,
        };
        whole.serialize(serializer)
    }
}

/// What a request asks for; its `do`, with the keys that go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Verb {
    /// What the VM is and does: [`Info`](super::Info).
    Info,
    /// Adds vCPUs: [`Added`](super::Added).
    CpusAdd {
        /// How many, 1 to [`MAX_COUNT`](Self::MAX_COUNT).
        count: u32,
    },
    /// Asks the guest to give a vCPU back: [`Removed`](super::Removed).
    CpusRemove {
        /// Which.
        vcpu: u32,
        /// How long the guest has, up to [`MAX_REMOVE_MS`](Self::MAX_REMOVE_MS).
        limit_ms: u64,
    },
    /// Makes every vCPU stand still: [`NowIs`](super::NowIs).
    Pause,
    /// Lets every vCPU run again: [`NowIs`](super::NowIs).
    Resume,
    /// Ends the run: [`NowIs`](super::NowIs).
    Stop,
    /// Waits for a state: [`Reached`](super::Reached).
    Wait {
        /// For which.
        #[serde(flatten)]
        until: Until,
        /// How long, up to [`MAX_WAIT_MS`](Self::MAX_WAIT_MS); 0 only looks.
        limit_ms: u64,
    },
    /// Lists the guest's tasks: [`TaskList`](super::TaskList).
    Tasks,
    /// Opens an event on a vCPU or a task: [`Opened`](super::Opened).
    EventsOpen(OpenEvent),
    /// Lets an event count: [`EventState`](super::EventState).
    EventsEnable {
        /// Which.
        event: u64,
    },
    /// Stops an event: [`EventState`](super::EventState).
    EventsDisable {
        /// Which.
        event: u64,
    },
    /// Enables an event for so many more overflows: [`EventState`](super::EventState).
    EventsRefresh {
        /// Which.
        event: u64,
        /// How many; 0 just enables.
        overflows: u64,
    },
    /// Sets the count of an event to 0: [`EventState`](super::EventState).
    EventsReset {
        /// Which.
        event: u64,
    },
    /// Reads an event: [`EventRead`](super::EventRead).
    EventsRead {
        /// Which.
        event: u64,
    },
    /// Closes an event: [`Closed`](super::Closed).
    EventsClose {
        /// Which.
        event: u64,
    },
    /// Lists the events that are open: [`EventList`](super::EventList).
    EventsList,
}

impl Verb {
    /// The most vCPUs added by one request.
    pub const MAX_COUNT: u32 = 255;
    /// How long a guest has to give a vCPU back, unless the request says.
    pub const REMOVE_MS: u64 = 5_000;
    /// The longest that it can be given: ten minutes.
    pub const MAX_REMOVE_MS: u64 = 600_000;
    /// How long is waited for a state, unless the request says.
    pub const WAIT_MS: u64 = 60_000;
    /// The longest that can be waited: a day.
    pub const MAX_WAIT_MS: u64 = 86_400_000;

    /// How it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::CpusAdd { .. } => "cpus-add",
            Self::CpusRemove { .. } => "cpus-remove",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Wait { .. } => "wait",
            Self::Tasks => "tasks",
            Self::EventsOpen(_) => "events-open",
            Self::EventsEnable { .. } => "events-enable",
            Self::EventsDisable { .. } => "events-disable",
            Self::EventsRefresh { .. } => "events-refresh",
            Self::EventsReset { .. } => "events-reset",
            Self::EventsRead { .. } => "events-read",
            Self::EventsClose { .. } => "events-close",
            Self::EventsList => "events-list",
        }
    }

    /// Whether it changes nothing, and does not wait.
    pub const fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::Info | Self::Tasks | Self::EventsRead { .. } | Self::EventsList
        )
    }

    /// How long it says itself that it takes at most, in milliseconds.
    pub const fn limit_ms(&self) -> Option<u64> {
        match self {
            Self::CpusRemove { limit_ms, .. } | Self::Wait { limit_ms, .. } => Some(*limit_ms),
            _ => None,
        }
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The whole VM does this.
    Vm(RunState),
    /// A vCPU does this. Not [`CpuState::Finished`]: that is the whole VM's end.
    Vcpu(u32, CpuState),
}

impl Serialize for Until {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Vm(state) => map.serialize_entry("state", state)?,
            Self::Vcpu(vcpu, state) => {
                map.serialize_entry("vcpu", vcpu)?;
                map.serialize_entry("state", state)?;
            }
        }
        map.end()
    }
}

/// An event that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenEvent {
    /// On which vCPU. Of a task, only while it runs there; none for wherever it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// On which task; none for whatever runs on the vCPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// What to count, by its name in `perfvisor pmu list`.
    pub event: String,
    /// Counts between two overflows; none for an event that only counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// Overflows until it is disabled; needs a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Always on a counter, or else in error.
    pub pinned: bool,
    /// Starts off, and waits to be enabled.
    pub disabled: bool,
    /// Stays open when the client is gone.
    pub keep: bool,
    /// Each overflow is a SIGTRAP to the task, with this data; needs a task and a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigtrap: Option<u64>,
    /// Tasks that the task forks from then on are counted as well; needs a task.
    #[serde(skip_serializing_if = "is_not")]
    pub inherit: bool,
}

/// Left out where it is not so: a server that does not know the key takes the rest.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

impl OpenEvent {
    /// An event on a vCPU that counts and nothing more, closed with the client.
    pub fn counting(vcpu: u32, event: impl Into<String>) -> Self {
        Self {
            vcpu: Some(vcpu),
            ..Self::nowhere(event.into())
        }
    }

    /// The same on a task, wherever it runs.
    pub fn on_task(task: u64, event: impl Into<String>) -> Self {
        Self {
            task: Some(task),
            ..Self::nowhere(event.into())
        }
    }

    const fn nowhere(event: String) -> Self {
        Self {
            vcpu: None,
            task: None,
            event,
            period: None,
            limit: None,
            pinned: false,
            disabled: false,
            keep: false,
            sigtrap: None,
            inherit: false,
        }
    }
}
