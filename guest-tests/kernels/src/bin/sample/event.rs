// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events of the perf port.

use rt::sched::port::{self, EventNumber, Id, Open, Opened, Reading, Target};
use rt::sched::{self, Tid};
use rt::text::Text;
use rt::{check, fail};

/// The port's number of a task.
pub(crate) fn id(task: Tid) -> Id {
    Id::new(sched::port_id(task)).expect("the port knows the task")
}

/// Opens an event that only counts.
///
/// # Errors
/// The port's errno.
pub(crate) fn count(event: EventNumber, target: Target) -> Result<Opened, Text> {
    port::must("open", |port| port.open(&Open::new(event, target)))
}

/// What an event counted so far.
///
/// # Errors
/// The port's errno.
pub(crate) fn read(event: Id) -> Result<Reading, Text> {
    match port::must("read", |port| port.read(event))? {
        Some(reading) => Ok(reading),
        None => fail!("end of file: not pinned, and in error"),
    }
}

/// The same, of an event that was on a counter whenever it could: nothing is estimated.
///
/// # Errors
/// The port's errno, or that it had to share a counter.
pub(crate) fn read_all(event: Id) -> Result<Reading, Text> {
    let reading = read(event)?;
    check!(
        reading.running == reading.enabled,
        "an event had to share a counter"
    );
    Ok(reading)
}

/// Closes an event.
///
/// # Errors
/// The port's errno.
pub(crate) fn close(event: Id) -> Result<(), Text> {
    port::must("close", |port| port.close(event))
}
