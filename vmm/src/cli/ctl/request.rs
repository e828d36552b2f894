// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The request that a command comes to, and how long its answer may take.

use std::time::Duration;

use super::super::Failure;
use super::super::status::Status;
use super::args::{Cpus, Events, Open, Verb, Wait};
use crate::control::{self, CpuState, Limits, OpenEvent, Until};

/// How much longer than the VM may take is waited for its answer, so that the VM is the one to say
/// that time is up.
const SPARE: Duration = Duration::from_secs(10);

/// The request for `verb`.
pub(super) fn of(verb: &Verb) -> Result<control::Verb, Failure> {
    Ok(match verb {
        Verb::Info => control::Verb::Info,
        Verb::Cpus(Cpus::Add { count }) => control::Verb::CpusAdd { count: *count },
        Verb::Cpus(Cpus::Remove { vcpu, limit }) => control::Verb::CpusRemove {
            vcpu: *vcpu,
            limit_ms: millis(*limit),
        },
        Verb::Pause => control::Verb::Pause,
        Verb::Resume => control::Verb::Resume,
        Verb::Stop => control::Verb::Stop,
        Verb::Tasks => control::Verb::Tasks,
        Verb::Events(events) => of_events(events),
        Verb::Wait(wait) => control::Verb::Wait {
            until: until(wait).map_err(|line| Failure::new(Status::Usage, line))?,
            limit_ms: millis(wait.limit),
        },
    })
}

fn of_events(events: &Events) -> control::Verb {
    match events {
        Events::Open(open) => control::Verb::EventsOpen(of_open(open)),
        Events::Enable(id) => control::Verb::EventsEnable { event: id.event },
        Events::Disable(id) => control::Verb::EventsDisable { event: id.event },
        Events::Refresh { event, overflows } => control::Verb::EventsRefresh {
            event: event.event,
            overflows: *overflows,
        },
        Events::Reset(id) => control::Verb::EventsReset { event: id.event },
        Events::Read(id) => control::Verb::EventsRead { event: id.event },
        Events::Close(id) => control::Verb::EventsClose { event: id.event },
        Events::List => control::Verb::EventsList,
    }
}

fn of_open(open: &Open) -> OpenEvent {
    OpenEvent {
        period: open.period,
        limit: open.limit,
        pinned: open.pinned,
        disabled: open.disabled,
        // The command's connection ends with it; the event is for the commands that follow.
        keep: true,
        sigtrap: open.sigtrap,
        inherit: open.inherit,
        ..open.target.event(&open.event)
    }
}

fn until(wait: &Wait) -> Result<Until, String> {
    const OF_VM: &str = "running, paused or ended, or a vCPU with --vcpu ID";
    const OF_VCPU: &str = "absent, offline, starting, running, paused or stopping";
    let state = &wait.state;
    let until = match wait.vcpu {
        None => state.parse().ok().map(Until::Vm),
        Some(vcpu) => {
            let state = state.parse().ok().filter(|s| *s != CpuState::Finished);
            state.map(|state| Until::Vcpu(vcpu, state))
        }
    };
    let (whose, states) = match wait.vcpu {
        None => ("The VM", OF_VM),
        Some(_) => ("A vCPU", OF_VCPU),
    };
    until.ok_or_else(|| format!("{whose} has no state \"{state}\": give {states}"))
}

/// Whole milliseconds, at least as long.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// How long the answer to a request is waited for, unless the user says.
pub(super) fn patience(request: &control::Verb) -> Duration {
    Limits::default().time_for(request) + SPARE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RunState;

    #[test]
    fn a_limit_is_never_cut_short() {
        for (time, ms) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_micros(1500), 2),
            (Duration::from_secs(5), 5_000),
        ] {
            assert_eq!(millis(time), ms);
        }
    }

    #[test]
    fn the_vm_is_always_the_one_to_say_that_time_is_up() {
        let wait = |limit_ms| control::Verb::Wait {
            until: Until::Vm(RunState::Ended),
            limit_ms,
        };
        for (request, vm_takes) in [
            (control::Verb::Info, 30),
            (wait(0), 5),
            (wait(60_000), 65),
            (wait(control::Verb::MAX_WAIT_MS), 86_405),
        ] {
            assert!(
                patience(&request) > Duration::from_secs(vm_takes),
                "{request:?}"
            );
        }
    }
}
