// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Announcements on demand: a guest whose switches cost nothing while nobody wants to know (R24).
//!
//! Each announced switch costs the guest an exit. So a guest keeps a [`Page`] for each vCPU, which
//! says without an exit what is current there, and announces only while the page's flag is up.
//! Nobody can make a guest wait for a quiet moment in which to raise it; that one side at least
//! sees the other follows from the order in which both do things:
//!
//! - **A1** At each switch the guest stores its new current task in its vCPU's page, passes a full
//!   fence, and looks at the flag: raised, it announces the switch.
//! - **A2** Whoever needs announcements raises the flags of all pages, passes a full fence, and looks
//!   at the pages: a switch that did not see its flag is seen there. Each vCPU whose page names a task
//!   is called, and its own thread, out of its guest, looks again and believes it.
//! - **A3** Nobody installs an event before everybody's page was looked at, whoever it was that
//!   raised the flags. What a vCPU believed when they were taken down is forgotten before the first
//!   page is looked at: a task may have moved since.
//! - **A4** An event of a task needs announcements from before it is installed until it has ended
//!   and no trap of it is on its way; a trap that was handed over needs them until it is
//!   acknowledged. With the last of them the flags are taken down, which takes no call.
//! - **A5** A page is believed as far as an announcement would be: not against the host's own word
//!   (I21). That a task runs says that it was woken.
//!
//! Traps need no such care: they are queued by the thread of the vCPU that their task is current
//! on, which is out of its guest then and knows where that stands. In user mode, it hands the trap
//! over. In kernel mode it leaves word in the page, and if the guest is past its last look at that,
//! on its way to user mode, puts it back in front of the look.

use std::boxed::Box;
use std::vec::Vec;

use vcpu_call::{ServingGate, VcpuId};

use super::PerfError;
use super::call::{Call, Caller};
use super::cpu::{Cpu, Leaves};
use super::observe::PerfObserver;
use super::order::full_fence;
use super::perf::{Clock, Perf};
use super::task::{Task, TaskId};
use crate::CounterSource;
use crate::sync::{Arc, AtomicU32, Mutex, Ordering};

/// What guest and host share of one vCPU: the guest's word for what is current, the host's flag.
///
/// A leaf: it neither waits nor calls the engine, and may be called with locks held. Memory of the
/// guest's is fit for it; what is nonsense there is no task.
///
/// ```
/// use std::sync::Mutex;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use vpmu::context::{Page, Task};
///
/// #[derive(Default)]
/// struct Shared { announce: AtomicBool, current: Mutex<Option<Task>> }
///
/// impl Page for Shared {
///     fn announce(&self, on: bool) {
///         self.announce.store(on, Ordering::SeqCst);
///     }
///
///     fn current(&self) -> Option<Task> {
///         self.current.lock().unwrap().clone()
///     }
/// }
/// ```
pub trait Page: Send + Sync {
    /// The guest is to announce its switches from now on, or need not any more.
    fn announce(&self, on: bool);

    /// What the guest says is current.
    fn current(&self) -> Option<Task>;
}

/// The pages of all vCPUs, and who needs announcements.
pub(super) struct Announcements {
    /// Held while everybody's page is looked at.
    gate: ServingGate,
    /// 1 while the flags are up, to be read without the lock.
    up: AtomicU32,
    state: Mutex<State>,
}

struct State {
    /// How many need announcements; the flags are up while it is not 0.
    holds: u64,
    /// Every page was looked at since the flags were raised.
    looked: bool,
    seats: Box<[Seat]>,
}

#[derive(Clone, Default)]
struct Seat {
    page: Option<Arc<dyn Page>>,
    /// The vCPU believes that some task is current.
    believes: bool,
}

/// Somebody needs announcements.
pub(super) struct Hold(Arc<Announcements>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.holds -= 1;
        if state.holds == 0 {
            state.looked = false;
            self.0.raise(&state, false);
        }
    }
}

impl Announcements {
    pub(super) fn new(vcpus: u32) -> Self {
        Self {
            gate: ServingGate::new(),
            up: AtomicU32::new(0),
            state: Mutex::new(State {
                holds: 0,
                looked: false,
                seats: (0..vcpus).map(|_| Seat::default()).collect(),
            }),
        }
    }

    /// Needs announcements from now on. They come from every vCPU whose page was looked at since.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        let mut state = self.state.lock();
        state.holds += 1;
        if state.holds == 1 {
            self.raise(&state, true);
        }
        drop(state);
        Hold(Arc::clone(self))
    }

    fn raise(&self, state: &State, on: bool) {
        self.up.store(u32::from(on), Ordering::Relaxed);
        for page in state.seats.iter().filter_map(|seat| seat.page.as_ref()) {
            page.announce(on);
        }
    }

    /// Whether the flags are up. A vCPU's own thread that misses a change is about to be called.
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed) != 0
    }

    fn looked(&self) -> bool {
        self.state.lock().looked
    }

    /// The vCPUs of which this is true.
    fn vcpus(&self, which: impl Fn(&Seat) -> bool) -> Vec<VcpuId> {
        let state = self.state.lock();
        let seats = (0..).map(VcpuId).zip(&state.seats);
        let chosen = seats.filter(|(_, seat)| which(seat));
        chosen.map(|(vcpu, _)| vcpu).collect()
    }

    fn page(&self, vcpu: VcpuId) -> Option<Arc<dyn Page>> {
        self.state.lock().seats.get(vcpu.index())?.page.clone()
    }

    /// Gives a vCPU a page, or takes it away. Whether the flags are up.
    fn set_page(&self, vcpu: VcpuId, mut page: Option<Arc<dyn Page>>) -> bool {
        let mut state = self.state.lock();
        let up = state.holds > 0;
        if let Some(page) = &page {
            page.announce(up);
        }
        if let Some(seat) = state.seats.get_mut(vcpu.index()) {
            core::mem::swap(&mut seat.page, &mut page);
        }
        drop(state);
        // Not under the lock: what it refers to may hold announcements.
        drop(page);
        up
    }

    /// A vCPU believes that a task is current, or does not any more.
    pub(super) fn believes(&self, vcpu: VcpuId, believes: bool) {
        if let Some(seat) = self.state.lock().seats.get_mut(vcpu.index()) {
            seat.believes = believes;
        }
    }
}

