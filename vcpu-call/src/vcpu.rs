// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The end that a vCPU's thread holds.

use std::fmt;

use crate::mailbox::{Event, Mailbox};
use crate::sync::Arc;
use crate::{Calls, NotRun, VcpuId, Waker};

/// The end of a vCPU's own thread: it serves what others call, and calls them.
///
/// A served function runs while the `Vcpu` is borrowed by whoever serves. So it cannot call, park or
/// serve in turn, and no chain of calls within calls can grow.
///
/// Dropped, also by a panic, it goes offline, and the calls still queued end in [`NotRun::Lost`].
///
/// ```
/// use vcpu_call::{Calls, VcpuId};
///
/// let calls = Calls::new(2, |_| ());
/// let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
/// vcpu.go_online();
/// std::thread::scope(|threads| {
///     let call = threads.spawn(|| calls.outside().call(VcpuId(0), 20));
///     while !vcpu.pending() {
///         std::thread::yield_now(); // here a guest would run
///     }
///     assert_eq!(vcpu.serve(|n| n + 1), 1);
///     assert_eq!(call.join().unwrap(), Ok(21));
/// });
/// vcpu.go_offline(|n| n + 1);
/// assert!(!calls.is_online(VcpuId(0)));
/// ```
pub struct Vcpu<F, R> {
    id: VcpuId,
    mailbox: Arc<Mailbox<F, R>>,
    calls: Calls<F, R>,
    /// As in the mailbox: only this end changes it.
    online: bool,
}

impl<F: Send + 'static, R: Send + 'static> Vcpu<F, R> {
    pub(crate) fn new(id: VcpuId, mailbox: Arc<Mailbox<F, R>>, calls: Calls<F, R>) -> Self {
        Self {
            id,
            mailbox,
            calls,
            online: false,
        }
    }

    /// Which vCPU it is.
    pub fn id(&self) -> VcpuId {
        self.id
    }

    /// Whether calls are accepted.
    pub fn is_online(&self) -> bool {
        self.online
    }

    /// Accepts calls from now on. The thread has to serve them, whatever else it does (D3).
    pub fn go_online(&mut self) {
        self.mailbox.open();
        self.online = true;
    }

    /// Runs what is queued, then refuses: each call that came while it ran those, and every later
    /// one, is answered [`NotRun::Offline`] without having run (D2). That takes no longer than the
    /// calls queued at its start, however many more arrive.
    pub fn go_offline(&mut self, mut serve: impl FnMut(F) -> R) {
        for _ in 0..self.mailbox.queued() {
            self.serve_one(&mut serve);
        }
        self.mailbox.refuse();
        self.online = false;
    }

    /// Whether calls are queued: the check right before the guest is entered, after the VMM cleared
    /// its kick. One fence and one load, so that a kick may be cleared by a plain store.
    pub fn pending(&self) -> bool {
        self.mailbox.is_pending()
    }

    /// The same check, by a thread that says where it is: whether the guest may be entered. If so,
    /// each call that is accepted from here on comes with a kick; if not, there are calls to serve.
    ///
    /// For a thread that says [`exit_guest`](Self::exit_guest) as well.
    ///
    /// ```
    /// use vcpu_call::{Calls, VcpuId};
    ///
    /// let calls: Calls<(), ()> = Calls::new(1, |_| ());
    /// let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
    /// vcpu.go_online();
    /// assert!(vcpu.enter_guest());
    /// // Here the guest runs until something makes it exit, such as a kick.
    /// vcpu.exit_guest();
    /// vcpu.serve(|()| ());
    /// ```
    #[must_use]
    pub fn enter_guest(&mut self) -> bool {
        self.mailbox.enter()
    }

    /// Says that the thread is out of its guest and will come to [`enter_guest`](Self::enter_guest)
    /// or [`serve`](Self::serve) soon, whatever it does on the way: until then calls come without a
    /// kick. A kick costs the guest an exit and the caller some 20 µs, so several calls in a row take
    /// one.
    ///
    /// A thread that never says so gets its kick with every call.
    pub fn exit_guest(&mut self) {
        self.mailbox.leave();
    }

    /// Runs everything queued, and what arrives meanwhile, in order of arrival. Returns how many it
    /// ran.
    ///
    /// Out of the guest, see [`exit_guest`](Self::exit_guest), it waits for some 2 µs after each of
    /// the first [`IN_A_ROW`](Self::IN_A_ROW) calls whether another one follows: whoever has its
    /// answer often asks again, and would have to kick.
    pub fn serve(&mut self, mut serve: impl FnMut(F) -> R) -> usize {
        let mut served = 0;
        while self.serve_one(&mut serve) {
            served += 1;
            if served <= Self::IN_A_ROW {
                self.mailbox.tarry();
            }
        }
        served
    }

    /// For how many calls in a row [`serve`](Self::serve) waits, so that no caller keeps a vCPU out of
    /// its guest by calling.
    pub const IN_A_ROW: usize = 16;

    /// Runs `f` on the thread of `target` and waits for its result; on the own thread, at once, if
    /// `target` is this vCPU. While it waits it serves its own mailbox (D1).
    ///
    /// # Errors
    /// [`NotRun::Offline`] if `target` is offline, this vCPU included, or does not exist;
    /// [`NotRun::Lost`] if its thread ended or panicked before it answered.
    pub fn call(
        &mut self,
        target: VcpuId,
        f: F,
        mut serve: impl FnMut(F) -> R,
    ) -> Result<R, NotRun> {
        if target == self.id {
            return if self.is_online() {
                Ok(serve(f))
            } else {
                Err(NotRun::Offline)
            };
        }
        self.calls.send(&self.mailbox, target, f)?;
        loop {
            match self.mailbox.next_event() {
                Event::Answer(answer) => return answer,
                Event::Call(call) => call.run(&mut serve),
            }
        }
    }

    /// Blocks until there was a wake or a call, and serves what is queued. A wake that came earlier
    /// counts. Look at what you wait for after it returned: it may do so for no reason.
    pub fn park(&mut self, serve: impl FnMut(F) -> R) {
        self.mailbox.sleep();
        self.serve(serve);
    }

    /// What makes [`park`](Self::park) return.
    pub fn waker(&self) -> Waker {
        Waker::new(self.mailbox.clone())
    }

    fn serve_one(&mut self, serve: &mut impl FnMut(F) -> R) -> bool {
        match self.mailbox.next_call() {
            Some(call) => {
                call.run(serve);
                true
            }
            None => false,
        }
    }
}

impl<F, R> Drop for Vcpu<F, R> {
    fn drop(&mut self) {
        self.mailbox.release();
    }
}

impl<F, R> fmt::Debug for Vcpu<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vcpu")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
