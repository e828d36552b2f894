// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Answers.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{CpuState, ErrorKind, EventNow, Id, Refusal, RunState, TaskState, VERSION};

/// What the server says to one line.
///
/// The server's have a [`Done`]; a client reads the object as it is, and then as what it asked
/// for, by [`read_as`](Self::read_as).
///
/// ```
/// use vmm::control::{Added, Answer, Done, Id};
///
/// let added = Done::Added(Added { added: vec![1] });
/// let line = Answer { id: Some(Id::Number(7)), result: Ok(added) }.line();
/// assert_eq!(line, "{\"v\":1,\"id\":7,\"ok\":{\"added\":[1]}}\n");
/// let answer = Answer::read(&line)?;
/// assert_eq!(answer.read_as::<Added>(), Ok(Added { added: vec![1] }));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T = Value> {
    /// As the request gave it.
    pub id: Option<Id>,
    /// What happened.
    pub result: Result<T, Refusal>,
}

/// As it is on the wire.
#[derive(Serialize, Deserialize)]
struct Wire<T> {
    v: u64,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    ok: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

/// `Default` would be asked of `T` as well.
const fn none<T>() -> Option<T> {
    None
}

impl<T: Serialize> Serialize for Answer<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let wire = Wire {
            v: VERSION,
            id: self.id.clone(),
            ok: self.result.as_ref().ok(),
            error: self.result.as_ref().err().cloned(),
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { v, id, ok, error } = Wire::deserialize(deserializer)?;
        if v != VERSION {
            return Err(D::Error::custom(format!("Version {v} is not spoken here")));
        }
        let result = match (ok, error) {
            (Some(ok), None) => Ok(ok),
            (None, Some(error)) => Err(error),
            _ => return Err(D::Error::custom("an answer has either ok or error")),
        };
        Ok(Self { id, result })
    }
}

impl<T: Serialize> Answer<T> {
    /// As it is sent, with its LF.
    pub fn line(&self) -> String {
        // All types of answers can be written: their keys are strings.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl Answer {
    /// Reads a line, with or without its LF.
    ///
    /// # Errors
    /// If it is no answer of this version.
    pub fn read(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }

    /// What was done, as the type that goes with the request.
    ///
    /// # Errors
    /// The server's, or [`ErrorKind::Internal`] if it answered something else.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let ok = self.result.as_ref().map_err(Refusal::clone)?;
        T::deserialize(ok).map_err(|error| {
            let message = format!("The server answered something else than was asked: {error}");
            Refusal::new(ErrorKind::Internal, message)
        })
    }
}

/// What was done: the `ok` of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Done {
    /// To `info`.
    Info(Info),
    /// To `cpus-add`.
    Added(Added),
    /// To `cpus-remove`.
    Removed(Removed),
    /// To `pause`, `resume` and `stop`.
    NowIs(NowIs),
    /// To `wait`.
    Reached(Reached),
    /// To `tasks`.
    TaskList(TaskList),
    /// To `events-open`.
    Opened(Opened),
    /// To `events-enable`, `events-disable`, `events-refresh` and `events-reset`.
    EventState(EventState),
    /// To `events-read`.
    EventRead(EventRead),
    /// To `events-close`.
    Closed(Closed),
    /// To `events-list`.
    EventList(EventList),
}

/// What a VM is and does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The version of the program that runs it.
    pub version: String,
    /// The process that runs it.
    pub pid: u32,
    /// What runs its vCPUs: `kvm`.
    pub accel: String,
    /// What it is doing.
    pub state: RunState,
    /// Since its vCPUs were let go, pauses included.
    pub uptime_ms: u64,
    /// The model of the PMU that its guest found; none if it has none.
    pub pmu: Option<String>,
    /// Where all counts come from, and whether they are measured; none if nothing counts.
    #[serde(default)]
    pub source: Option<String>,
    /// Every vCPU that there can be, in the order of their numbers.
    pub vcpus: Vec<VcpuLine>,
    /// How many events are open through control sockets.
    pub events: usize,
}

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuLine {
    /// Its number.
    pub vcpu: u32,
    /// What it is doing.
    pub state: CpuState,
    /// The guest has been asked to give it back, and has not yet.
    pub removal_asked: bool,
}

