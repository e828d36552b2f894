// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An event on a task: with the first one announcements begin, with the last one they end.

use rt::check_eq;
use rt::fail;
use rt::host::{self, TaskEvent, Wish};
use rt::sched::port::{self, EventNumber, Id, Open, Target};
use rt::sched::{self, Tid};
use rt::tap::Outcome;
use rt::text::Text;

/// Who opens it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// CPU 0, at the perf port.
    Vcpu,
    /// A client of the control socket.
    Host,
}

/// An open event that counts ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    OfVcpu(Id),
    OfHost(u32),
}

impl Event {
    pub(crate) fn open(by: By, task: Tid) -> Result<Self, Text> {
        let task = Id::new(sched::port_id(task)).expect("the port knows the task");
        match by {
            By::Vcpu => {
                let open = Open::new(EventNumber::PortTick, Target::Task(task));
                let opened = port::must("open", |port| port.open(&open))?;
                Ok(Self::OfVcpu(opened.event))
            }
            By::Host => {
                let task = u32::try_from(task.get()).expect("there are few tasks");
                let [event, ..] = host::grant(Wish::TaskOpen(task, TaskEvent::TICKS))?;
                Ok(Self::OfHost(event))
            }
        }
    }

    fn count(self) -> Result<u64, Text> {
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

    /// Checks what it counted, and closes it.
    pub(crate) fn expect(self, count: u64, what: &str) -> Outcome {
        check_eq!(self.count()?, count, "ticks of {what}");
        self.close()
    }
}
