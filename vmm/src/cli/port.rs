// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port, as it is written on the command line.

use std::str::FromStr;

use crate::PortLimits;

/// What `--perf-port` says: what the guest may ask for, or that it has no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerfPort(pub(super) Option<PortLimits>);

/// Why a text says nothing about a perf port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    /// It has another form.
    #[error(
        "give none, or limits such as tasks=100,events=64,calls=50000: of tasks, of open events, and \
         of calls a second on each vCPU (calls=0 for no limit)"
    )]
    Form,
    /// With a limit of 0 the port would be of no use.
    #[error("{0}=0 leaves nothing to use the port for: give none")]
    Zero(&'static str),
}

/// `none`, or some of `tasks=N`, `events=N` and `calls=N`, in any order.
impl FromStr for PerfPort {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        if text == "none" {
            return Ok(Self(None));
        }
        let (mut tasks, mut events, mut calls) = (None, None, None);
        for part in text.split(',') {
            let (key, number) = part.split_once('=').ok_or(PortError::Form)?;
            let place = match key {
                "tasks" => &mut tasks,
                "events" => &mut events,
                "calls" => &mut calls,
                _ => return Err(PortError::Form),
            };
            let number: u32 = number.parse().map_err(|_| PortError::Form)?;
            if place.replace(number).is_some() {
                return Err(PortError::Form);
            }
        }
        let usual = PortLimits::default();
        let some = |limit: Option<u32>, name, usual| match limit {
            Some(0) => Err(PortError::Zero(name)),
            Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            None => Ok(usual),
        };
        Ok(Self(Some(PortLimits {
            tasks: some(tasks, "tasks", usual.tasks)?,
            events: some(events, "events", usual.events)?,
            calls_per_second: calls.unwrap_or(usual.calls_per_second),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_are_not_given_are_the_usual_ones() {
        let usual = PortLimits::default();
        assert_eq!("none".parse(), Ok(PerfPort(None)));
        let some = PortLimits { tasks: 7, ..usual };
        assert_eq!("tasks=7".parse(), Ok(PerfPort(Some(some))));
        let all = PortLimits {
            tasks: 7,
            events: 8,
            calls_per_second: 9,
        };
        assert_eq!("calls=9,tasks=7,events=8".parse(), Ok(PerfPort(Some(all))));
        let free = PortLimits {
            calls_per_second: 0,
            ..usual
        };
        assert_eq!("calls=0".parse(), Ok(PerfPort(Some(free))));
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "none,tasks=1",
            "tasks",
            "tasks=",
            "tasks=-1",
            "tasks=1,tasks=2",
            "slots=3",
            "calls=4294967296",
        ] {
            assert_eq!(text.parse::<PerfPort>(), Err(PortError::Form), "{text}");
        }
        for (text, name) in [("tasks=0", "tasks"), ("events=0", "events")] {
            assert_eq!(text.parse::<PerfPort>(), Err(PortError::Zero(name)));
        }
    }
}
