// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Commands: what a guest asks for, with everything that goes with it.

use crate::page::ARGS;
use crate::{Errno, EventNumber, Id, Name, Op, OpenFlags};

/// A command, and where its arguments are (`ARG[n]` is written `n`).
///
/// Decoding checks what can be checked without knowing tasks, events and vCPUs: what is reserved,
/// unknown, or too large for what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing is done; returns 0.
    Nop,
    /// There is a new task; returns its number.
    Create {
        /// 0: the vCPU that it is queued on.
        vcpu: u32,
        /// 1 and 2: what it is called.
        name: Name,
    },
    /// A task forks: the new one is queued where that is, and has every event of its that is
    /// inherited. Returns its number.
    Fork {
        /// 0: the task that forks.
        parent: Id,
        /// 1 and 2: what the new one is called; both 0: as its parent.
        name: Option<Name>,
    },
    /// A task executes another program.
    Exec {
        /// 0: the task.
        task: Id,
        /// 1 and 2: what it is called from now on.
        name: Name,
    },
    /// A task exits.
    Exit {
        /// 0: the task.
        task: Id,
    },
    /// This vCPU goes from one task to another.
    Switch {
        /// 0: the task that was current here; 0 for none.
        prev: Option<Id>,
        /// 1: what becomes of it.
        leaves: Leaves,
        /// 2: the task that is current now; 0 for none.
        next: Option<Id>,
    },
    /// A task that does not run is placed on another vCPU.
    Migrate {
        /// 0: the task.
        task: Id,
        /// 1: the vCPU.
        vcpu: u32,
    },
    /// A blocked task can go on.
    Wake {
        /// 0: the task.
        task: Id,
        /// 1: the vCPU that it is queued on.
        vcpu: u32,
    },
    /// The current task returns to user mode: returns 1 if there is a record of a trap in the page
    /// now, 0 if none waits.
    User,
    /// The current task has its trap: returns 1 if another one waits, else 0.
    TrapDone,
    /// Opens an event: returns its number, and in OUT\[0\] the rounds that it took.
    Open(Open),
    /// Closes an event.
    Close {
        /// 0: the event.
        event: Id,
    },
    /// Lets an event count.
    Enable {
        /// 0: the event.
        event: Id,
        /// 1: 1 for all events of its group, else 0.
        group: bool,
    },
    /// Stops an event.
    Disable {
        /// 0: the event.
        event: Id,
        /// 1: 1 for all events of its group, else 0.
        group: bool,
    },
    /// Lets an event count until it overflowed so often.
    Refresh {
        /// 0: the event.
        event: Id,
        /// 1: how often.
        overflows: u64,
    },
    /// Sets a count to 0.
    Reset {
        /// 0: the event.
        event: Id,
        /// 1: 1 for all events of its group, else 0.
        group: bool,
    },
    /// Sets how many counts there are between two overflows.
    Period {
        /// 0: the event.
        event: Id,
        /// 1: how many.
        period: u64,
    },
    /// Reads an event, into OUT: [`Reading`](crate::Reading).
    Read {
        /// 0: the event.
        event: Id,
    },
    /// Reads what became of an event's overflows, into OUT: [`TrapTotals`](crate::TrapTotals).
    Traps {
        /// 0: the event.
        event: Id,
    },
}

/// What becomes of a task that stops being the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// 0: it could go on.
    Queued,
    /// 1: it waits for something.
    Blocked,
}

/// What an event is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whatever runs on a vCPU.
    Vcpu(u32),
    /// A task, wherever it runs.
    Task(Id),
    /// A task, while it runs on one vCPU.
    TaskOn(Id, u32),
}

