// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU's life: its state, what it is asked to do, and every transition.
//!
//! Pure; who may call what is in the rules of [`cpus`](crate::cpus).
//!
//! ```text
//!            plug                 the thread is ready         pause
//! Absent ────────────▶ Starting ───────────────────▶ Running ◀─────▶ Paused
//!   ▲                  ▲      │                         │      run      │
//!   └──────────────────┼──────┘ it cannot be made       │    unplug     │
//!                      │ plug                           ▼               │
//!                   Offline ◀──────────────────────  Stopping ◀─────────┘
//!                                  out of the guest     │
//!                                                       ▼ the VM stops
//!                                                    Finished
//! ```
//!
//! An offline vCPU and one that is starting also stop with the VM. An absent one has no thread and
//! nothing to stop.

use std::fmt;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcpuState {
    /// It was never added: it has no thread.
    Absent,
    /// It is being added: its thread prepares it.
    Starting,
    /// It runs guest code, waits for the guest to start it, or handles an exit.
    Running,
    /// It waits to be resumed.
    Paused,
    /// It has left the guest; its thread tidies up.
    Stopping,
    /// It was removed: its thread is parked, and it can be added again.
    Offline,
    /// The VM has stopped, and its thread is done with it.
    Finished,
}

impl VcpuState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Stopping,
        Self::Offline,
        Self::Finished,
    ];

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Offline => "offline",
            Self::Finished => "finished",
        }
    }
}

impl fmt::Display for VcpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What all vCPUs of a VM are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// To run.
    Run,
    /// To stand still outside the guest.
    Pause,
    /// To leave the guest for good. It is final.
    Stop,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Run => "run",
            Self::Pause => "pause",
            Self::Stop => "stop",
        })
    }
}

/// What whoever adds a vCPU has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// It was never there: make it and its thread.
    Create,
    /// Its thread is there, and does the rest.
    Wake,
}

/// Why a vCPU cannot be added or removed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is there already.
    Present,
    /// It is not there.
    NotPresent,
    /// It is on its way out.
    Leaving,
    /// The VM stops.
    Ended,
}

/// What the vCPU's thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Enter the guest.
    Enter,
    /// Make the vCPU as new and bring it online, then say [`Life::plugged`].
    Plug,
    /// Take the vCPU offline, then say [`Life::unplugged`]. It was plugged before, each time.
    Unplug,
    /// Wait until something changes.
    Wait,
    /// Leave the guest for good.
    Leave,
}

/// The state of one vCPU and every transition of it.
///
/// ```
/// use vcpu_life::{Goal, Life, Next, Plug, VcpuState};
///
/// let mut life = Life::absent();
/// assert_eq!(life.plug(), Ok(Plug::Create));
/// life.ask(Goal::Run);
/// // Its thread:
/// assert_eq!(life.advance(), Next::Plug);
/// life.plugged();
/// assert_eq!(life.advance(), Next::Enter);
/// // The guest gives it back:
/// assert_eq!(life.unplug(), Ok(()));
/// assert_eq!(life.advance(), Next::Unplug);
/// life.unplugged();
/// assert_eq!((life.advance(), life.state()), (Next::Wait, VcpuState::Offline));
/// // And it is added again:
/// assert_eq!(life.plug(), Ok(Plug::Wake));
/// assert_eq!(life.advance(), Next::Plug);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Life {
    state: VcpuState,
    goal: Goal,
    /// It is wanted in the machine.
    wanted: bool,
    /// Its thread has spoken.
    made: bool,
}

impl Life {
    /// A vCPU that is not there. Like all of them it is held until the whole VM starts.
    pub const fn absent() -> Self {
        Self {
            state: VcpuState::Absent,
            goal: Goal::Pause,
            wanted: false,
            made: false,
        }
    }

    /// What it is doing.
    pub const fn state(&self) -> VcpuState {
        self.state
    }