impl<C: Clock, O: PerfObserver> Perf<C, O> {
    /// Whether guests are asked to announce their switches now. Always, if they keep no pages
    /// ([`PerfConfig::pages`](super::PerfConfig::pages)).
    pub fn announces(&self) -> bool {
        self.announcements().is_none_or(|all| all.is_up())
    }

    /// Whether the flags were raised, and not every page looked at since.
    fn is_looking(&self) -> bool {
        self.announcements()
            .is_some_and(|all| all.is_up() && !all.looked())
    }

    /// Needs announcements, for an event that is about to be installed: when this returns, what is
    /// current on each vCPU is known, or will be at its next entry to the guest (A2, A3).
    pub(super) fn ask(&self, by: &mut impl Caller) -> Option<Hold> {
        let all = self.announcements()?;
        let hold = all.hold();
        if !all.looked() {
            self.look_around(all, by);
        }
        Some(hold)
    }

    #[cold]
    fn look_around(&self, all: &Announcements, by: &mut impl Caller) {
        let _gate = all.gate.enter(by);
        if all.looked() {
            return;
        }
        // Refused by those that are offline: nothing is current there.
        for vcpu in all.vcpus(|seat| seat.page.is_some() && seat.believes) {
            self.send(vcpu, Call::Forget, None, by);
        }
        // A2: what is not in a page by now is announced.
        full_fence();
        for vcpu in all.vcpus(|seat| seat.page.is_some()) {
            let page = all.page(vcpu);
            if page.is_some_and(|page| page.current().is_some()) {
                self.send(vcpu, Call::Look, None, by);
            }
        }
        // The flags stay up: whoever asked holds them.
        all.state.lock().looked = true;
    }
}

impl<S: CounterSource, C: Clock, O: PerfObserver> Cpu<S, C, O> {
    /// The guest shares this page for the vCPU from now on, and announces switches here only while
    /// its flag is up; or it shares none, and announces all of them. Going offline takes it away.
    ///
    /// Of no effect without [`PerfConfig::pages`](super::PerfConfig::pages).
    pub fn set_page(&mut self, page: Option<Arc<dyn Page>>) {
        let Some(all) = self.perf().announcements().cloned() else {
            return;
        };
        let paged = core::mem::replace(&mut self.paged, page.is_some());
        if all.set_page(self.id(), page) {
            self.look_at_page();
        } else if paged {
            // Nothing was announced of late; and nobody asks a vCPU without a page to forget.
            self.forget();
        }
    }

    /// The guest announces a switch, as it does on demand (A1): otherwise than
    /// [`switch`](Self::switch), this takes into account what came to pass while nothing was
    /// announced. A `next` that is current by now is fine: the page was looked at first. So is one
    /// that blocked earlier; it was woken meanwhile.
    ///
    /// # Errors
    /// As [`switch`](Self::switch), with `prev` by its name. None while pages are being looked at, by
    /// which everything is put right.
    pub fn announced(
        &mut self,
        prev: Option<TaskId>,
        leaves: Leaves,
        next: Option<Task>,
    ) -> Result<(), PerfError> {
        let wanted = next.as_ref().map(Task::id);
        let current = self.task.clone();
        if current.as_ref().map(Task::id) == wanted {
            return Ok(());
        }
        let result = if current.as_ref().map(Task::id) == prev {
            if let Some(next) = &next {
                // Fails if it is not blocked.
                let _ = next.0.word.wake(self.id());
            }
            self.switch(current.as_ref(), leaves, next).map(|_| ())
        } else {
            self.look_at_page();
            let found = self.task.as_ref().map(Task::id) == wanted;
            let named = prev.or(wanted).unwrap_or(TaskId(0));
            found.then_some(()).ok_or(PerfError::NotCurrent(named))
        };
        if result.is_err() && self.perf().is_looking() {
            self.forget();
            return Ok(());
        }
        result
    }

    /// Looks at the page for what is current, as if it was announced (A5). What cannot be true is
    /// nothing.
    pub fn look_at_page(&mut self) {
        let all = self.perf().announcements();
        let Some(page) = all.and_then(|all| all.page(self.id())) else {
            return;
        };
        let next = page.current();
        let prev = self.task.clone();
        if next.as_ref().map(Task::id) == prev.as_ref().map(Task::id) {
            return;
        }
        if let Some(next) = &next {
            // Fails if it is not blocked.
            let _ = next.0.word.wake(self.id());
        }
        if self.switch(prev.as_ref(), Leaves::Queued, next).is_err() {
            self.forget();
        }
    }

    /// What is current here is not known any more.
    pub(super) fn forget(&mut self) {
        if let Some(prev) = self.task.clone() {
            let gone = self.switch(Some(&prev), Leaves::Queued, None);
            debug_assert!(gone.is_ok() || !self.online);
        }
    }

    /// Before an entry to the guest: nobody needs announcements, so it makes none from here on.
    pub(super) fn forget_if_silent(&mut self) {
        if self.paged && self.task.is_some() && !self.perf().announces() {
            self.forget();
        }
    }
}
