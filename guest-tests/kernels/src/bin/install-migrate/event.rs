// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An event on the task, opened by another vCPU or by the host.

use rt::host::{self, Answer, Outcome as Came, TaskEvent, Wish};
use rt::sched::port::{self, EventNumber, Id, Open, Target};
use rt::sched::{self, Tid};
use rt::tap::Outcome;
use rt::text::Text;
use rt::{check, fail};

/// Who opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// CPU 0, at the perf port.
    Vcpu,
    /// A client of the control socket.
    Host,
}

/// An open event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    OfVcpu(Id),
    OfHost(u32),
}

impl Event {
    /// Opens one; how often the task was looked for.
    pub(crate) fn open(by: By, task: Tid) -> Result<(Self, u64), Text> {
        match by {
            By::Vcpu => {
                let target = Target::Task(id(task));
                let open = Open::new(EventNumber::PortTick, target);
                let opened = port::must("open", |port| port.open(&open))?;
                Ok((Self::OfVcpu(opened.event), opened.rounds))
            }
            By::Host => {
                let wish = opening(task);
                host::post(wish);
                Self::opened_by_host(wish)
            }
        }
    }

    /// Asks the host for one, and does not wait.
    pub(crate) fn post(task: Tid) {
        host::post(opening(task));
    }

    /// The one that was [`post`](Self::post)ed.
    pub(crate) fn posted(task: Tid) -> Result<(Self, u64), Text> {
        Self::opened_by_host(opening(task))
    }

    fn opened_by_host(wish: Wish) -> Result<(Self, u64), Text> {
        let Answer { outcome, words } = host::wait(wish)?;
        check!(outcome == Came::Done, "{wish:?}: {outcome:?}");
        let [event, rounds, _] = words;
        Ok((Self::OfHost(event), rounds.into()))
    }

    /// What it counted so far.
    pub(crate) fn count(self) -> Result<u64, Text> {
        match self {
            Self::OfVcpu(event) => match port::must("read", |port| port.read(event))? {
                Some(reading) => Ok(reading.count),
                None => fail!("end of file: not pinned, and in error"),
            },
            Self::OfHost(event) => {
                let [low, high, _] = host::grant(Wish::TaskRead(event))?;
                Ok(u64::from(low) | u64::from(high) << 32)
            }
        }
    }

    pub(crate) fn close(self) -> Outcome {
        match self {
            Self::OfVcpu(event) => port::must("close", |port| port.close(event)),
            Self::OfHost(event) => host::grant(Wish::TaskClose(event)).map(|_| ()),
        }
    }
}

fn id(task: Tid) -> Id {
    Id::new(sched::port_id(task)).expect("the port knows the task")
}

fn opening(task: Tid) -> Wish {
    let task = u32::try_from(id(task).get()).expect("there are few tasks");
    Wish::TaskOpen(task, TaskEvent::TICKS)
}
