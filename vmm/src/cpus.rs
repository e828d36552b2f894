// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The life of a VM's vCPUs: who runs, who waits, who is done.
//!
//! [`Life`] is one vCPU's state and holds every transition; it is pure. [`Cpus`] is what the
//! threads share around it. The rules:
//!
//! 1. Only the vCPU's thread changes its *state*; everybody else changes its *goal*.
//! 2. A goal is set first and the vCPU kicked after. The thread forgets kicks first and looks at
//!    its goal after. So no request is missed, whenever it comes.
//! 3. The goal "stop" is final.
//! 4. The first end of a run is its end; ending a run sets the goal "stop" for all vCPUs.
//! 5. No lock is held across a kick, a wait for another thread, or a run.
//! 6. Every wait for a vCPU has a limit, and passing it names the vCPU and its state.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::report::Exit;

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

/// Makes a vCPU leave the guest, from any thread.
pub(crate) trait Kick: Send + Sync {
    /// Makes the vCPU leave the guest, or not enter it the next time. A kick that the host
    /// refuses shows in the wait for the vCPU.
    fn kick(&self);
}

/// A vCPU that did not do in time what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vCPU {vcpu} was asked to {goal} and is still {state} after {} ms", waited.as_millis())]
pub struct Stuck {
    /// Which one.
    pub vcpu: u32,
    /// What it is doing.
    pub state: VcpuState,
    /// How long it was waited for.
    pub waited: Duration,
    /// What it was asked to do.
    goal: Goal,
}

struct Cpu {
    life: Mutex<Life>,
    changed: Condvar,
    /// The goal may have changed: look at `life` before entering the guest.
    attention: AtomicBool,
    kicker: OnceLock<Box<dyn Kick>>,
}

/// The vCPUs of one VM, as all its threads see them.
pub(crate) struct Cpus {
    cpus: Vec<Cpu>,
    end: Mutex<Option<End>>,
    ended: Condvar,
}

/// How a run ended, and when.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) exit: Exit,
    pub(crate) at: Instant,
}

impl Cpus {
    pub(crate) fn new(count: usize) -> Self {
        let cpu = || Cpu {
            life: Mutex::new(Life::new()),
            changed: Condvar::new(),
            attention: AtomicBool::new(true),
            kicker: OnceLock::new(),
        };
        Self {
            cpus: std::iter::repeat_with(cpu).take(count).collect(),
            end: Mutex::new(None),
            ended: Condvar::new(),
        }
    }

    /// How many vCPUs there are.
    pub(crate) fn len(&self) -> usize {
        self.cpus.len()
    }

    /// How the run ended, once it has.
    pub(crate) fn ended(&self) -> Option<End> {
        self.lock_end().clone()
    }

    /// Waits until the run has ended, for `limit` at most; false if it has not.
    pub(crate) fn wait_ended(&self, limit: Duration) -> bool {
        let (end, _) = self
            .ended
            .wait_timeout_while(self.lock_end(), limit, |end| end.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        end.is_some()
    }

    /// Ends the run, unless it has ended already, and asks every vCPU to stop.
    pub(crate) fn end(&self, exit: Exit) {
        self.lock_end().get_or_insert_with(|| End {
            exit,
            at: Instant::now(),
        });
        self.ended.notify_all();
        self.ask_all(Goal::Stop);
    }

    fn lock_end(&self) -> MutexGuard<'_, Option<End>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the goal of every vCPU and kicks it. Does not wait.
    pub(crate) fn ask_all(&self, goal: Goal) {
        for cpu in &self.cpus {
            let mut life = cpu.lock();
            life.ask(goal);
            cpu.attention.store(true, Ordering::SeqCst);
            drop(life);
            cpu.changed.notify_all();
        }
        self.kick_all();
    }

    /// Makes every vCPU leave the guest once.
    pub(crate) fn kick_all(&self) {
        for kicker in self.cpus.iter().filter_map(|cpu| cpu.kicker.get()) {
            kicker.kick();
        }
    }

    /// Waits until every vCPU has settled on `goal`, for `limit` at most.
    pub(crate) fn wait_all(&self, goal: Goal, limit: Duration) -> Result<(), Stuck> {
        let start = Instant::now();
        for (cpu, id) in self.cpus.iter().zip(0..) {
            let life = cpu.lock();
            let left = limit.saturating_sub(start.elapsed());
            let (life, _) = cpu
                .changed
                .wait_timeout_while(life, left, |life| !life.settled(goal))
                .unwrap_or_else(PoisonError::into_inner);
            if !life.settled(goal) {
                return Err(Stuck {
                    vcpu: id,
                    state: life.state(),
                    waited: limit,
                    goal,
                });
            }
        }
        Ok(())
    }

    /// Wakes the vCPUs that wait in [`wait_for`](Self::wait_for), to look again.
    pub(crate) fn wake_all(&self) {
        for cpu in &self.cpus {
            // Whoever looked before this lock is waiting by now; whoever looks after it sees what
            // changed.
            drop(cpu.lock());
            cpu.changed.notify_all();
        }
    }

    /// On the vCPU's thread: it can be kicked from now on.
    pub(crate) fn bind(&self, id: usize, kicker: Box<dyn Kick>) {
        // A thread binds once.
        let _ = self.cpus[id].kicker.set(kicker);
    }

    /// On the vCPU's thread, after it forgot earlier kicks: whether to enter the guest. Waits
    /// while the vCPU is paused.
    pub(crate) fn may_enter(&self, id: usize) -> bool {
        let cpu = &self.cpus[id];
        if !cpu.attention.load(Ordering::SeqCst) {
            return true;
        }
        let mut life = cpu.lock();
        loop {
            cpu.attention.store(false, Ordering::SeqCst);
            let next = life.next();
            cpu.changed.notify_all();
            match next {
                Next::Enter => return true,
                Next::Leave => {
                    cpu.attention.store(true, Ordering::SeqCst);
                    return false;
                }
                Next::Wait => {
                    life = cpu
                        .changed
                        .wait(life)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// On the vCPU's thread: waits while `busy`, but not past a change of its goal. Whoever
    /// makes `busy` false calls [`wake_all`](Self::wake_all).
    pub(crate) fn wait_for(&self, id: usize, busy: impl Fn() -> bool) {
        let cpu = &self.cpus[id];
        let mut life = cpu.lock();
        while busy() && !cpu.attention.load(Ordering::SeqCst) {
            life = cpu
                .changed
                .wait(life)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// On the vCPU's thread, as its last act.
    pub(crate) fn finish(&self, id: usize) {
        let cpu = &self.cpus[id];
        cpu.lock().finish();
        cpu.changed.notify_all();
    }

    /// What each vCPU is doing, in the order of their ids.
    pub(crate) fn states(&self) -> Vec<VcpuState> {
        self.cpus.iter().map(|cpu| cpu.lock().state()).collect()
    }
}

impl Cpu {
    /// A thread that panics does not do so with this lock held for longer than one step.
    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn a_wait_that_takes_too_long_names_the_vcpu_and_its_state() {
        let cpus = Cpus::new(2);
        cpus.ask_all(Goal::Stop);
        cpus.finish(0);
        let stuck = cpus.wait_all(Goal::Stop, Duration::ZERO).unwrap_err();
        assert_eq!(
            stuck.to_string(),
            "vCPU 1 was asked to stop and is still not yet started after 0 ms"
        );
        cpus.finish(1);
        assert_eq!(cpus.wait_all(Goal::Stop, Duration::ZERO), Ok(()));
    }
}
