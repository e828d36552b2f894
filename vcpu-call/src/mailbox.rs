// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The mailbox of one participant: all that threads share for calls, and every change to it.
//!
//! One lock a mailbox, and no thread ever holds two of them, nor one of them while foreign code
//! runs: a served function, the IPI, the drop of a function or of a result.
//!
//! The owner sleeps in one place, [`Mailbox::changed`], for all that may happen to it: its answer,
//! a call of somebody else, a wake. So an answer goes into the *caller's* mailbox, and there is one
//! waiter at most.

use std::collections::VecDeque;

use crate::park::Ring;
use crate::sync::{
    Arc, AtomicBool, Condvar, Hint, LINGER, Mutex, MutexGuard, Ordering, TARRY, fence, spin,
};

/// Why a function did not run, or why nobody knows its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// The vCPU is offline or does not exist. The function did not run and never will.
    #[error("The vCPU is offline")]
    Offline,
    /// The vCPU's thread ended or panicked before it answered. The function ran in part or not at
    /// all, and does not run any more.
    #[error("The vCPU's thread ended without an answer")]
    Lost,
}

/// See the [module](self).
pub(crate) struct Mailbox<F, R> {
    state: Mutex<State<F, R>>,
    changed: Condvar,
    /// Whether the inbox holds calls. Written under the lock only.
    pending: AtomicBool,
    /// Whether the owner may be in its guest, so that a call has to come with a kick. It is, as long
    /// as it does not say where it is.
    inside: AtomicBool,
    /// Whether there may be something for an owner who waits for an answer.
    stirred: Hint,
}

struct State<F, R> {
    /// Whether a `Vcpu` speaks for this mailbox.
    claimed: bool,
    /// Whether calls are accepted.
    online: bool,
    /// Calls nobody took yet, in order of arrival.
    inbox: VecDeque<Call<F, R>>,
    /// The owner's latest call. An answer to an earlier one, which a panic made it leave, is late.
    ticket: u64,
    answer: Option<Result<R, NotRun>>,
    /// Whether a wake has not been slept off.
    rung: bool,
    /// Whether the owner waits on `changed`: nobody else is worth a system call.
    asleep: bool,
}

/// A function on its way to run.
pub(crate) struct Call<F, R> {
    f: F,
    reply: Reply<F, R>,
}

/// The duty to answer a call: dropped unused, it answers [`NotRun::Lost`].
struct Reply<F, R> {
    to: Option<Arc<Mailbox<F, R>>>,
    ticket: u64,
}

/// What a caller waits for.
pub(crate) enum Event<F, R> {
    Answer(Result<R, NotRun>),
    Call(Call<F, R>),
}

