// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU's life: its state, what it is asked to do, and every transition.
//!
//! Pure; who may call what is in the rules of [`cpus`](crate::cpus).

use std::fmt;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VcpuState {
    /// Its thread has not yet taken it over.
    Created,
    /// It runs guest code or handles an exit.
    Running,
    /// It waits to be resumed.
    Paused,
    /// It has left the guest for good; its thread tidies up.
    Stopping,
    /// Its thread is done with it.
    Finished,
}

impl fmt::Display for VcpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "not yet started",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
        })
    }
}

/// What a vCPU is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    Run,
    Pause,
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

/// What the vCPU's thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Enter the guest.
    Enter,
    /// Wait until the goal changes.
    Wait,
    /// Leave the guest for good.
    Leave,
}

/// The state of one vCPU and every transition of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    state: VcpuState,
    goal: Goal,
}

impl Life {
    /// A new vCPU is held until the whole VM starts.
    pub(crate) const fn new() -> Self {
        Self {
            state: VcpuState::Created,
            goal: Goal::Pause,
        }
    }

    pub(crate) const fn state(&self) -> VcpuState {
        self.state
    }

    /// Sets the goal, unless it is "stop" already.
    pub(crate) fn ask(&mut self, goal: Goal) {
        if self.goal != Goal::Stop {
            self.goal = goal;
        }
    }

    /// The vCPU's thread stands outside the guest and takes the next step.
    pub(crate) fn next(&mut self) -> Next {
        let (state, next) = match (self.state, self.goal) {
            (VcpuState::Finished | VcpuState::Stopping, _) => (self.state, Next::Leave),
            (_, Goal::Run) => (VcpuState::Running, Next::Enter),
            (_, Goal::Pause) => (VcpuState::Paused, Next::Wait),
            (_, Goal::Stop) => (VcpuState::Stopping, Next::Leave),
        };
        self.state = state;
        next
    }

    /// The vCPU's thread is done with it, for whatever reason.
    pub(crate) fn finish(&mut self) {
        self.state = VcpuState::Finished;
    }

    /// Whether nobody needs to wait any longer for the vCPU to reach `goal`: it is there, cannot
    /// get there any more, or was asked for something else since.
    pub(crate) fn settled(&self, goal: Goal) -> bool {
        match goal {
            _ if self.state == VcpuState::Finished => true,
            Goal::Stop => false,
            _ if self.goal != goal => true,
            Goal::Pause => self.state == VcpuState::Paused,
            Goal::Run => self.state == VcpuState::Running,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vcpu_is_held_until_it_is_let_go() {
        let mut life = Life::new();
        assert_eq!(life.state(), VcpuState::Created);
        assert!(!life.settled(Goal::Pause));
        assert_eq!(life.next(), Next::Wait);
        assert!(life.settled(Goal::Pause));
        life.ask(Goal::Run);
        assert!(!life.settled(Goal::Run));
        assert_eq!(life.next(), Next::Enter);
        assert!(life.settled(Goal::Run));
    }

    #[test]
    fn whoever_waits_for_a_goal_that_was_replaced_is_let_go() {
        let mut life = Life::new();
        life.next();
        life.ask(Goal::Run);
        assert!(life.settled(Goal::Pause));
        life.ask(Goal::Stop);
        assert!(life.settled(Goal::Run));
        assert!(!life.settled(Goal::Stop));
        assert_eq!(life.next(), Next::Leave);
        assert!(!life.settled(Goal::Stop));
        life.finish();
        assert!(life.settled(Goal::Stop));
    }

    /// What happens to a vCPU: a request, a step of its thread, its thread's end.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ask(Goal),
        Next,
        Finish,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => prop::sample::select(&[Goal::Run, Goal::Pause][..]).prop_map(Event::Ask),
            4 => Just(Event::Next),
            1 => Just(Event::Ask(Goal::Stop)),
            1 => Just(Event::Finish),
        ]
    }

    proptest! {
        /// The rules that the states' names promise, whatever comes in whatever order.
        #[test]
        fn no_order_of_events_breaks_a_rule(events in prop::collection::vec(event(), 0..64)) {
            let mut life = Life::new();
            let mut last_asked = Goal::Pause;
            let mut stop = false;
            for event in events {
                let before = life.state();
                match event {
                    Event::Ask(goal) => {
                        life.ask(goal);
                        stop |= goal == Goal::Stop;
                        last_asked = goal;
                        // Rule 1.
                        prop_assert_eq!(life.state(), before);
                    }
                    Event::Next => {
                        let next = life.next();
                        let over = stop || before == VcpuState::Finished;
                        // Rule 3, and nothing is entered that nobody asked for.
                        prop_assert_eq!(next == Next::Leave, over);
                        prop_assert_eq!(next == Next::Enter, !over && last_asked == Goal::Run);
                    }
                    Event::Finish => life.finish(),
                }
                if before == VcpuState::Finished {
                    prop_assert_eq!(life.state(), VcpuState::Finished);
                }
                if before == VcpuState::Stopping {
                    prop_assert!(matches!(
                        life.state(),
                        VcpuState::Stopping | VcpuState::Finished
                    ));
                }
            }
        }
    }
}
