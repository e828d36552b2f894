// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! From a request to what the host does.

use std::time::{Duration, Instant};

use super::{
    Added, Change, ClientId, CpuState, Done, ErrorKind, EventDesk, Host, Info, NowIs, Reached,
    Refusal, Removed, RunState, Until, Verb,
};

/// How long is waited for a state before it is looked whether the wait was given up.
const SLICE: Duration = Duration::from_millis(100);

/// Does what `client` asks for. It may take as long as the request says.
///
/// A wait ends early once `given_up` says so.
///
/// # Errors
/// Why it was not done.
pub fn obey(
    host: &impl Host,
    client: ClientId,
    verb: &Verb,
    given_up: impl Fn() -> bool,
) -> Result<Done, Refusal> {
    let change = |event: u64, change| {
        let state = desk(host)?.change(event, change)?;
        Ok(Done::EventState(state))
    };
    match *verb {
        Verb::Info => {
            let events = host.events().map_or(0, EventDesk::open_events);
            let info = host.info()?;
            Ok(Done::Info(Info { events, ..info }))
        }
        Verb::CpusAdd { count } => add(host, count),
        Verb::CpusRemove { vcpu, limit_ms } => {
            host.remove_vcpu(vcpu, Duration::from_millis(limit_ms))?;
            Ok(Done::Removed(Removed { removed: vcpu }))
        }
        Verb::Pause => host.pause().map(|()| now_is(RunState::Paused)),
        Verb::Resume => host.resume().map(|()| now_is(RunState::Running)),
        Verb::Stop => host.stop().map(|()| now_is(RunState::Ended)),
        Verb::Wait { until, limit_ms } => {
            wait(host, until, Duration::from_millis(limit_ms), given_up)
        }
        Verb::Tasks => Ok(Done::TaskList(desk(host)?.tasks())),
        Verb::EventsOpen(ref open) => desk(host)?.open(client, open).map(Done::Opened),
        Verb::EventsEnable { event } => change(event, Change::Enable),
        Verb::EventsDisable { event } => change(event, Change::Disable),
        Verb::EventsRefresh { event, overflows } => change(event, Change::Refresh(overflows)),
        Verb::EventsReset { event } => change(event, Change::Reset),
        Verb::EventsRead { event } => desk(host)?.read(event).map(Done::EventRead),
        Verb::EventsClose { event } => desk(host)?.close(event).map(Done::Closed),
        Verb::EventsList => Ok(Done::EventList(desk(host)?.list(client))),
    }
}

fn desk(host: &impl Host) -> Result<&dyn EventDesk, Refusal> {
    let none = || {
        let message = "The VM has no perf core: run it with a PMU";
        Refusal::new(ErrorKind::Refused, message)
    };
    host.events().ok_or_else(none)
}

const fn now_is(state: RunState) -> Done {
    Done::NowIs(NowIs { state })
}

/// One after the other; what was added before an error stays, and the error tells it.
fn add(host: &impl Host, count: u32) -> Result<Done, Refusal> {
    let mut added = Vec::new();
    for _ in 0..count {
        match host.add_vcpu() {
            Ok(vcpu) => added.push(vcpu),
            Err(refusal) if added.is_empty() => return Err(refusal),
            Err(refusal) => {
                let message = format!(
                    "Added {} of {count} (vCPU {}), then: {}",
                    added.len(),
                    list(&added),
                    refusal.message
                );
                return Err(Refusal { message, ..refusal });
            }
        }
    }
    Ok(Done::Added(Added { added }))
}

fn list(vcpus: &[u32]) -> String {
    let names: Vec<_> = vcpus.iter().map(u32::to_string).collect();
    names.join(", ")
}

fn wait(
    host: &impl Host,
    until: Until,
    limit: Duration,
    given_up: impl Fn() -> bool,
) -> Result<Done, Refusal> {
    let began = Instant::now();
    loop {
        let left = limit.saturating_sub(began.elapsed());
        let given_up = given_up();
        // The last look is for what came together with the end of the wait.
        let last = left.is_zero() || given_up;
        let slice = if last {
            Duration::ZERO
        } else {
            left.min(SLICE)
        };
        if host.wait(until, slice)? {
            return Ok(Done::Reached(reached(until)));
        }
        if given_up {
            let message = "The control server ends, and the wait with it";
            return Err(Refusal::new(ErrorKind::Ended, message));
        }
        if last {
            return Err(not_reached(host, until, limit));
        }
    }
}

fn reached(until: Until) -> Reached {
    match until {
        Until::Vm(state) => Reached {
            vcpu: None,
            state: state.to_string(),
        },
        Until::Vcpu(vcpu, state) => Reached {
            vcpu: Some(vcpu),
            state: state.to_string(),
        },
    }
}

fn not_reached(host: &impl Host, until: Until, limit: Duration) -> Refusal {
    let now = match (host.info(), until) {
        (Err(_), _) => None,
        (Ok(info), Until::Vm(_)) => Some(info.state.to_string()),
        (Ok(info), Until::Vcpu(vcpu, _)) => {
            let mut lines = info.vcpus.into_iter();
            let line = lines.find(|line| line.vcpu == vcpu);
            line.map(|line| line.state)
                .as_ref()
                .map(CpuState::to_string)
        }
    };
    let (who, wanted) = match until {
        Until::Vm(state) => ("The VM".to_owned(), state.to_string()),
        Until::Vcpu(vcpu, state) => (format!("vCPU {vcpu}"), state.to_string()),
    };
    let now = now.map(|now| format!(": it is {now}")).unwrap_or_default();
    let message = format!("{who} is not {wanted} after {} ms{now}", limit.as_millis());
    Refusal::new(ErrorKind::Timeout, message)
}
