// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a kernel can wish for, and what it is answered. The numbers are the ones of the kernels'
//! module `rt::host`.

use std::time::Duration;

/// A wish as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Which wish.
    pub number: u32,
    /// Its two arguments.
    pub arguments: [u32; 2],
}

/// A wish. A vCPU is named by its number in the first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// 1: to add a vCPU; all ones for whichever is free. The answer's first word is its number.
    Add(Option<u32>),
    /// 2: to remove a vCPU; the second argument is the guest's time for it, in milliseconds.
    Remove(u32, Duration),
    /// 3: to pause and resume the VM, the pause at least so many milliseconds long. The words: how
    /// many watches did not move during it, how many did, and how many vCPUs did not stand still.
    Pause(Duration),
    /// 4: a vCPU's state, as its [`State::number`](super::host::State::number) in the first word.
    State(u32),
    /// 5: to count a vCPU's cycles from the host: a watch. Its number is in the first word.
    Watch(u32),
    /// 6: what the watch of this number counted: low and high half, and 1 while it counts on.
    Count(u32),
    /// 7: the watch of this number is not needed any more.
    Unwatch(u32),
    /// 8: what the process takes of the host: KiB of memory, open files, threads.
    Footprint,
    /// 9: vCPUs are to come and go at random until so many came and as many went, the VM pausing
    /// now and then. The words: how many came, how many went, and how many requests ended in a way
    /// that none should.
    Storm(u32),
    /// 10: to open an event on the guest task of this number, as a client of the control socket
    /// does. The words: the event's number at the desk, how often the task was looked for, and the
    /// event's state as its [`number`](super::tasks::state_number).
    TaskOpen(u32, TaskEvent),
    /// 11: to change the event of this number at the desk. The first word is its state then.
    TaskChange(u32, TaskChange),
    /// 12: what the event of this number counted: low and high half, and its state.
    TaskRead(u32),
    /// 13: what became of the overflows of the event of this number: queued, merged, sent.
    TaskTraps(u32),
    /// 14: to close the event of this number.
    TaskClose(u32),
    /// 15: to open, change, read and close events on all guest tasks at random, from now on
    /// (argument 1) or no more (0). The words of the latter: how much was asked for, and how many
    /// answers there were that none should get.
    TaskStorm(bool),
    /// 16: traps of the storm that was: how many tasks got with [`EXACT`](super::task_storm::EXACT)
    /// in them, and how many at least and at most with [`LOOSE`](super::task_storm::LOOSE).
    TaskStormTraps,
}

/// An event on a guest task, in one word: bit 0 cycles instead of `port.tick`, bit 1 each overflow is
/// a SIGTRAP, bit 2 it counts children as well, bit 3 it starts disabled; from bit 8 on the period,
/// 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// `cycles`, not `port.tick`.
    pub cycles: bool,
    /// With SIGTRAP, and 0 as its data.
    pub sigtrap: bool,
    /// Counts children as well.
    pub inherit: bool,
    /// Starts disabled.
    pub disabled: bool,
    /// Counts between two overflows.
    pub period: Option<u32>,
}

impl From<u32> for TaskEvent {
    fn from(word: u32) -> Self {
        let period = word >> 8;
        Self {
            cycles: word & 1 != 0,
            sigtrap: word & 2 != 0,
            inherit: word & 4 != 0,
            disabled: word & 8 != 0,
            period: (period != 0).then_some(period),
        }
    }
}

/// A change of an event on a guest task, in one word: bits 0 to 7 which, from bit 8 on how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskChange {
    /// 0.
    Enable,
    /// 1.
    Disable,
    /// 2.
    Reset,
    /// 3, with so many overflows.
    Refresh(u32),
}

impl TaskChange {
    const fn of(word: u32) -> Option<Self> {
        Some(match word & 0xff {
            0 => Self::Enable,
            1 => Self::Disable,
            2 => Self::Reset,
            3 => Self::Refresh(word >> 8),
            _ => return None,
        })
    }
}