    /// Sets the goal, unless it is "stop" already.
    pub fn ask(&mut self, goal: Goal) {
        if self.goal != Goal::Stop {
            self.goal = goal;
        }
    }

    /// Adds the vCPU.
    ///
    /// # Errors
    /// [`Refused`] if it is there, on its way out, or the VM stops.
    pub fn plug(&mut self) -> Result<Plug, Refused> {
        if self.goal == Goal::Stop {
            return Err(Refused::Ended);
        }
        let plug = match self.state {
            VcpuState::Absent => Plug::Create,
            VcpuState::Offline => Plug::Wake,
            VcpuState::Finished => return Err(Refused::Ended),
            _ if self.wanted => return Err(Refused::Present),
            _ => return Err(Refused::Leaving),
        };
        self.state = VcpuState::Starting;
        self.wanted = true;
        Ok(plug)
    }

    /// The vCPU that was to be made ([`Plug::Create`]) cannot be: it is absent as before. Of no effect
    /// once its thread has taken a step.
    pub fn not_made(&mut self) {
        if self.state == VcpuState::Starting && !self.made {
            self.state = VcpuState::Absent;
            self.wanted = false;
        }
    }

    /// Removes the vCPU.
    ///
    /// # Errors
    /// [`Refused`] if it is not there, on its way out already, or the VM stops.
    pub fn unplug(&mut self) -> Result<(), Refused> {
        match self.state {
            _ if self.goal == Goal::Stop => Err(Refused::Ended),
            VcpuState::Absent | VcpuState::Offline => Err(Refused::NotPresent),
            VcpuState::Finished => Err(Refused::Ended),
            _ if !self.wanted => Err(Refused::Leaving),
            _ => {
                self.wanted = false;
                Ok(())
            }
        }
    }

    /// The vCPU's thread stands outside the guest and takes the next step. Until something is asked of
    /// it or done, another one is the same.
    pub fn advance(&mut self) -> Next {
        use VcpuState::{Absent, Finished, Offline, Paused, Running, Starting, Stopping};
        let (state, next) = match (self.state, self.goal) {
            (Finished, _) => (Finished, Next::Leave),
            (_, Goal::Stop) => (Stopping, Next::Leave),
            (Absent | Offline, _) => (self.state, Next::Wait),
            // Also one that is to go again already: what is taken offline was online.
            (Starting, _) => (Starting, Next::Plug),
            _ if !self.wanted => (Stopping, Next::Unplug),
            (_, Goal::Run) => (Running, Next::Enter),
            (_, Goal::Pause) => (Paused, Next::Wait),
        };
        self.state = state;
        self.made = true;
        next
    }

    /// On the vCPU's thread: it is as new, online, and stands outside the guest. It is then what it is
    /// asked to be, so that nobody takes it for paused who waits for it in a VM that runs.
    pub fn plugged(&mut self) {
        if self.state == VcpuState::Starting {
            self.state = VcpuState::Paused;
            self.advance();
        }
    }

    /// On the vCPU's thread: it is offline.
    pub fn unplugged(&mut self) {
        if self.state == VcpuState::Stopping {
            self.state = VcpuState::Offline;
        }
    }

    /// The vCPU's thread is done with it, for whatever reason.
    pub fn finish(&mut self) {
        self.state = VcpuState::Finished;
        self.wanted = false;
    }

    /// Whether nobody needs to wait any longer for the vCPU to reach `goal`: it is there, cannot
    /// get there any more, or was asked for something else since.
    pub fn settled(&self, goal: Goal) -> bool {
        use VcpuState::{Absent, Finished, Offline, Paused, Running};
        match (self.state, goal) {
            (Absent | Finished, _) => true,
            (_, Goal::Stop) => false,
            _ if self.goal != goal => true,
            (Offline, _) => true,
            (state, Goal::Pause) => state == Paused,
            (state, Goal::Run) => state == Running,
        }
    }
}
