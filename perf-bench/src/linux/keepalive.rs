// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An event that is never closed while others are measured.

use std::io;

use super::{Error, Event, Target};
use crate::threads::Blocked;

/// An event on a thread that sleeps.
///
/// Linux patches its context switch code when the first task event comes and some time after the
/// last has gone. That takes far longer than all else and is not what is to be compared: while this
/// lives, it does not happen.
#[derive(Debug)]
pub struct Keepalive {
    // Closed before its thread ends.
    _event: Event,
    _thread: Blocked,
}

impl Keepalive {
    /// Opens the event on a thread of its own on `cpu`.
    ///
    /// # Errors
    /// When the thread cannot be started or the kernel refuses the event.
    pub fn new(cpu: usize) -> Result<Self, Error> {
        let thread = Blocked::on(cpu).map_err(|source: io::Error| Error::Refused {
            call: "starting a thread",
            source,
        })?;
        Ok(Self {
            _event: Event::task_clock(Target::Thread(thread.id()))?,
            _thread: thread,
        })
    }
}
