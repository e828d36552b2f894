// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The main loop: waits for the guest, the clock and the user, whoever is first.

use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use crate::{Exit, ExitReason, RunReport, RunningVm};
use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::timerfd::TimerFd;

use super::signals::Signals;
use super::{Failure, Status};

/// What the loop waits for, and what has come.
struct Watch {
    progress: RawFd,
    timer: TimerFd,
    signals: Signals,
    seen: Seen,
    /// An event source that could not be added.
    broken: Option<event_manager::Error>,
}

#[derive(Default)]
struct Seen {
    progress: bool,
    timeout: bool,
    signal: Option<ExitReason>,
}

impl MutEventSubscriber for Watch {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let sources = [
            Events::new_raw(self.progress, EventSet::IN),
            Events::new(&self.timer, EventSet::IN),
            Events::new(&self.signals, EventSet::IN),
        ];
        self.broken = sources.into_iter().find_map(|source| ops.add(source).err());
    }

    fn process(&mut self, events: Events, _ops: &mut EventOps<'_>) {
        if events.fd() == self.progress {
            // `RunningVm::poll_end` takes the event away.
            self.seen.progress = true;
        } else if events.fd() == self.signals.as_raw_fd() {
            self.seen.signal = self.signals.take();
        } else if events.fd() == self.timer.as_raw_fd() {
            // It ends the loop, so nobody reads it.
            self.seen.timeout = true;
        }
    }
}

/// Waits for the end of the run, `timeout` at most.
pub(super) fn wait(
    mut running: RunningVm,
    timeout: Option<Duration>,
    signals: Signals,
) -> Result<RunReport, Failure> {
    let mut timer = TimerFd::new().map_err(|error| host("timerfd_create", &error))?;
    if let Some(timeout) = timeout {
        timer
            .reset(timeout, None)
            .map_err(|error| host("timerfd_settime", &error))?;
    }
    let mut manager = EventManager::new().map_err(|error| host("epoll", &error))?;
    let progress = running.progress_fd();
    let watch = Watch {
        progress,
        timer,
        signals,
        seen: Seen::default(),
        broken: None,
    };
    let id = manager.add_subscriber(watch);
    loop {
        let watch = manager
            .subscriber_mut(id)
            .map_err(|error| host("epoll", &error))?;
        if let Some(error) = watch.broken.take() {
            return Err(host("epoll", &error));
        }
        let seen = std::mem::take(&mut watch.seen);
        let end = if let Some(reason) = seen.signal {
            Some(Exit::new(reason))
        } else if seen.timeout {
            Some(Exit::new(ExitReason::Timeout))
        } else if seen.progress && running.poll_end().map_err(|error| failed(&error))? {
            // It has ended, and as it did.
            Some(Exit::new(ExitReason::Stopped))
        } else {
            None
        };
        if let Some(exit) = end {
            return running.finish(exit).map_err(|error| failed(&error));
        }
        manager.run().map_err(|error| host("epoll", &error))?;
    }
}

pub(super) fn failed(error: &crate::VmError) -> Failure {
    Failure::of(Status::of_error(error), error)
}

fn host(call: &str, error: &dyn std::fmt::Display) -> Failure {
    let line = format!("{call} failed: raise the limit of open files (`ulimit -n`): {error}");
    Failure::new(Status::HostIo, line)
}
