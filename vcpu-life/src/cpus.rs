// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM's vCPUs: who is there, who runs, who waits, who is done.
//!
//! Each has a [`Life`]; [`Cpus`] is what the threads share around these. The rules:
//!
//! - **C1** Requests change what is asked for; the vCPU's thread changes its state. Exceptions are the
//!   steps of a vCPU that has no thread to take them: an absent or offline one is starting from the
//!   moment that it is added, and absent again if it cannot be made.
//! - **C2** A request is written down first, then the thread is woken and kicked. The thread forgets
//!   kicks first and looks at the requests after. So none is missed, whenever it comes.
//! - **C3** One kick at a time is under way to a vCPU: until the thread has seen to it, another would
//!   tell it nothing new. The thread forgets kicks first and expects the next one after: the other
//!   way round, a kick between the two would be forgotten and yet count as under way. Both sides of
//!   this are a swap of one flag: whoever finds a kick under way is ordered before the thread's look,
//!   whatever the kick itself orders.
//! - **C4** The goal "stop" is final.
//! - **C5** Of several goals for all vCPUs the last one asked for is that of every vCPU: their order is
//!   the same everywhere, also for a vCPU that is added meanwhile.
//! - **C6** No lock is held across a kick, a wake, a wait or a park, nor while a thread serves calls.
//! - **C7** Every wait for a vCPU has a limit, and passing it names the vCPU and its state.
//! - **C8** A thread that has nothing to run waits in [`Park::park`], where it serves what others call:
//!   a paused or offline vCPU answers.

use std::fmt;
use std::time::{Duration, Instant};

use vcpu_call::{Park, Waker};

use crate::life::{Goal, Life, Next, Plug, Refused, VcpuState};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering};

/// How long whoever waits for a vCPU waits before kicking it again: the host may have refused the
/// kick for want of room in its signal queue. Never under a model checker, which knows no time.
const KICK_AGAIN: Duration = if cfg!(loom) {
    Duration::MAX
} else {
    Duration::from_millis(100)
};

/// Makes a vCPU leave the guest, from any thread.
pub trait Kick: Send + Sync {
    /// Makes the vCPU leave the guest, or not enter it the next time. False if the host refuses;
    /// whoever waits for the vCPU then kicks again.
    fn kick(&self) -> bool;
}

/// Is told each change of a vCPU's state, by the thread that makes it and with the vCPU locked: it
/// must neither wait nor call back.
pub trait Watch: Send + Sync {
    /// vCPU `vcpu` is in `state` now.
    fn changed(&self, vcpu: u32, state: VcpuState);
}

/// Looks away.
impl Watch for () {
    fn changed(&self, _vcpu: u32, _state: VcpuState) {}
}

/// A vCPU that did not do in time what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vCPU {vcpu} was asked to {wanted} and is still {state} after {} ms", waited.as_millis())]
pub struct Stuck {
    /// Which one.
    pub vcpu: u32,
    /// What it is doing.
    pub state: VcpuState,
    /// How long it was waited for.
    pub waited: Duration,
    /// What it was asked to do.
    wanted: &'static str,
}

/// How the others reach a vCPU's thread.
struct Ends {
    waker: Waker,
    kick: Box<dyn Kick>,
}

struct Cpu {
    id: u32,
    life: Mutex<Life>,
    changed: Condvar,
    /// Something may have been asked for: look at `life` before entering the guest.
    attention: AtomicBool,
    /// A kick is under way that the thread has not seen to yet.
    kicked: AtomicBool,
    ends: Mutex<Option<Arc<Ends>>>,
    watch: Arc<dyn Watch>,
}

/// The vCPUs of one VM, as all its threads see them. They are numbered from 0.
pub struct Cpus {
    cpus: Box<[Cpu]>,
    /// Held while a goal is handed out, so that goals reach all vCPUs in one order (C5).
    goals: Mutex<()>,
}

impl Cpus {
    /// As many vCPUs as there can ever be, all of them absent and held until the VM starts.
    pub fn new(max: u32, watch: Arc<dyn Watch>) -> Self {
        let cpu = |id| Cpu {
            id,
            life: Mutex::new(Life::absent()),
            changed: Condvar::new(),
            attention: AtomicBool::new(true),
            kicked: AtomicBool::new(false),
            ends: Mutex::new(None),
            watch: Arc::clone(&watch),
        };
        Self {
            cpus: (0..max).map(cpu).collect(),
            goals: Mutex::new(()),
        }
    }

    /// How many vCPUs there can be.
    pub fn max(&self) -> usize {
        self.cpus.len()
    }

    /// What each vCPU is doing, in the order of their ids.
    pub fn states(&self) -> Vec<VcpuState> {
        self.cpus
            .iter()
            .map(|cpu| cpu.life.lock().state())
            .collect()
    }

