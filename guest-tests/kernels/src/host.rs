// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The host desk: what a guest cannot do itself, it asks the harness for. The device and all its
//! wishes are in the harness's module `desk`. One wish at a time, from one CPU.

use core::arch::asm;

use crate::tap::Outcome as Checked;
use crate::text::Text;
use crate::{check, fail, time};

const FIRST_PORT: u16 = 0xd00;
const ARGUMENTS: [u16; 2] = [FIRST_PORT, FIRST_PORT + 4];
const ASK: u16 = FIRST_PORT + 8;
const OUTCOME: u16 = FIRST_PORT + 12;
const WORDS: [u16; 3] = [FIRST_PORT + 16, FIRST_PORT + 20, FIRST_PORT + 24];

const BUSY: u32 = 1;
const ANSWERED: u32 = 2;

/// How long the host may take for a wish without a limit of its own.
const PATIENCE_MS: u64 = 60_000;

/// How a wish ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the harness's words")]
pub enum Outcome {
    Done,
    Unknown,
    NoSuchVcpu,
    BootVcpu,
    Present,
    NotPresent,
    AllPresent,
    Paused,
    NotHonoured,
    Refused,
    Ended,
    Perf,
    Fault,
    NoSuchTask,
}

const OUTCOMES: [Outcome; 14] = [
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

/// What a vCPU is doing, as the host says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the harness's words")]
pub enum State {
    Absent,
    Starting,
    Running,
    Paused,
    Stopping,
    Offline,
    Finished,
}

const STATES: [State; 7] = [
    State::Absent,
    State::Starting,
    State::Running,
    State::Paused,
    State::Stopping,
    State::Offline,
    State::Finished,
];

/// Stands for any vCPU in [`Wish::Add`].
pub const ANY: u32 = u32::MAX;

/// What to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Adds this vCPU; the first word is its number.
    Add(u32),
    /// Removes this vCPU, which the guest has so many milliseconds to give back.
    Remove(u32, u32),
    /// Pauses the VM for so many milliseconds at least. The words: watches that stood still, watches
    /// that moved, vCPUs that were not paused.
    Pause(u32),
    /// What this vCPU is doing.
    State(u32),
    /// Counts this vCPU's cycles from the host; the first word is the watch's number.
    Watch(u32),
    /// What this watch counted: low half, high half, and 1 while it counts on.
    Count(u32),
    /// Ends this watch.
    Unwatch(u32),
    /// What the VMM takes of the host: KiB of memory, open files, threads.
    Footprint,
    /// Lets vCPUs come and go until so many came and as many went. The words: how many came, how
    /// many went, how many requests ended as none should.
    Storm(u32),
    /// Opens an event on the task of this number at the port, through the control socket. The words:
    /// the event's number at the desk, how often the task was looked for, the event's state as the
    /// port numbers it.
    TaskOpen(u32, TaskEvent),
    /// Changes the event of this number at the desk. The first word is its state then.
    TaskChange(u32, TaskChange),
    /// What the event of this number counted: low half, high half, its state.
    TaskRead(u32),
    /// What became of the overflows of the event of this number: queued, merged, sent.
    TaskTraps(u32),
    /// Closes the event of this number.
    TaskClose(u32),
    /// Lets the host open, change, read and close events on all tasks at random, until it is asked
    /// to stop. The words of that: how much it asked for, and how many answers there were that none
    /// should get.
    TaskStorm(bool),
    /// The traps of the storm that was, by what they have in them: how many tasks got with
    /// [`STORM_EXACT`], and how many at least and at most with [`STORM_LOOSE`].
    TaskStormTraps,
}

/// In the traps of a storm's events that were closed when all their traps had arrived.
pub const STORM_EXACT: usize = 8;
/// In the traps of a storm's events that were closed with a trap on its way, at times.
pub const STORM_LOOSE: usize = 9;

/// An event on a task, as the host is to open it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TaskEvent {
    /// `cycles`, not `port.tick`.
    pub cycles: bool,
    /// Each overflow is a SIGTRAP, with 0 as its data.
    pub sigtrap: bool,
    /// Counts children as well.
    pub inherit: bool,
    /// Starts disabled.
    pub disabled: bool,
    /// Counts between two overflows, below 2^24; 0 for none.
    pub period: u32,
}

impl TaskEvent {
    /// Counts stores to the tick page, and nothing more.
    pub const TICKS: Self = Self {
        cycles: false,
        sigtrap: false,
        inherit: false,
        disabled: false,
        period: 0,
    };

    fn encoded(self) -> u32 {
        let flags = [self.cycles, self.sigtrap, self.inherit, self.disabled];
        let bits = (0..).zip(flags).map(|(bit, flag)| u32::from(flag) << bit);
        bits.sum::<u32>() | self.period << 8
    }
}

/// What the host is to do to an event on a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskChange {
    /// It may count.
    Enable,
    /// It stops.
    Disable,
    /// Its count is 0 again.
    Reset,
    /// It may overflow so many times more.
    Refresh(u32),
}

