// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the server needs of a VM.

use std::fmt;
use std::time::Duration;

use vpmu::context::Task;

use super::{
    Closed, EventList, EventRead, EventState, Info, OpenEvent, Opened, Refusal, TaskLine, TaskList,
    Until,
};

/// A VM, as the control socket reaches it.
///
/// Every client has a thread of its own that calls this, so that calls may wait; each must end by
/// itself in the time given, and soon once the run is over. All of them may come at once.
pub trait Host: Send + Sync + 'static {
    /// What the VM is and does. The server itself fills in [`Info::events`].
    ///
    /// # Errors
    /// [`ErrorKind::Ended`](super::ErrorKind::Ended) if there is nothing left to tell.
    fn info(&self) -> Result<Info, Refusal>;

    /// Adds the lowest vCPU that is not there; its number.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`](super::ErrorKind::Refused) if all are there or the VM is paused.
    fn add_vcpu(&self) -> Result<u32, Refusal>;

    /// Asks the guest to give a vCPU back, and waits for that up to `limit`.
    ///
    /// # Errors
    /// [`ErrorKind::NotHonoured`](super::ErrorKind::NotHonoured) if the guest did not in time or
    /// refused to, [`ErrorKind::NoSuchVcpu`](super::ErrorKind::NoSuchVcpu) if there can be none of
    /// that number, [`ErrorKind::Refused`](super::ErrorKind::Refused) for vCPU 0 and for one that
    /// is not there.
    fn remove_vcpu(&self, vcpu: u32, limit: Duration) -> Result<(), Refusal>;

    /// Makes every vCPU stand still.
    ///
    /// # Errors
    /// [`ErrorKind::Ended`](super::ErrorKind::Ended) if the run is over.
    fn pause(&self) -> Result<(), Refusal>;

    /// Lets every vCPU run again.
    ///
    /// # Errors
    /// [`ErrorKind::Ended`](super::ErrorKind::Ended) if the run is over.
    fn resume(&self) -> Result<(), Refusal>;

    /// Ends the run, unless it has ended. Need not wait for its threads.
    ///
    /// # Errors
    /// None that is usual.
    fn stop(&self) -> Result<(), Refusal>;

    /// Waits for a state up to `limit`; whether it was there. Zero only looks. The server asks
    /// again and again for a tenth of a second, so that it can give up in between.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVcpu`](super::ErrorKind::NoSuchVcpu) if there can be no vCPU of that
    /// number, [`ErrorKind::Ended`](super::ErrorKind::Ended) if the run is over and the state will
    /// not come.
    fn wait(&self, until: Until, limit: Duration) -> Result<bool, Refusal>;

    /// The events on its vCPUs and tasks; none if the VM has no perf core.
    fn events(&self) -> Option<&dyn EventDesk>;
}

/// A connection to the control socket: unique in its server, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is done to an event that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It may count.
    Enable,
    /// It stops.
    Disable,
    /// It may overflow so many times more.
    Refresh(u64),
    /// Its count is 0 again.
    Reset,
}

/// The guest's tasks, as its perf port knows them.
///
/// Whoever has no perf port has no tasks.
pub trait Tasks: Send + Sync {
    /// The task of that number; none if there is none, or none any more.
    fn task(&self, id: u64) -> Option<Task>;

    /// All of them, in the order of their numbers.
    fn list(&self) -> Vec<TaskLine>;
}

/// The events that clients have open. [`Events`](super::Events) is the one for VMs.
///
/// Any client may do anything to any event.
pub trait EventDesk: Send + Sync {
    /// The guest's tasks, on which events can be.
    fn tasks(&self) -> TaskList;

    /// Opens an event that belongs to `client`.
    ///
    /// # Errors
    /// [`ErrorKind::BadRequest`](super::ErrorKind::BadRequest) for an event without that name,
    /// [`ErrorKind::NoSuchTask`](super::ErrorKind::NoSuchTask) for a task that there is not,
    /// [`ErrorKind::Refused`](super::ErrorKind::Refused) if too many are open,
    /// [`ErrorKind::Perf`](super::ErrorKind::Perf) for what the perf core refuses.
    fn open(&self, client: ClientId, open: &OpenEvent) -> Result<Opened, Refusal>;

    /// Does something to an event.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchEvent`](super::ErrorKind::NoSuchEvent) if it is not open,
    /// [`ErrorKind::Perf`](super::ErrorKind::Perf) for what the perf core refuses.
    fn change(&self, event: u64, change: Change) -> Result<EventState, Refusal>;

    /// Reads an event.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    fn read(&self, event: u64) -> Result<EventRead, Refusal>;

    /// Closes an event.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    fn close(&self, event: u64) -> Result<Closed, Refusal>;

    /// The events that are open, as `client` sees them.
    fn list(&self, client: ClientId) -> EventList;

    /// How many events are open.
    fn open_events(&self) -> usize;

    /// `client` is gone: closes its events, but for those that are to be kept.
    fn leave(&self, client: ClientId);
}