/// An event that is to be opened.
///
/// ```
/// use perf_port::{Command, EventNumber, Id, Open, OpenFlags, Target};
///
/// let task = Id::new(3).expect("not 0");
/// let open = Open {
///     period: 10,
///     data: Some(7),
///     flags: OpenFlags::REMOVE_ON_EXEC,
///     ..Open::new(EventNumber::PortTick, Target::Task(task))
/// };
/// let (op, args) = Command::Open(open).encode();
/// assert_eq!(args, [8 | 16, 3, u64::MAX, 0x100, 10, 7, 0, 0]);
/// assert_eq!(Command::decode(op.number(), 0, &args), Ok(Command::Open(open)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// 0: how it counts. [`OpenFlags::SIGTRAP`] is not among them: that is said by `data`.
    pub flags: OpenFlags,
    /// 1 and 2: what it is attached to: task, or 0 for whatever runs on the vCPU; vCPU, or all ones
    /// for wherever the task runs.
    pub target: Target,
    /// 3: what it counts.
    pub event: EventNumber,
    /// 4: counts between two overflows; 0 for an event that only counts.
    pub period: u64,
    /// 5: each overflow is a trap with this in it. Without [`OpenFlags::SIGTRAP`] the word is 0.
    pub data: Option<u64>,
    /// 6: the leader of the group that it joins; 0 for none.
    pub leader: Option<Id>,
    /// 7: starts disabled and is refreshed by so many overflows; 0 for no limit.
    pub limit: u64,
}

/// [`Open`]'s vCPU for a task that is counted wherever it runs.
const ANYWHERE: u64 = u64::MAX;

impl Open {
    /// Counts `event` on `target` from now on, in both modes, without overflows.
    pub const fn new(event: EventNumber, target: Target) -> Self {
        Self {
            flags: OpenFlags::NONE,
            target,
            event,
            period: 0,
            data: None,
            leader: None,
            limit: 0,
        }
    }

    fn encode(self) -> [u64; ARGS] {
        let (task, vcpu) = match self.target {
            Target::Vcpu(vcpu) => (0, u64::from(vcpu)),
            Target::Task(task) => (task.get(), ANYWHERE),
            Target::TaskOn(task, vcpu) => (task.get(), u64::from(vcpu)),
        };
        let trap = self.data.map_or(OpenFlags::NONE, |_| OpenFlags::SIGTRAP);
        [
            self.flags.with(trap).bits(),
            task,
            vcpu,
            self.event.number(),
            self.period,
            self.data.unwrap_or_default(),
            optional(self.leader),
            self.limit,
        ]
    }

    fn decode(args: &[u64; ARGS]) -> Result<Self, Errno> {
        let [flags, task, vcpu, event, period, data, leader, limit] = *args;
        let flags = OpenFlags::from_bits(flags).ok_or(Errno::Invalid)?;
        let traps = flags.contains(OpenFlags::SIGTRAP);
        if !traps && data != 0 {
            return Err(Errno::Invalid);
        }
        let target = match Id::new(task) {
            None => Target::Vcpu(vcpu_of(vcpu)?),
            Some(task) if vcpu == ANYWHERE => Target::Task(task),
            Some(task) => Target::TaskOn(task, vcpu_of(vcpu)?),
        };
        Ok(Self {
            flags: flags.without_trap(),
            target,
            event: EventNumber::from_number(event).ok_or(Errno::NotCounted)?,
            period,
            data: traps.then_some(data),
            leader: Id::new(leader),
            limit,
        })
    }
}

impl Command {
    /// Which operation it is.
    pub const fn op(&self) -> Op {
        match self {
            Self::Nop => Op::Nop,
            Self::Create { .. } => Op::Create,
            Self::Fork { .. } => Op::Fork,
            Self::Exec { .. } => Op::Exec,
            Self::Exit { .. } => Op::Exit,
            Self::Switch { .. } => Op::Switch,
            Self::Migrate { .. } => Op::Migrate,
            Self::Wake { .. } => Op::Wake,
            Self::User => Op::User,
            Self::TrapDone => Op::TrapDone,
            Self::Open(_) => Op::Open,
            Self::Close { .. } => Op::Close,
            Self::Enable { .. } => Op::Enable,
            Self::Disable { .. } => Op::Disable,
            Self::Refresh { .. } => Op::Refresh,
            Self::Reset { .. } => Op::Reset,
            Self::Period { .. } => Op::Period,
            Self::Read { .. } => Op::Read,
            Self::Traps { .. } => Op::Traps,
        }
    }

