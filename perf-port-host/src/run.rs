// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commands: what each of them does.

use perf_port::{Command, Errno, EventState, Id, Leaves, Name, Reading, TrapTotals};
use vcpu_call::VcpuId;
use vpmu::context::order::Place;
use vpmu::context::{self, Clock, Event, PerfError, PerfObserver, State, Task, TaskId};

use crate::page::{Block, PortPage, Returns};
use crate::vcpu::hand_over;
use crate::{PortThread, PortVcpu};

/// What a command comes to.
pub(crate) type Outcome = Result<Returns, Errno>;

/// Of READ's words: where the event is in its life.
const STATE: usize = 4;

impl<C: Clock, O: PerfObserver> PortVcpu<C, O> {
    /// Does what `block` asks for, on the thread of this vCPU.
    pub(crate) fn run(
        &self,
        block: &Block,
        page: &PortPage,
        thread: &mut impl PortThread<C, O>,
    ) -> Outcome {
        let perf = &self.port.perf;
        match Command::decode(block.op, block.reserved, &block.args)? {
            Command::Nop => nothing(),
            Command::Create { vcpu, name } => self.create(VcpuId(vcpu), name),
            Command::Fork { parent, name } => self.fork(parent, name, thread),
            Command::Exec { task, name } => self.exec(task, name, thread),
            Command::Exit { task } => self.exit(task, thread),
            Command::Switch { prev, leaves, next } => self.switch(prev, leaves, next, thread),
            Command::Migrate { task, vcpu } => {
                let (task, _) = self.port.tables.named(task)?;
                done(perf.migrate(&task, VcpuId(vcpu)))
            }
            Command::Wake { task, vcpu } => self.wake(task, VcpuId(vcpu)),
            Command::User => value(hand_over(page, thread)),
            Command::TrapDone => {
                thread.cpu_mut().trap_done().map_err(errno)?;
                value(thread.cpu().trap_waits())
            }
            Command::Open(open) => self.open(&open, thread),
            Command::Close { event } => {
                let open = self.event(event)?;
                perf.close(&open, thread).map_err(errno)?;
                self.port.tables.forget_event(event);
                nothing()
            }
            Command::Enable { event, group } => {
                let event = self.event(event)?;
                done(if group {
                    perf.enable_group(&event, thread)
                } else {
                    perf.enable(&event, thread)
                })
            }
            Command::Disable { event, group } => {
                let event = self.event(event)?;
                done(if group {
                    perf.disable_group(&event, thread)
                } else {
                    perf.disable(&event, thread)
                })
            }
            Command::Refresh { event, overflows } => {
                done(perf.refresh(&self.event(event)?, overflows, thread))
            }
            Command::Reset { event, group } => {
                let event = self.event(event)?;
                done(if group {
                    perf.reset_group(&event, thread)
                } else {
                    perf.reset(&event, thread)
                })
            }
            Command::Period { event, period } => {
                done(perf.set_period(&self.event(event)?, period, thread))
            }
            Command::Read { event } => self.read_event(&self.event(event)?, thread),
            Command::Traps { event } => self.traps(&self.event(event)?),
        }
    }

    fn event(&self, id: Id) -> Result<Event, Errno> {
        self.port.tables.event(id)
    }

    fn create(&self, vcpu: VcpuId, name: Name) -> Outcome {
        let place = self.port.tables.place_for_task()?;
        let task = self.port.perf.create_task(vcpu).map_err(errno)?;
        number(place.task(task, name))
    }

    fn fork(&self, parent: Id, name: Option<Name>, thread: &mut impl PortThread<C, O>) -> Outcome {
        let (parent, its_name) = self.port.tables.named(parent)?;
        let place = self.port.tables.place_for_task()?;
        self.port.tables.room_for_copies_of(&parent)?;
        let child = self.port.perf.fork(&parent, thread).map_err(errno)?;
        number(place.task(child, name.unwrap_or(its_name)))
    }

    fn exec(&self, id: Id, name: Name, thread: &mut impl PortThread<C, O>) -> Outcome {
        let (task, _) = self.port.tables.named(id)?;
        self.port.perf.exec(&task, thread).map_err(errno)?;
        self.port.tables.rename(id, name);
        nothing()
    }