impl TaskChange {
    fn encoded(self) -> u32 {
        match self {
            Self::Enable => 0,
            Self::Disable => 1,
            Self::Reset => 2,
            Self::Refresh(overflows) => 3 | overflows << 8,
        }
    }
}

impl Wish {
    fn encoded(self) -> (u32, [u32; 2]) {
        match self {
            Self::Add(vcpu) => (1, [vcpu, 0]),
            Self::Remove(vcpu, limit) => (2, [vcpu, limit]),
            Self::Pause(ms) => (3, [ms, 0]),
            Self::State(vcpu) => (4, [vcpu, 0]),
            Self::Watch(vcpu) => (5, [vcpu, 0]),
            Self::Count(watch) => (6, [watch, 0]),
            Self::Unwatch(watch) => (7, [watch, 0]),
            Self::Footprint => (8, [0, 0]),
            Self::Storm(changes) => (9, [changes, 0]),
            Self::TaskOpen(task, event) => (10, [task, event.encoded()]),
            Self::TaskChange(event, change) => (11, [event, change.encoded()]),
            Self::TaskRead(event) => (12, [event, 0]),
            Self::TaskTraps(event) => (13, [event, 0]),
            Self::TaskClose(event) => (14, [event, 0]),
            Self::TaskStorm(on) => (15, [on.into(), 0]),
            Self::TaskStormTraps => (16, [0, 0]),
        }
    }
}

/// What came of a wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What it is about, by the wish.
    pub words: [u32; 3],
}

fn write(port: u16, word: u32) {
    // SAFETY: the desk does no DMA.
    unsafe {
        asm!("out dx, eax", in("dx") port, in("eax") word, options(nostack, preserves_flags));
    }
}

fn read(port: u16) -> u32 {
    let word: u32;
    // SAFETY: the desk does no DMA.
    unsafe {
        asm!("in eax, dx", in("dx") port, out("eax") word, options(nostack, preserves_flags));
    }
    word
}

/// Asks for something; [`answer`] says when it is there.
///
/// # Panics
/// If the desk is still busy.
pub fn post(wish: Wish) {
    assert!(read(ASK) != BUSY, "{wish:?} while another is served");
    let (number, arguments) = wish.encoded();
    for (port, word) in ARGUMENTS.into_iter().zip(arguments) {
        write(port, word);
    }
    write(ASK, number);
}

/// The answer to the last wish, once it is there.
#[must_use]
pub fn answer() -> Option<Answer> {
    if read(ASK) != ANSWERED {
        return None;
    }
    let known = |all: u32| OUTCOMES.get(crate::index(all.into())).copied();
    Some(Answer {
        outcome: known(read(OUTCOME)).unwrap_or(Outcome::Unknown),
        words: WORDS.map(read),
    })
}

/// Waits for the answer to the last wish.
///
/// # Errors
/// That it did not come within a minute.
pub fn wait(wish: Wish) -> Result<Answer, Text> {
    let mut got = None;
    let came = time::wait_ms(PATIENCE_MS, || {
        got = answer();
        got.is_some()
    });
    match got {
        Some(answer) if came => Ok(answer),
        _ => fail!("the host did not answer {wish:?} within a minute"),
    }
}

/// Asks for something, and waits for it.
///
/// # Errors
/// As [`wait`].
pub fn ask(wish: Wish) -> Result<Answer, Text> {
    post(wish);
    wait(wish)
}

/// Asks for something that has to end so.
///
/// # Errors
/// How else it ended.
pub fn expect(wish: Wish, outcome: Outcome) -> Result<[u32; 3], Text> {
    let answer = ask(wish)?;
    check!(
        answer.outcome == outcome,
        "{wish:?}: {:?}, not {outcome:?}",
        answer.outcome
    );
    Ok(answer.words)
}

/// Asks for something that has to be granted; the words.
///
/// # Errors
/// How else it ended.
pub fn grant(wish: Wish) -> Result<[u32; 3], Text> {
    expect(wish, Outcome::Done)
}

/// What a vCPU is doing, as the host says.
///
/// # Errors
/// The host does not know.
pub fn state(cpu: usize) -> Result<State, Text> {
    let [number, ..] = grant(Wish::State(id(cpu)))?;
    match STATES.get(crate::index(number.into())) {
        Some(state) => Ok(*state),
        None => fail!("vCPU {cpu}'s state is the unknown number {number}"),
    }
}

/// Waits until the host says that a vCPU does this.
///
/// # Errors
/// What it does instead, after 30 s.
pub fn await_state(cpu: usize, wanted: State) -> Checked {
    let deadline = time::Deadline::after_ms(30_000);
    loop {
        let is = state(cpu)?;
        if is == wanted {
            return Ok(());
        }
        check!(
            !deadline.is_over(),
            "vCPU {cpu} is {is:?} for the host, not {wanted:?}, after 30 s"
        );
    }
}

/// A CPU's number as the host takes it.
#[must_use]
pub fn id(cpu: usize) -> u32 {
    u32::try_from(cpu).unwrap_or(u32::MAX)
}