impl<F, R> Mailbox<F, R> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                claimed: false,
                online: false,
                inbox: VecDeque::new(),
                ticket: 0,
                answer: None,
                rung: false,
                asleep: false,
            }),
            changed: Condvar::new(),
            pending: AtomicBool::new(false),
            inside: AtomicBool::new(true),
            stirred: Hint::default(),
        }
    }

    /// Whether the mailbox was free; it is claimed now.
    pub(crate) fn claim(&self) -> bool {
        !std::mem::replace(&mut self.state.lock().claimed, true)
    }

    /// Gives the mailbox back: offline, and what is queued is lost.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.claimed = false;
        self.inside.store(true, Ordering::Relaxed);
        drop(self.close(state));
    }

    pub(crate) fn open(&self) {
        self.state.lock().online = true;
    }

    /// Refuses calls from now on, those that are queued included.
    pub(crate) fn refuse(&self) {
        for call in self.close(self.state.lock()) {
            call.reply.send(Err(NotRun::Offline));
        }
    }

    /// Goes offline, and hands over what was queued at that very moment.
    fn close(&self, mut state: MutexGuard<'_, State<F, R>>) -> VecDeque<Call<F, R>> {
        state.online = false;
        self.pending.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.inbox)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().online
    }

    /// Whether calls are queued. The fence orders an earlier store of the owner, such as the one
    /// that clears the VMM's kick, before this load; its other half is in [`post`](Self::post).
    pub(crate) fn is_pending(&self) -> bool {
        fence(Ordering::SeqCst);
        self.pending.load(Ordering::Relaxed)
    }

    /// The owner goes into its guest, unless calls are queued: whether it does. The fence in
    /// `is_pending` makes it one of the two: the caller sees the owner inside, or the owner its call.
    pub(crate) fn enter(&self) -> bool {
        self.inside.store(true, Ordering::Relaxed);
        let enters = !self.is_pending();
        if !enters {
            self.leave();
        }
        enters
    }

    /// The owner is out of its guest, and back in [`enter`](Self::enter) soon.
    pub(crate) fn leave(&self) {
        self.inside.store(false, Ordering::Relaxed);
    }

    /// Whether the owner needs a kick to see the call that was just posted.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed)
    }

    /// Gives the next call a moment to come. Only out of the guest: inside, it comes with a kick.
    pub(crate) fn tarry(&self) {
        if self.is_inside() {
            return;
        }
        let mut looks = TARRY;
        while looks > 0 && !self.pending.load(Ordering::Relaxed) {
            spin();
            looks -= 1;
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.state.lock().inbox.len()
    }

    /// A new call of the owner begins: the number to put on it.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        state.ticket += 1;
        let ticket = state.ticket;
        let late = state.answer.take();
        self.stirred.set(false);
        drop(state);
        drop(late);
        ticket
    }

    /// Queues `f` here for `caller`, if this mailbox accepts calls.
    pub(crate) fn post(&self, f: F, caller: &Arc<Self>, ticket: u64) -> Result<(), NotRun> {
        let mut state = self.state.lock();
        if !state.online {
            drop(state);
            drop(f);
            return Err(NotRun::Offline);
        }
        let to = Some(Arc::clone(caller));
        let reply = Reply { to, ticket };
        state.inbox.push_back(Call { f, reply });
        self.pending.store(true, Ordering::Relaxed);
        self.notify(state);
        // Before the kick: an owner that overwrote it sees the call. See `is_pending`. And before the
        // look for whether there has to be one: see `enter`.
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn answer(&self, ticket: u64, result: Result<R, NotRun>) {
        let mut state = self.state.lock();
        let late = if state.ticket == ticket {
            state.answer.replace(result)
        } else {
            Some(result)
        };
        self.notify(state);
        drop(late);
    }

    /// Something changed: tells the owner, wherever it waits.
    fn notify(&self, state: MutexGuard<'_, State<F, R>>) {
        let asleep = state.asleep;
        drop(state);
        // Not under the lock: whoever sees it takes that.
        self.stirred.set(true);
        if asleep {
            self.changed.notify_one();
        }
    }

    /// Waits until something may have changed.
    fn doze<'a>(&self, mut state: MutexGuard<'a, State<F, R>>) -> MutexGuard<'a, State<F, R>> {
        state.asleep = true;
        let mut state = self.changed.wait(state);
        state.asleep = false;
        state
    }

    /// Gives an answer a moment to come: falling asleep and being woken takes longer than a vCPU
    /// that is already on its way out of its guest.
    fn linger(&self) {
        let mut looks = LINGER;
        while looks > 0 && !self.stirred.get() {
            spin();
            looks -= 1;
        }
    }

    fn take_call(&self, state: &mut State<F, R>) -> Option<Call<F, R>> {
        let call = state.inbox.pop_front();
        self.pending
            .store(!state.inbox.is_empty(), Ordering::Relaxed);
        call
    }

    /// The oldest call, if there is one.
    pub(crate) fn next_call(&self) -> Option<Call<F, R>> {
        self.take_call(&mut self.state.lock())
    }

    /// Sleeps until the owner's call is answered or somebody else's is to be served. The answer goes
    /// first, so that a busy mailbox does not keep the owner here for ever.
    pub(crate) fn next_event(&self) -> Event<F, R> {
        self.linger();
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                return Event::Answer(answer);
            }
            if let Some(call) = self.take_call(&mut state) {
                self.stirred.set(!state.inbox.is_empty());
                return Event::Call(call);
            }
            state = self.doze(state);
        }
    }

    /// Sleeps until the owner's call is answered.
    pub(crate) fn next_answer(&self) -> Result<R, NotRun> {
        self.linger();
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state = self.doze(state);
        }
    }

    /// Sleeps until there was a wake or there is a call.
    pub(crate) fn sleep(&self) {
        let mut state = self.state.lock();
        while !state.rung && state.inbox.is_empty() {
            state = self.doze(state);
        }
        state.rung = false;
    }
}

impl<F: Send, R: Send> Ring for Mailbox<F, R> {
    fn ring(&self) {
        let mut state = self.state.lock();
        state.rung = true;
        self.notify(state);
    }
}

impl<F, R> Call<F, R> {
    /// Runs the function and answers, also if it panics.
    pub(crate) fn run(self, serve: &mut impl FnMut(F) -> R) {
        let Self { f, reply } = self;
        let result = serve(f);
        reply.send(Ok(result));
    }
}

impl<F, R> Reply<F, R> {
    fn send(mut self, result: Result<R, NotRun>) {
        if let Some(caller) = self.to.take() {
            caller.answer(self.ticket, result);
        }
    }
}

impl<F, R> Drop for Reply<F, R> {
    fn drop(&mut self) {
        if let Some(caller) = self.to.take() {
            caller.answer(self.ticket, Err(NotRun::Lost));
        }
    }
}