    /// What a vCPU is doing; one that cannot be is absent.
    pub fn state(&self, id: usize) -> VcpuState {
        let cpu = self.cpus.get(id);
        cpu.map_or(VcpuState::Absent, |cpu| cpu.life.lock().state())
    }

    /// Sets the goal of every vCPU and makes them look. Does not wait.
    pub fn ask_all(&self, goal: Goal) {
        let order = self.goals.lock();
        for cpu in &self.cpus {
            cpu.change(|life| life.ask(goal));
        }
        drop(order);
        for cpu in &self.cpus {
            cpu.nudge();
        }
    }

    /// Makes every vCPU leave the guest once.
    pub fn kick_all(&self) {
        for cpu in &self.cpus {
            cpu.kick();
        }
    }

    /// Waits until every vCPU has settled on `goal`, for `limit` at most.
    ///
    /// # Errors
    /// [`Stuck`] names the first vCPU that has not.
    pub fn wait_all(&self, goal: Goal, limit: Duration) -> Result<(), Stuck> {
        let wanted = match goal {
            Goal::Run => "run",
            Goal::Pause => "pause",
            Goal::Stop => "stop",
        };
        let start = Instant::now();
        for cpu in &self.cpus {
            let left = limit.saturating_sub(start.elapsed());
            cpu.wait(left, |life| life.settled(goal))
                .map_err(|life| cpu.stuck(&life, limit, wanted))?;
        }
        Ok(())
    }

    /// Adds a vCPU: it is starting from now on. Says what else is to be done.
    ///
    /// # Errors
    /// Why it cannot be added. One that cannot be is [`Refused::NotPresent`].
    pub fn plug(&self, id: usize) -> Result<Plug, Refused> {
        let cpu = self.cpus.get(id).ok_or(Refused::NotPresent)?;
        let plug = cpu.change(Life::plug)?;
        cpu.nudge();
        Ok(plug)
    }

    /// A vCPU that was to be made ([`Plug::Create`]) cannot be: it is absent again.
    pub fn not_made(&self, id: usize) {
        if let Some(cpu) = self.cpus.get(id) {
            cpu.change(Life::not_made);
        }
    }

    /// Waits until a vCPU that was added has been brought up, for `limit` at most; gives its state
    /// then, which is another one if it was removed or stopped meanwhile.
    ///
    /// # Errors
    /// [`Stuck`] if it is still starting.
    pub fn wait_plugged(&self, id: usize, limit: Duration) -> Result<VcpuState, Stuck> {
        let Some(cpu) = self.cpus.get(id) else {
            return Ok(VcpuState::Absent);
        };
        cpu.wait(limit, |life| life.state() != VcpuState::Starting)
            .map(|life| life.state())
            .map_err(|life| cpu.stuck(&life, limit, "start"))
    }

    /// Removes a vCPU, whose guest has stopped using it. Does not wait.
    ///
    /// # Errors
    /// Why it cannot be removed. One that cannot be is [`Refused::NotPresent`].
    pub fn unplug(&self, id: usize) -> Result<(), Refused> {
        let cpu = self.cpus.get(id).ok_or(Refused::NotPresent)?;
        cpu.change(Life::unplug)?;
        cpu.nudge();
        Ok(())
    }

    /// Waits until a vCPU's state is one of which `there` is true, for `limit` at most; gives its
    /// state at the end, and whether it was that. A finished one will be nothing else, and is not
    /// waited for.
    ///
    /// `there` is called with the vCPU locked: it must neither wait nor call back.
    pub fn wait_state(
        &self,
        id: usize,
        limit: Duration,
        there: impl Fn(VcpuState) -> bool,
    ) -> (VcpuState, bool) {
        let Some(cpu) = self.cpus.get(id) else {
            return (VcpuState::Absent, there(VcpuState::Absent));
        };
        let over = |life: &Life| life.state() == VcpuState::Finished;
        let (Ok(life) | Err(life)) = cpu.wait(limit, |life| there(life.state()) || over(life));
        (life.state(), there(life.state()))
    }

    /// Makes whoever waits in [`wait_state`](Self::wait_state) for `id` look again, since what decides
    /// there has changed.
    pub fn look_again(&self, id: usize) {
        if let Some(cpu) = self.cpus.get(id) {
            // Whoever looked before this lock is waiting by now.
            drop(cpu.life.lock());
            cpu.changed.notify_all();
        }
    }

    /// Makes the vCPUs that wait outside the guest look again at what they wait for.
    pub fn wake_all(&self) {
        for cpu in &self.cpus {
            if let Some(ends) = cpu.ends() {
                ends.waker.wake();
            }
        }
    }