/// vCPUs were added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Their numbers.
    pub added: Vec<u32>,
}

/// A vCPU was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its number.
    pub removed: u32,
}

/// The VM was paused, resumed or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NowIs {
    /// What it is doing now.
    pub state: RunState,
}

/// A state that was waited for was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Of which vCPU; none for the whole VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// The word for it.
    pub state: String,
}

/// The guest's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    /// In the order of their numbers.
    pub tasks: Vec<TaskLine>,
}

/// A guest task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLine {
    /// Its number: unique in its VM, never used again.
    pub task: u64,
    /// What the guest calls it. The guest chose it: it may be anything, and several may have it.
    pub name: String,
    /// The vCPU that it was last known to be on.
    pub vcpu: u32,
    /// What it is doing.
    pub state: TaskState,
    /// How many events are open on it, the guest's own and those of control sockets.
    pub events: usize,
}

/// An event was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its number: unique in its VM, never used again.
    pub event: u64,
    /// It is in its vCPU's lists: what it asks for holds from the next entry to the guest on.
    pub installed: bool,
    /// How often its target was looked for until it was.
    pub rounds: u32,
    /// What it is doing now.
    pub state: EventNow,
}

/// Something was done to an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventState {
    /// Its number.
    pub event: u64,
    /// What it is doing now.
    pub state: EventNow,
}

/// An event was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRead {
    /// Its number.
    pub event: u64,
    /// The vCPU that it is on; none for that of a task wherever it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// The task that it is on; none for that of a whole vCPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// What it counts.
    pub name: String,
    /// Where the count comes from, and whether it is measured.
    pub source: String,
    /// What it counted; none in the state `error`, as these all.
    pub count: Option<u64>,
    /// How long it wanted to count while its vCPU was online, or its task ran.
    pub enabled_ns: Option<u64>,
    /// How long of that it was on a counter.
    pub running_ns: Option<u64>,
    /// The count, extrapolated to all of the time enabled; none if it never was on a counter.
    pub scaled: Option<u64>,
    /// What it is doing.
    pub state: EventNow,
    /// How often it overflowed.
    pub overflows: u64,
    /// Overflows until it is disabled; none without a limit.
    pub left: Option<u64>,
    /// What became of its overflows as SIGTRAPs; none for an event without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traps: Option<EventTraps>,
}

/// What became of the overflows of an event with sigtrap, those of inherited events included:
/// each was queued, merged or refused, and each queued one is sent, dropped or on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTraps {
    /// Overflows that made a trap.
    pub queued: u64,
    /// Overflows that found a trap of the event on its way.
    pub merged: u64,
    /// Overflows that the task's exit found, after it had let go of its traps.
    pub refused: u64,
    /// Traps that the task got.
    pub sent: u64,
    /// Traps whose task exited first.
    pub dropped: u64,
}

/// An event was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Its number.
    pub closed: u64,
}

/// The events that are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventList {
    /// In the order in which they were opened.
    pub events: Vec<EventLine>,
}

/// An open event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Its number.
    pub event: u64,
    /// The vCPU that it is on; none for that of a task wherever it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<u32>,
    /// The task that it is on; none for that of a whole vCPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<u64>,
    /// What it counts.
    pub name: String,
    /// Counts between two overflows; none for an event that only counts.
    pub period: Option<u64>,
    /// Always on a counter, or else in error.
    pub pinned: bool,
    /// It stays open when its client is gone.
    pub keep: bool,
    /// It was opened by whoever asks.
    pub own: bool,
    /// What it is doing.
    pub state: EventNow,
    /// How often it overflowed.
    pub overflows: u64,
    /// Overflows until it is disabled; none without a limit.
    pub left: Option<u64>,
}