    /// Once it has exited the task cannot be named any more, but for leaving its vCPU (Q9).
    fn exit(&self, id: Id, thread: &mut impl PortThread<C, O>) -> Outcome {
        let (task, _) = self.port.tables.named(id)?;
        self.port.perf.exit(&task, thread).map_err(errno)?;
        self.port.tables.forget_task(id);
        nothing()
    }

    /// The perf core holds it against its own word (Q7).
    fn switch(
        &self,
        prev: Option<Id>,
        leaves: Leaves,
        next: Option<Id>,
        thread: &mut impl PortThread<C, O>,
    ) -> Outcome {
        let next = match next {
            None => None,
            Some(next) => Some(self.port.tables.named(next)?.0),
        };
        let prev = prev.map(|prev| TaskId(prev.get()));
        let leaves = match leaves {
            Leaves::Queued => context::Leaves::Queued,
            Leaves::Blocked => context::Leaves::Blocked,
        };
        done(thread.cpu_mut().announced(prev, leaves, next))
    }

    /// A task that is not known to be blocked is placed on the vCPU (Q8).
    fn wake(&self, task: Id, vcpu: VcpuId) -> Outcome {
        let (task, _) = self.port.tables.named(task)?;
        let perf = &self.port.perf;
        done(match task.place() {
            Place::Blocked(_) => perf.wake(&task, vcpu),
            Place::Queued(_) | Place::Current(_) => perf.migrate(&task, vcpu),
        })
    }

    fn read_event(&self, event: &Event, thread: &mut impl PortThread<C, O>) -> Outcome {
        let reading = self.port.perf.read(event, thread).map_err(errno)?;
        let status = self.port.perf.status(event).map_err(errno)?;
        let state = state(status.state);
        let Some(reading) = reading else {
            return Ok(Returns {
                value: 1,
                from: STATE,
                outs: vec![state.number()],
            });
        };
        let words = Reading {
            count: reading.count,
            enabled: reading.time_enabled.0,
            running: reading.time_running.0,
            overflows: status.overflows,
            state,
            throttled: status.throttled,
        };
        Ok(Returns {
            outs: words.words().to_vec(),
            ..Returns::default()
        })
    }

    fn traps(&self, event: &Event) -> Outcome {
        let status = self.port.perf.status(event).map_err(errno)?;
        let traps = status.traps;
        let pending = if event.attr().inherit {
            // Those of the whole family, which nobody looks at one by one.
            traps.on_their_way()
        } else {
            u64::from(status.pending)
        };
        let words = TrapTotals {
            queued: traps.queued,
            merged: traps.merged,
            refused: traps.refused,
            sent: traps.sent,
            dropped: traps.dropped,
            pending,
        };
        Ok(Returns {
            outs: words.words().to_vec(),
            ..Returns::default()
        })
    }

    /// A task that the guest names, to open an event on.
    pub(crate) fn task(&self, id: Id) -> Result<Task, Errno> {
        Ok(self.port.tables.named(id)?.0)
    }
}

/// The perf core's refusal as the guest gets it.
pub(crate) fn errno(error: PerfError) -> Errno {
    // All of them are small and positive.
    Errno::from_number(u16::try_from(error.errno()).unwrap_or(u16::MAX))
}

const fn state(state: State) -> EventState {
    match state {
        State::Dead | State::Exit => EventState::Exit,
        State::Error => EventState::Error,
        State::Off => EventState::Off,
        State::Inactive => EventState::Inactive,
        State::Active(_) => EventState::Active,
    }
}

/// Done, with the number of something new.
pub(crate) fn number(value: u64) -> Outcome {
    Ok(Returns {
        value,
        ..Returns::default()
    })
}

/// Done, with a yes or a no.
fn value(yes: bool) -> Outcome {
    number(u64::from(yes))
}

/// Done, with nothing to say.
fn nothing() -> Outcome {
    number(0)
}

/// As the perf core says.
fn done(result: Result<(), PerfError>) -> Outcome {
    result.map_err(errno)?;
    nothing()
}