impl From<Request> for Option<Wish> {
    /// None if there is no such wish.
    fn from(Request { number, arguments }: Request) -> Self {
        let [first, second] = arguments;
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Some(match number {
            1 => Wish::Add((first != u32::MAX).then_some(first)),
            2 => Wish::Remove(first, ms(second)),
            3 => Wish::Pause(ms(first)),
            4 => Wish::State(first),
            5 => Wish::Watch(first),
            6 => Wish::Count(first),
            7 => Wish::Unwatch(first),
            8 => Wish::Footprint,
            9 => Wish::Storm(first),
            10 => Wish::TaskOpen(first, second.into()),
            11 => Wish::TaskChange(first, TaskChange::of(second)?),
            12 => Wish::TaskRead(first),
            13 => Wish::TaskTraps(first),
            14 => Wish::TaskClose(first),
            15 => Wish::TaskStorm(first != 0),
            16 => Wish::TaskStormTraps,
            _ => return None,
        })
    }
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Done,
    /// There is no such wish, or no such watch.
    Unknown,
    /// The VM can have no vCPU of that number.
    NoSuchVcpu,
    /// vCPU 0 stays.
    BootVcpu,
    /// The vCPU is there already.
    Present,
    /// The vCPU is not there.
    NotPresent,
    /// All vCPUs are there.
    AllPresent,
    /// The VM is paused.
    Paused,
    /// The guest did not give the vCPU back in time.
    NotHonoured,
    /// The guest said that it will not give the vCPU back.
    Refused,
    /// The run is over.
    Ended,
    /// The perf core refused.
    Perf,
    /// Something that should not happen: the harness prints it.
    Fault,
    /// The guest has no such task.
    NoSuchTask,
}

impl Outcome {
    /// The number that the guest reads.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Unknown => 1,
            Self::NoSuchVcpu => 2,
            Self::BootVcpu => 3,
            Self::Present => 4,
            Self::NotPresent => 5,
            Self::AllPresent => 6,
            Self::Paused => 7,
            Self::NotHonoured => 8,
            Self::Refused => 9,
            Self::Ended => 10,
            Self::Perf => 11,
            Self::Fault => 12,
            Self::NoSuchTask => 13,
        }
    }
}

/// What came of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about, by the wish.
    pub words: [u32; 3],
}

impl Answer {
    /// An answer without words.
    #[must_use]
    pub const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            words: [0; 3],
        }
    }

    /// A wish that was granted, with these words.
    #[must_use]
    pub const fn granted(words: [u32; 3]) -> Self {
        Self {
            outcome: Outcome::Done,
            words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(number: u32, arguments: [u32; 2]) -> Option<Wish> {
        Request { number, arguments }.into()
    }

    #[test]
    fn every_number_is_one_wish() {
        assert_eq!(wish(1, [2, 0]), Some(Wish::Add(Some(2))));
        assert_eq!(wish(1, [u32::MAX, 0]), Some(Wish::Add(None)));
        let second = Duration::from_secs(1);
        assert_eq!(wish(2, [3, 1000]), Some(Wish::Remove(3, second)));
        assert_eq!(wish(3, [1000, 0]), Some(Wish::Pause(second)));
        for (number, wanted) in [
            (4, Wish::State(5)),
            (5, Wish::Watch(5)),
            (6, Wish::Count(5)),
            (7, Wish::Unwatch(5)),
            (8, Wish::Footprint),
            (9, Wish::Storm(5)),
            (12, Wish::TaskRead(5)),
            (13, Wish::TaskTraps(5)),
            (14, Wish::TaskClose(5)),
            (15, Wish::TaskStorm(true)),
            (16, Wish::TaskStormTraps),
        ] {
            assert_eq!(wish(number, [5, 0]), Some(wanted));
        }
        for number in [0, 17, u32::MAX] {
            assert_eq!(wish(number, [0; 2]), None);
        }
        let plain = TaskEvent {
            cycles: false,
            sigtrap: false,
            inherit: false,
            disabled: false,
            period: None,
        };
        assert_eq!(wish(10, [5, 0]), Some(Wish::TaskOpen(5, plain)));
        let all = TaskEvent {
            cycles: true,
            sigtrap: true,
            inherit: true,
            disabled: true,
            period: Some(7),
        };
        assert_eq!(wish(10, [5, 0x70f]), Some(Wish::TaskOpen(5, all)));
        for (word, change) in [
            (0, TaskChange::Enable),
            (1, TaskChange::Disable),
            (2, TaskChange::Reset),
            (0x903, TaskChange::Refresh(9)),
        ] {
            assert_eq!(wish(11, [5, word]), Some(Wish::TaskChange(5, change)));
        }
        assert_eq!(wish(11, [5, 4]), None);
    }

    #[test]
    fn every_outcome_has_its_own_number() {
        let all = [
            Outcome::Done,
            Outcome::Unknown,
            Outcome::NoSuchVcpu,
            Outcome::BootVcpu,
            Outcome::Present,
            Outcome::NotPresent,
            Outcome::AllPresent,
            Outcome::Paused,
            Outcome::NotHonoured,
            Outcome::Refused,
            Outcome::Ended,
            Outcome::Perf,
            Outcome::Fault,
            Outcome::NoSuchTask,
        ];
        for (outcome, number) in all.into_iter().zip(0..) {
            assert_eq!(outcome.number(), number);
        }
    }
}
