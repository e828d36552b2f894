// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! OPEN: an event as the guest asks for it, as the perf core knows it.

use perf_port::{Errno, EventNumber, Open, OpenFlags, Target};
use vcpu_call::VcpuId;
use vpmu::context::{self, Attr, Clock, PerfObserver, Task};
use vpmu::{Event, EventConfig};

use crate::page::Returns;
use crate::run::{Outcome, errno};
use crate::{PortThread, PortVcpu};

impl<C: Clock, O: PerfObserver> PortVcpu<C, O> {
    /// Opens an event; with a limit, it starts when it has that (Q14).
    pub(crate) fn open(&self, open: &Open, thread: &mut impl PortThread<C, O>) -> Outcome {
        let perf = &self.port.perf;
        let attr = attr(open);
        if open.limit != 0 && (!attr.samples() || attr.inherit) {
            return Err(Errno::Invalid);
        }
        let leader = match open.leader {
            None => None,
            Some(leader) => Some(self.port.tables.event(leader)?),
        };
        let task: Option<Task> = match open.target {
            Target::Vcpu(_) => None,
            Target::Task(task) | Target::TaskOn(task, _) => Some(self.task(task)?),
        };
        let target = match (&task, open.target) {
            (Some(task), Target::TaskOn(_, vcpu)) => context::Target::TaskOn(task, VcpuId(vcpu)),
            (Some(task), _) => context::Target::Task(task),
            (None, Target::Vcpu(vcpu) | Target::TaskOn(_, vcpu)) => {
                context::Target::Vcpu(VcpuId(vcpu))
            }
            (None, Target::Task(_)) => return Err(Errno::NoSuchTask),
        };
        let place = self.port.tables.place_for_event()?;
        let wanted = context::Open {
            group: leader.as_ref(),
            ..context::Open::new(attr, target)
        };
        let (event, rounds) = perf.open_counting_rounds(&wanted, thread).map_err(errno)?;
        if open.limit != 0 {
            // Nobody else knows the event yet: it is not closed, and refreshing it is not refused.
            perf.refresh(&event, open.limit, thread).map_err(errno)?;
        }
        Ok(Returns {
            value: place.event(event, task.as_ref().map(Task::id)),
            outs: vec![u64::from(rounds)],
            ..Returns::default()
        })
    }
}

fn attr(open: &Open) -> Attr {
    let flag = |flag| open.flags.contains(flag);
    Attr {
        config: EventConfig {
            usr: !flag(OpenFlags::EXCLUDE_USER),
            os: !flag(OpenFlags::EXCLUDE_KERNEL),
            ..EventConfig::everywhere(counted(open.event))
        },
        period: open.period,
        disabled: flag(OpenFlags::DISABLED) || open.limit != 0,
        pinned: flag(OpenFlags::PINNED),
        inherit: flag(OpenFlags::INHERIT),
        remove_on_exec: flag(OpenFlags::REMOVE_ON_EXEC),
        sigtrap: open.data,
    }
}

const fn counted(event: EventNumber) -> Event {
    match event {
        EventNumber::Cycles => Event::CoreCycles,
        EventNumber::Instructions => Event::Instructions,
        EventNumber::RefCycles => Event::RefCycles,
        EventNumber::LlcReferences => Event::LlcReferences,
        EventNumber::LlcMisses => Event::LlcMisses,
        EventNumber::Branches => Event::Branches,
        EventNumber::BranchMisses => Event::BranchMisses,
        EventNumber::PortTick => Event::PortTick,
    }
}