    /// What a guest writes to OP and to the first [`Op::args`] words of ARG; 0 in the others.
    pub fn encode(&self) -> (Op, [u64; ARGS]) {
        let of_event = |event: Id, word| [event.get(), word, 0];
        let args = match *self {
            Self::Open(open) => return (Op::Open, open.encode()),
            Self::Nop | Self::User | Self::TrapDone => [0; 3],
            Self::Create { vcpu, name } => named(u64::from(vcpu), name),
            Self::Fork { parent, name } => named(parent.get(), name.unwrap_or_default()),
            Self::Exec { task, name } => named(task.get(), name),
            Self::Exit { task } => [task.get(), 0, 0],
            Self::Switch { prev, leaves, next } => {
                let leaves = u64::from(leaves == Leaves::Blocked);
                [optional(prev), leaves, optional(next)]
            }
            Self::Migrate { task, vcpu } | Self::Wake { task, vcpu } => {
                [task.get(), u64::from(vcpu), 0]
            }
            Self::Close { event } | Self::Read { event } | Self::Traps { event } => {
                of_event(event, 0)
            }
            Self::Enable { event, group }
            | Self::Disable { event, group }
            | Self::Reset { event, group } => of_event(event, u64::from(group)),
            Self::Refresh { event, overflows } => of_event(event, overflows),
            Self::Period { event, period } => of_event(event, period),
        };
        let mut words = [0; ARGS];
        words[..args.len()].copy_from_slice(&args);
        (self.op(), words)
    }

    /// What a guest asks for by OP, the word behind it, and ARG.
    ///
    /// # Errors
    /// [`Errno::NoSuchOp`]; [`Errno::Invalid`] for a reserved word that is not 0, for unknown flags,
    /// for a word that is to be 0 or 1 and is not, and for data without SIGTRAP;
    /// [`Errno::NotCounted`] for an unknown event; [`Errno::NoSuchTask`] and [`Errno::BadEvent`] for
    /// 0; [`Errno::NoSuchVcpu`] for a number of more than 32 bits.
    pub fn decode(op: u32, reserved: u32, args: &[u64; ARGS]) -> Result<Self, Errno> {
        let op = Op::from_number(op).ok_or(Errno::NoSuchOp)?;
        if reserved != 0 {
            return Err(Errno::Invalid);
        }
        let [first, second, third, ..] = *args;
        let name = Name::from_words([second, third]);
        let task = || Id::new(first).ok_or(Errno::NoSuchTask);
        let event = || Id::new(first).ok_or(Errno::BadEvent);
        Ok(match op {
            Op::Nop => Self::Nop,
            Op::Create => Self::Create {
                vcpu: vcpu_of(first)?,
                name,
            },
            Op::Fork => Self::Fork {
                parent: task()?,
                name: (!name.is_none()).then_some(name),
            },
            Op::Exec => Self::Exec {
                task: task()?,
                name,
            },
            Op::Exit => Self::Exit { task: task()? },
            Op::Switch => Self::Switch {
                prev: Id::new(first),
                leaves: if flag(second)? {
                    Leaves::Blocked
                } else {
                    Leaves::Queued
                },
                next: Id::new(third),
            },
            Op::Migrate => Self::Migrate {
                task: task()?,
                vcpu: vcpu_of(second)?,
            },
            Op::Wake => Self::Wake {
                task: task()?,
                vcpu: vcpu_of(second)?,
            },
            Op::User => Self::User,
            Op::TrapDone => Self::TrapDone,
            Op::Open => Self::Open(Open::decode(args)?),
            Op::Close => Self::Close { event: event()? },
            Op::Enable => Self::Enable {
                event: event()?,
                group: flag(second)?,
            },
            Op::Disable => Self::Disable {
                event: event()?,
                group: flag(second)?,
            },
            Op::Refresh => Self::Refresh {
                event: event()?,
                overflows: second,
            },
            Op::Reset => Self::Reset {
                event: event()?,
                group: flag(second)?,
            },
            Op::Period => Self::Period {
                event: event()?,
                period: second,
            },
            Op::Read => Self::Read { event: event()? },
            Op::Traps => Self::Traps { event: event()? },
        })
    }
}

const fn named(first: u64, name: Name) -> [u64; 3] {
    let [low, high] = name.words();
    [first, low, high]
}

fn optional(id: Option<Id>) -> u64 {
    id.map_or(0, Id::get)
}

fn vcpu_of(word: u64) -> Result<u32, Errno> {
    u32::try_from(word).map_err(|_| Errno::NoSuchVcpu)
}

const fn flag(word: u64) -> Result<bool, Errno> {
    match word {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::Invalid),
    }
}
