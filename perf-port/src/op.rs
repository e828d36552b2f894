// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The operations by their numbers.

/// What a command asks for. What goes with each is in [`Command`](crate::Command).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing.
    Nop,
    /// There is a new task.
    Create,
    /// A task forks.
    Fork,
    /// A task executes another program.
    Exec,
    /// A task exits.
    Exit,
    /// The vCPU goes from one task to another.
    Switch,
    /// A task that does not run is placed on another vCPU.
    Migrate,
    /// A blocked task can go on.
    Wake,
    /// The current task returns to user mode and takes its trap.
    User,
    /// The current task has its trap.
    TrapDone,
    /// Opens an event.
    Open,
    /// Closes an event.
    Close,
    /// Lets an event count.
    Enable,
    /// Stops an event.
    Disable,
    /// Lets an event count until it overflowed so often.
    Refresh,
    /// Sets a count to 0.
    Reset,
    /// Sets a period.
    Period,
    /// Reads an event.
    Read,
    /// Reads what became of an event's overflows.
    Traps,
}

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::Nop,
        Self::Create,
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Switch,
        Self::Migrate,
        Self::Wake,
        Self::User,
        Self::TrapDone,
        Self::Open,
        Self::Close,
        Self::Enable,
        Self::Disable,
        Self::Refresh,
        Self::Reset,
        Self::Period,
        Self::Read,
        Self::Traps,
    ];

    /// Its number, and how many words of arguments it has.
    const fn row(self) -> (u32, usize) {
        match self {
            Self::Nop => (0, 0),
            Self::Create => (1, 3),
            Self::Fork => (2, 3),
            Self::Exec => (3, 3),
            Self::Exit => (4, 1),
            Self::Switch => (5, 3),
            Self::Migrate => (6, 2),
            Self::Wake => (7, 2),
            Self::User => (8, 0),
            Self::TrapDone => (9, 0),
            Self::Open => (16, 8),
            Self::Close => (17, 1),
            Self::Enable => (18, 2),
            Self::Disable => (19, 2),
            Self::Refresh => (20, 2),
            Self::Reset => (21, 2),
            Self::Period => (22, 2),
            Self::Read => (23, 1),
            Self::Traps => (24, 1),
        }
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.row().0
    }

    /// How many words of arguments it has. Those behind them are not looked at.
    pub const fn args(self) -> usize {
        self.row().1
    }

    /// The operation of that number, if there is one.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.number() == number)
    }
}
