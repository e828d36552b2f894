// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a life has to be, told by counting: who came how often, who went how often.

use vcpu_life::{Goal, Next, Plug, Refused, VcpuState};

/// What happens to a vCPU.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Ask(Goal),
    Plug,
    Unplug,
    NotMade,
    /// Its thread, if there is one, looks; or does what it was told to and says so.
    Thread,
    /// Its thread, if there is one, dies.
    Dies,
}

impl Event {
    pub(crate) const ALL: [Self; 8] = [
        Self::Ask(Goal::Run),
        Self::Ask(Goal::Pause),
        Self::Ask(Goal::Stop),
        Self::Plug,
        Self::Unplug,
        Self::NotMade,
        Self::Thread,
        Self::Dies,
    ];
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    goal: Goal,
    /// How often it was added and removed, and how often it came and went.
    added: u32,
    removed: u32,
    came: u32,
    went: u32,
    /// What its thread did last, once it has done anything.
    at: Option<VcpuState>,
    /// What its thread was told to do and has not done yet.
    pub(crate) told: Option<Next>,
}

impl Model {
    pub(crate) const fn new() -> Self {
        Self {
            goal: Goal::Pause,
            added: 0,
            removed: 0,
            came: 0,
            went: 0,
            at: None,
            told: None,
        }
    }

    /// Whether there is a thread, or can be.
    pub(crate) fn has_thread(&self) -> bool {
        self.added > 0 && self.at != Some(VcpuState::Finished)
    }

    pub(crate) fn state(&self) -> VcpuState {
        let gone = matches!(self.at, Some(VcpuState::Finished | VcpuState::Stopping));
        match self.at {
            Some(at) if gone => at,
            _ if self.added == 0 => VcpuState::Absent,
            _ if self.added > self.came => VcpuState::Starting,
            _ if self.went == self.came => VcpuState::Offline,
            Some(at) => at,
            None => panic!("came without a thread: {self:?}"),
        }
    }

    pub(crate) fn ask(&mut self, goal: Goal) {
        if self.goal != Goal::Stop {
            self.goal = goal;
        }
    }

    fn over(&self) -> bool {
        self.goal == Goal::Stop || self.at == Some(VcpuState::Finished)
    }

    pub(crate) fn plug(&mut self) -> Result<Plug, Refused> {
        if self.over() {
            return Err(Refused::Ended);
        }
        if self.added > self.removed {
            return Err(Refused::Present);
        }
        if self.removed > self.went {
            return Err(Refused::Leaving);
        }
        self.added += 1;
        Ok(if self.at.is_some() {
            Plug::Wake
        } else {
            Plug::Create
        })
    }

    pub(crate) fn unplug(&mut self) -> Result<(), Refused> {
        if self.over() {
            return Err(Refused::Ended);
        }
        if self.removed > self.went {
            return Err(Refused::Leaving);
        }
        if self.added == self.removed {
            return Err(Refused::NotPresent);
        }
        self.removed += 1;
        Ok(())
    }

    pub(crate) fn not_made(&mut self) {
        if self.at.is_none() {
            (self.added, self.removed) = (0, 0);
        }
    }

    pub(crate) fn look(&mut self) -> Next {
        let (next, at) = if self.over() {
            (Next::Leave, VcpuState::Stopping)
        } else if self.added > self.came {
            (Next::Plug, VcpuState::Starting)
        } else if self.went == self.came {
            (Next::Wait, VcpuState::Offline)
        } else if self.removed > self.went {
            (Next::Unplug, VcpuState::Stopping)
        } else if self.goal == Goal::Run {
            (Next::Enter, VcpuState::Running)
        } else {
            (Next::Wait, VcpuState::Paused)
        };
        self.at = Some(at);
        next
    }

    pub(crate) fn came(&mut self) {
        self.came += 1;
        self.look();
    }

    pub(crate) fn went(&mut self) {
        self.went += 1;
        self.at = Some(VcpuState::Offline);
    }

    pub(crate) fn dies(&mut self) {
        self.at = Some(VcpuState::Finished);
    }
}
