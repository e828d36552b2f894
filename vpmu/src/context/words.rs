// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The steps of the engine in words, for whoever shows them.

use super::{Leaves, Retry, Step};

/// A part of a vCPU of which there is one user at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Its current task.
    Task,
    /// The counter on one of its slots.
    Counter(usize),
}

/// That somebody begins or stops to use a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// From here on.
    Begin(Lane),
    /// No longer.
    End(Lane),
}

/// What a step is about, beside its task and its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A count, or the number of a task or vCPU.
    Number(u64),
    /// One of a few words.
    Word(&'static str),
}

impl Step {
    /// What it is called: lower case, without quotes.
    ///
    /// ```
    /// use vpmu::context::{Detail, Step};
    ///
    /// let step = Step::Overflow(3);
    /// assert_eq!(step.name(), "overflow");
    /// assert_eq!(step.detail(), Some(("overflows", Detail::Number(3))));
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created(None) => "created",
            Self::Created(Some(_)) => "forked",
            Self::Exec => "exec",
            Self::Exited => "exit",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::SwitchIn => "switch in",
            Self::SwitchOut(_) => "switch out",
            Self::Swap(_) => "swap",
            Self::Migrate(_) => "migrate",
            Self::Wake(_) => "wake",
            Self::Refused => "refused",
            Self::Open => "open",
            Self::Close => "close",
            Self::Round(_) => "round",
            Self::CallSent(_) => "call",
            Self::CallRefused(_) => "call refused",
            Self::CallServed => "call served",
            Self::Retry(_) => "retry",
            Self::SlotIn(_) => "slot in",
            Self::SlotOut(_) => "slot out",
            Self::Failed => "failed",
            Self::Rotate => "rotate",
            Self::Overflow(_) => "overflow",
            Self::Throttled => "throttled",
            Self::Limit => "limit",
            Self::IrqWork => "irq work",
            Self::TrapQueued => "trap queued",
            Self::TrapMerged => "trap merged",
            Self::TrapSent => "trap sent",
            Self::TrapsDropped(_) => "traps dropped",
        }
    }

    /// What it is about beside its task and its event, with a word that says how.
    pub fn detail(self) -> Option<(&'static str, Detail)> {
        let number = |key, number| Some((key, Detail::Number(number)));
        let wide = |number| u64::try_from(number).unwrap_or(u64::MAX);
        match self {
            Self::Created(Some(parent)) => number("from", parent.0),
            Self::Swap(with) => number("with", with.0),
            Self::Migrate(to) | Self::Wake(to) | Self::CallSent(to) | Self::CallRefused(to) => {
                number("to", u64::from(to.0))
            }
            Self::Round(round) => number("round", u64::from(round)),
            Self::Overflow(overflows) => number("overflows", overflows),
            Self::TrapsDropped(traps) => number("traps", wide(traps)),
            Self::SlotIn(slot) | Self::SlotOut(slot) => number("slot", wide(slot)),
            Self::SwitchOut(how) => Some(("leaves", Detail::Word(how.word()))),
            Self::Retry(why) => Some(("why", Detail::Word(why.word()))),
            _ => None,
        }
    }

    /// Whose use begins or ends with it; `None` for a step that takes no time.
    pub const fn edge(self) -> Option<Edge> {
        match self {
            Self::SwitchIn => Some(Edge::Begin(Lane::Task)),
            Self::SwitchOut(_) => Some(Edge::End(Lane::Task)),
            Self::SlotIn(slot) => Some(Edge::Begin(Lane::Counter(slot))),
            Self::SlotOut(slot) => Some(Edge::End(Lane::Counter(slot))),
            _ => None,
        }
    }
}

impl Leaves {
    const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Blocked => "blocked",
        }
    }
}

impl Retry {
    const fn word(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Running => "running",
            Self::Traded => "traded",
            Self::NotHere => "not here",
            Self::Offline => "offline",
        }
    }
}
