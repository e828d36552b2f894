// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Events on tasks that count ticks, opened by this vCPU at the port or by the host.

use super::port::{self, EventNumber, Id, Open, Target};
use super::{Tid, port_id};
use crate::host::{self, Answer, Outcome as Came, TaskEvent, Wish};
use crate::tap::Outcome;
use crate::text::Text;
use crate::{check, check_eq, fail};

/// Who opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// CPU 0, at the perf port.
    Vcpu,
    /// A client of the control socket.
    Host,
}

/// An open event.
#[derive(Clone, Copy, Debug)]
pub enum TickEvent {
    /// By its number at the port.
    OfVcpu(Id),
    /// By its number at the desk.
    OfHost(u32),
}

impl TickEvent {
    /// Opens one; how often the task was looked for.
    ///
    /// # Errors
    /// That it was refused.
    ///
    /// # Panics
    /// If the port does not know the task.
    pub fn open(by: By, task: Tid) -> Result<(Self, u64), Text> {
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
    ///
    /// # Panics
    /// If the port does not know the task.
    pub fn post(task: Tid) {
        host::post(opening(task));
    }

    /// The one that was [`post`](Self::post)ed.
    ///
    /// # Errors
    /// That it was refused.
    ///
    /// # Panics
    /// If the port does not know the task.
    pub fn posted(task: Tid) -> Result<(Self, u64), Text> {
        Self::opened_by_host(opening(task))
    }

    fn opened_by_host(wish: Wish) -> Result<(Self, u64), Text> {
        let Answer { outcome, words } = host::wait(wish)?;
        check!(outcome == Came::Done, "{wish:?}: {outcome:?}");
        let [event, rounds, _] = words;
        Ok((Self::OfHost(event), rounds.into()))
    }

    /// What it counted so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn count(self) -> Result<u64, Text> {
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

    /// Closes it.
    ///
    /// # Errors
    /// That it was refused.
    pub fn close(self) -> Outcome {
        match self {
            Self::OfVcpu(event) => port::must("close", |port| port.close(event)),
            Self::OfHost(event) => host::grant(Wish::TaskClose(event)).map(|_| ()),
        }
    }

    /// Checks what it counted, and closes it.
    ///
    /// # Errors
    /// It counted something else.
    pub fn expect(self, count: u64, what: &str) -> Outcome {
        check_eq!(self.count()?, count, "ticks of {what}");
        self.close()
    }
}

fn id(task: Tid) -> Id {
    Id::new(port_id(task)).expect("the port knows the task")
}

fn opening(task: Tid) -> Wish {
    let task = u32::try_from(id(task).get()).expect("there are few tasks");
    Wish::TaskOpen(task, TaskEvent::TICKS)
}
