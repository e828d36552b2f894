// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The few memory-ordering primitives that the engine stands on.
//!
//! An installer publishes a task's first context and then looks where the task is; a switch
//! records where the task is and then looks for its context. Each stores first, then passes a full
//! fence, then loads what the other stores. So at least one of them sees the other: either the
//! switch finds the context, or the installer finds the task running. The seed of this is the
//! litmus test C-peterz; it runs in loom over these very types (`vpmu/tests/loom/litmus.rs`).
//!
//! - **O1** [`Publication::publish`] is a release store; the publisher's [`full_fence`] follows
//!   before it reads a [`TaskWord`].
//! - **O2** [`TaskWord::claim`] passes a [`full_fence`] after it stored and before it returns, so
//!   that [`Publication::seen`] comes after.
//! - **O3** A word that leaves a vCPU is stored with release and claimed with acquire: whoever
//!   claims a task sees its context as the last vCPU left it.

use vcpu_call::VcpuId;

use crate::sync::{self, AtomicU32, AtomicU64, Ordering};

/// The fence of both sides: nothing after it is read before what is in front of it is visible.
///
/// C++20's and Rust's sequentially consistent fence. The weaker ones allow what must not happen.
#[inline]
pub fn full_fence() {
    sync::full_fence();
}

/// Whether a task has a context, in a word that can be read without a lock.
#[derive(Debug)]
pub struct Publication(AtomicU32);

/// What a [`Publication`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There is no context yet.
    Nothing,
    /// There is one.
    Context,
    /// There is none any more, and never will be: the task has exited.
    Closed,
}

const NOTHING: u32 = 0;
const CONTEXT: u32 = 1;
const CLOSED: u32 = 2;

impl Default for Publication {
    fn default() -> Self {
        Self::new()
    }
}

impl Publication {
    /// Nothing published.
    pub fn new() -> Self {
        Self(AtomicU32::new(NOTHING))
    }

    /// Says that there is a context (O1).
    pub fn publish(&self) {
        self.0.store(CONTEXT, Ordering::Release);
    }

    /// Says that there will be no context any more.
    pub fn close(&self) {
        self.0.store(CLOSED, Ordering::Release);
    }

    /// What is published.
    #[inline]
    pub fn seen(&self) -> Seen {
        match self.0.load(Ordering::Acquire) {
            NOTHING => Seen::Nothing,
            CONTEXT => Seen::Context,
            _ => Seen::Closed,
        }
    }
}

/// Where the host believes a task to be: its own word, whatever the guest announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Waiting for something. It was last placed on this vCPU, which may be offline by now.
    Blocked(VcpuId),
    /// Able to run on this vCPU, not running.
    Queued(VcpuId),
    /// The current task of this vCPU.
    Current(VcpuId),
}

impl Place {
    /// The vCPU that the task is placed on.
    pub const fn vcpu(self) -> VcpuId {
        match self {
            Self::Blocked(vcpu) | Self::Queued(vcpu) | Self::Current(vcpu) => vcpu,
        }
    }

    fn encode(self) -> u64 {
        let state = match self {
            Self::Blocked(_) => 0,
            Self::Queued(_) => 1 << 32,
            Self::Current(_) => 2 << 32,
        };
        state | u64::from(self.vcpu().0)
    }

    const fn decode(word: u64) -> Self {
        let [a, b, c, d, state, ..] = word.to_le_bytes();
        let vcpu = VcpuId(u32::from_le_bytes([a, b, c, d]));
        match state {
            0 => Self::Blocked(vcpu),
            1 => Self::Queued(vcpu),
            _ => Self::Current(vcpu),
        }
    }
}

/// The word that serialises all announcements of one task (I21).
///
/// While it says [`Place::Current`], only that vCPU's thread changes it.
///
/// ```
/// use vcpu_call::VcpuId;
/// use vpmu::context::order::{Place, TaskWord};
///
/// let word = TaskWord::new(VcpuId(0));
/// word.claim(VcpuId(1)).expect("it is queued");
/// assert_eq!(word.claim(VcpuId(0)), Err(Place::Current(VcpuId(1))));
/// word.leave(Place::Blocked(VcpuId(1)));
/// assert_eq!(word.wake(VcpuId(0)), Ok(()));
/// assert_eq!(word.place(), Place::Queued(VcpuId(0)));
/// ```
#[derive(Debug)]
pub struct TaskWord(AtomicU64);

impl TaskWord {
    /// A task that is queued on `vcpu`.
    pub fn new(vcpu: VcpuId) -> Self {
        Self(AtomicU64::new(Place::Queued(vcpu).encode()))
    }

    /// Where the task is, or was a moment ago.
    #[inline]
    pub fn place(&self) -> Place {
        Place::decode(self.0.load(Ordering::Acquire))
    }

    /// A queued task becomes the current one of `vcpu` (O2, O3).
    ///
    /// # Errors
    /// Where it is instead, if it is not queued.
    #[inline]
    pub fn claim(&self, vcpu: VcpuId) -> Result<VcpuId, Place> {
        let from = self.change(|place| match place {
            Place::Queued(_) => Some(Place::Current(vcpu)),
            Place::Current(_) | Place::Blocked(_) => None,
        })?;
        full_fence();
        Ok(from.vcpu())
    }

    /// The current task stops being that (O3). Only the thread of the vCPU that it is current on
    /// says so.
    #[inline]
    pub fn leave(&self, to: Place) {
        self.0.store(to.encode(), Ordering::Release);
    }

    /// A task that is not current is placed on `vcpu`.
    ///
    /// # Errors
    /// Where it is, if it is current.
    pub fn migrate(&self, vcpu: VcpuId) -> Result<VcpuId, Place> {
        self.change(|place| match place {
            Place::Queued(_) => Some(Place::Queued(vcpu)),
            Place::Blocked(_) => Some(Place::Blocked(vcpu)),
            Place::Current(_) => None,
        })
        .map(Place::vcpu)
    }

    /// A blocked task is queued on `vcpu`.
    ///
    /// # Errors
    /// Where it is, if it is not blocked.
    pub fn wake(&self, vcpu: VcpuId) -> Result<(), Place> {
        self.change(|place| match place {
            Place::Blocked(_) => Some(Place::Queued(vcpu)),
            Place::Queued(_) | Place::Current(_) => None,
        })
        .map(|_| ())
    }

    /// Changes the word from one place to another, in one step; what it was before.
    #[inline]
    fn change(&self, to: impl Fn(Place) -> Option<Place>) -> Result<Place, Place> {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let place = Place::decode(word);
            let next = to(place).ok_or(place)?;
            match self.0.compare_exchange_weak(
                word,
                next.encode(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(place),
                Err(now) => word = now,
            }
        }
    }
}
