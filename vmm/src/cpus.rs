// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM's vCPUs: who runs, who waits, who is done.
//!
//! Each has a [`Life`]; [`Cpus`] is what the threads share around these. The rules:
//!
//! 1. Only the vCPU's thread changes its *state*; everybody else changes its *goal*.
//! 2. A goal is set first and the vCPU kicked after. The thread forgets kicks first and looks at
//!    its goal after. So no request is missed, whenever it comes.
//!    One kick at a time is under way to a vCPU: until the thread has seen to it, another would
//!    tell it nothing new. The thread forgets kicks first and expects the next one after: the
//!    other way round, a kick between the two would be forgotten and yet count as under way.
//! 3. The goal "stop" is final.
//! 4. The first end of a run is its end; ending a run sets the goal "stop" for all vCPUs.
//! 5. No lock is held across a kick, a wait for another thread, or a run.
//! 6. Every wait for a vCPU has a limit, and passing it names the vCPU and its state.
//! 7. A thread that waits outside the guest first tends to what others want of its vCPU's PMU, and
//!    again after each [`Cpus::wake`]: whoever counts on a paused vCPU is answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::life::{Goal, Life, Next, VcpuState};
use crate::report::Exit;

/// How long whoever waits for a vCPU waits before kicking it again: the host may have refused the
/// kick for want of room in its signal queue.
const KICK_AGAIN: Duration = Duration::from_millis(100);