    /// On the vCPU's thread: it can be reached from now on.
    pub fn bind(&self, id: usize, kick: Box<dyn Kick>, waker: Waker) {
        self.cpus[id].set_ends(Some(Arc::new(Ends { waker, kick })));
    }

    /// On the vCPU's thread, after it forgot its kicks: the next one is news again.
    pub fn expect_kicks(&self, id: usize) {
        self.cpus[id].kicked.swap(false, Ordering::SeqCst);
    }

    /// On the vCPU's thread, after [`expect_kicks`](Self::expect_kicks): what to do next. Waits while
    /// there is nothing to do, so it never gives [`Next::Wait`].
    pub fn advance(&self, id: usize, thread: &mut (impl Park + ?Sized)) -> Next {
        let cpu = &self.cpus[id];
        if !cpu.attention.load(Ordering::SeqCst) {
            return Next::Enter;
        }
        loop {
            cpu.attention.store(false, Ordering::SeqCst);
            match cpu.step(Life::advance) {
                Next::Wait => thread.park(),
                Next::Enter => return Next::Enter,
                next => {
                    // It comes back here before it enters the guest.
                    cpu.attention.store(true, Ordering::SeqCst);
                    return next;
                }
            }
        }
    }

    /// On the vCPU's thread: it is as new, and online.
    pub fn plugged(&self, id: usize) {
        self.cpus[id].step(Life::plugged);
    }

    /// On the vCPU's thread: it is offline.
    pub fn unplugged(&self, id: usize) {
        self.cpus[id].step(Life::unplugged);
    }

    /// On the vCPU's thread: waits while `busy`, but not past a request. Whoever makes `busy` false
    /// calls [`wake_all`](Self::wake_all).
    pub fn wait_for(&self, id: usize, busy: impl Fn() -> bool, thread: &mut (impl Park + ?Sized)) {
        let cpu = &self.cpus[id];
        while busy() && !cpu.attention.load(Ordering::SeqCst) {
            thread.park();
        }
    }

    /// On the vCPU's thread, as its last act.
    pub fn finish(&self, id: usize) {
        let cpu = &self.cpus[id];
        cpu.step(Life::finish);
        cpu.set_ends(None);
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.states()).finish()
    }
}

impl Cpu {
    /// One step of the life, told to whoever watches and waits.
    fn step<R>(&self, step: impl FnOnce(&mut Life) -> R) -> R {
        let mut life = self.life.lock();
        let before = life.state();
        let result = step(&mut life);
        if life.state() != before {
            self.watch.changed(self.id, life.state());
        }
        drop(life);
        self.changed.notify_all();
        result
    }

    /// A request: one step, and the thread is to look.
    fn change<R>(&self, request: impl FnOnce(&mut Life) -> R) -> R {
        self.step(|life| {
            let result = request(life);
            self.attention.store(true, Ordering::SeqCst);
            result
        })
    }

    fn ends(&self) -> Option<Arc<Ends>> {
        self.ends.lock().clone()
    }

    fn set_ends(&self, ends: Option<Arc<Ends>>) {
        let before = std::mem::replace(&mut *self.ends.lock(), ends);
        // Not under the lock: what its drop does is its owner's business.
        drop(before);
    }

    /// Makes the thread look, wherever it is.
    fn nudge(&self) {
        if let Some(ends) = self.ends() {
            ends.waker.wake();
        }
        self.kick();
    }

    /// Makes the vCPU leave the guest, unless a kick is under way.
    fn kick(&self) {
        if let Some(ends) = self.ends()
            && !self.kicked.swap(true, Ordering::SeqCst)
            && !ends.kick.kick()
        {
            self.kicked.swap(false, Ordering::SeqCst);
        }
    }

    /// Waits until `done`, for `limit` at most; kicks again now and then as long as the thread has not
    /// looked.
    fn wait(
        &self,
        limit: Duration,
        done: impl Fn(&Life) -> bool,
    ) -> Result<MutexGuard<'_, Life>, MutexGuard<'_, Life>> {
        let start = Instant::now();
        let mut life = self.life.lock();
        let mut kick_at = KICK_AGAIN;
        while !done(&life) {
            let waited = start.elapsed();
            if waited >= limit {
                return Err(life);
            }
            if waited >= kick_at {
                kick_at = waited + KICK_AGAIN;
                if self.attention.load(Ordering::SeqCst) {
                    drop(life);
                    self.kick();
                    life = self.life.lock();
                }
                continue;
            }
            let left = limit.min(kick_at) - waited;
            life = self.changed.wait_for(life, left);
        }
        Ok(life)
    }

    fn stuck(&self, life: &Life, waited: Duration, wanted: &'static str) -> Stuck {
        Stuck {
            vcpu: self.id,
            state: life.state(),
            waited,
            wanted,
        }
    }
}