/// Makes a vCPU leave the guest, from any thread.
pub(crate) trait Kick: Send + Sync {
    /// Makes the vCPU leave the guest, or not enter it the next time. False if the host refuses;
    /// whoever waits for the vCPU then sees that it does not obey.
    fn kick(&self) -> bool;
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
    /// A kick is under way that the thread has not seen to yet.
    kicked: AtomicBool,
    /// Somebody wants something of the vCPU's PMU: tend to it before waiting.
    called: AtomicBool,
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
            kicked: AtomicBool::new(false),
            called: AtomicBool::new(false),
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
        for cpu in &self.cpus {
            cpu.kick();
        }
    }

    /// Waits until every vCPU has settled on `goal`, for `limit` at most.
    pub(crate) fn wait_all(&self, goal: Goal, limit: Duration) -> Result<(), Stuck> {
        let start = Instant::now();
        for (cpu, id) in self.cpus.iter().zip(0..) {
            loop {
                let left = limit.saturating_sub(start.elapsed());
                let (life, _) = cpu
                    .changed
                    .wait_timeout_while(cpu.lock(), left.min(KICK_AGAIN), |life| {
                        !life.settled(goal)
                    })
                    .unwrap_or_else(PoisonError::into_inner);
                if life.settled(goal) {
                    break;
                }
                if left <= KICK_AGAIN {
                    return Err(Stuck {
                        vcpu: id,
                        state: life.state(),
                        waited: limit,
                        goal,
                    });
                }
                drop(life);
                cpu.kick();
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

    /// Makes a vCPU that waits tend to its PMU. One that is in its guest has to be kicked as well.
    pub(crate) fn wake(&self, id: usize) {
        let Some(cpu) = self.cpus.get(id) else { return };
        // Under the lock, as in `wake_all`.
        let life = cpu.lock();
        cpu.called.store(true, Ordering::SeqCst);
        drop(life);
        cpu.changed.notify_all();
    }

    /// On the vCPU's thread: it can be kicked from now on.
    pub(crate) fn bind(&self, id: usize, kicker: Box<dyn Kick>) {
        // A thread binds once.
        let _ = self.cpus[id].kicker.set(kicker);
    }

    /// On the vCPU's thread, after it forgot its kicks: the next one is news again.
    pub(crate) fn expect_kicks(&self, id: usize) {
        self.cpus[id].kicked.store(false, Ordering::SeqCst);
    }

    /// On the vCPU's thread, after [`expect_kicks`](Self::expect_kicks): whether to enter the guest. Waits
    /// while the vCPU is paused, and calls `tend` meanwhile.
    pub(crate) fn may_enter(&self, id: usize, mut tend: impl FnMut()) -> bool {
        let cpu = &self.cpus[id];
        if !cpu.attention.load(Ordering::SeqCst) {
            return true;
        }
        let mut life = cpu.lock();
        cpu.called.store(true, Ordering::SeqCst);
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
                Next::Wait => life = cpu.wait(life, &mut tend),
            }
        }
    }

    /// On the vCPU's thread: waits while `busy`, but not past a change of its goal, and calls
    /// `tend` meanwhile. Whoever makes `busy` false calls [`wake_all`](Self::wake_all).
    pub(crate) fn wait_for(&self, id: usize, busy: impl Fn() -> bool, mut tend: impl FnMut()) {
        let cpu = &self.cpus[id];
        let mut life = cpu.lock();
        cpu.called.store(true, Ordering::SeqCst);
        while busy() && !cpu.attention.load(Ordering::SeqCst) {
            life = cpu.wait(life, &mut tend);
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
    /// Makes the vCPU leave the guest, unless a kick is under way.
    fn kick(&self) {
        if let Some(kicker) = self.kicker.get()
            && !self.kicked.swap(true, Ordering::SeqCst)
            && !kicker.kick()
        {
            self.kicked.store(false, Ordering::SeqCst);
        }
    }

    /// Waits for something to look at, or tends to the vCPU's PMU first if that is wanted.
    fn wait<'a>(
        &'a self,
        life: MutexGuard<'a, Life>,
        tend: &mut impl FnMut(),
    ) -> MutexGuard<'a, Life> {
        if self.called.swap(false, Ordering::SeqCst) {
            drop(life);
            tend();
            return self.lock();
        }
        self.changed
            .wait(life)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that panics does not do so with this lock held for longer than one step.
    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    /// Long past the moment at which a wake that is not lost has worked.
    const LONG: Duration = Duration::from_secs(10);

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

    /// Ends whatever vCPUs wait for where a test fails.
    struct EndIfFailed<'a>(&'a Cpus);

    impl Drop for EndIfFailed<'_> {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.ask_all(Goal::Stop);
            }
        }
    }

    #[test]
    fn a_paused_vcpu_tends_to_its_pmu_before_it_waits_and_at_each_wake() {
        let cpus = Cpus::new(1);
        for _pause in 0..2 {
            let (tended, tends) = mpsc::channel();
            thread::scope(|threads| {
                let _end = EndIfFailed(&cpus);
                let vcpu = threads.spawn(|| cpus.may_enter(0, || tended.send(()).unwrap()));
                for _ in 0..3 {
                    tends.recv_timeout(LONG).unwrap();
                    cpus.wake(0);
                }
                tends.recv_timeout(LONG).unwrap();
                cpus.ask_all(Goal::Run);
                assert!(vcpu.join().unwrap());
            });
            cpus.ask_all(Goal::Pause);
        }
    }

    #[test]
    fn a_vcpu_that_waits_for_room_tends_to_its_pmu_too() {
        let cpus = Cpus::new(1);
        cpus.ask_all(Goal::Run);
        assert!(cpus.may_enter(0, || ()));
        for _wait in 0..2 {
            let full = AtomicBool::new(true);
            let (tended, tends) = mpsc::channel();
            let busy = || full.load(Ordering::SeqCst);
            let waits = || cpus.wait_for(0, busy, || tended.send(()).unwrap());
            thread::scope(|threads| {
                let _end = EndIfFailed(&cpus);
                threads.spawn(waits);
                tends.recv_timeout(LONG).unwrap();
                cpus.wake(0);
                tends.recv_timeout(LONG).unwrap();
                full.store(false, Ordering::SeqCst);
                cpus.wake_all();
            });
        }
    }

    #[test]
    fn a_kick_is_sent_once_until_the_next_is_expected() {
        struct Counts(Arc<AtomicUsize>);
        impl Kick for Counts {
            fn kick(&self) -> bool {
                self.0.fetch_add(1, Ordering::SeqCst);
                true
            }
        }
        let sent = Arc::new(AtomicUsize::new(0));
        let cpus = Cpus::new(1);
        cpus.kick_all();
        cpus.bind(0, Box::new(Counts(sent.clone())));
        for expected in [1, 2, 3] {
            cpus.kick_all();
            cpus.kick_all();
            assert_eq!(sent.load(Ordering::SeqCst), expected);
            cpus.expect_kicks(0);
        }
    }
}
