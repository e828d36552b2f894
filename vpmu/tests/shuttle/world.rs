// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What all threads of the machine share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vcpu_call::{Calls, VcpuId, Waker};
use vpmu::Nanos;
use vpmu::context::order::Place;
use vpmu::context::{PerfCalls, PerfConfig, Task, VcpuThread};
use vpmu::source::script::ScriptSource;

use crate::books::EventBook;
use crate::dice;
use crate::truth::TaskBook;
use crate::watch::{Totals, Watch, add, get};

pub(crate) const VCPUS: u32 = 4;
const TASKS: u32 = 8;
/// Forks stop here.
const MOST_TASKS: usize = 14;
/// Opening stops here.
const MOST_EVENTS: usize = 28;

pub(crate) type Clock = Box<dyn Fn() -> Nanos + Send + Sync>;
pub(crate) type Perf = vpmu::context::Perf<Clock, Arc<Watch>>;
pub(crate) type Thread = VcpuThread<ScriptSource, Clock, Arc<Watch>>;

/// One machine, with what the tests know of it.
///
/// No lock of its own is held while the engine is called, so that whatever blocks is the engine.
pub(crate) struct World {
    pub(crate) perf: Perf,
    pub(crate) calls: PerfCalls,
    pub(crate) watch: Arc<Watch>,
    pub(crate) totals: Arc<Totals>,
    /// Every event finds a counter, always: so what it must count is known.
    pub(crate) roomy: bool,
    time: Arc<AtomicU64>,
    stamps: AtomicU64,
    tasks: Mutex<Vec<Arc<TaskBook>>>,
    events: Mutex<Vec<Arc<EventBook>>>,
    pub(crate) vcpus: [VcpuBook; VCPUS as usize],
    /// Threads that have not done all they want to yet.
    busy: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

/// What is known of one vCPU.
#[derive(Default)]
pub(crate) struct VcpuBook {
    /// What happened in its guest while it ran.
    pub(crate) counts: AtomicU64,
    /// Times that somebody began and ended to plug it.
    pub(crate) begun: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// Events that are open on it, those that are being opened included.
    pub(crate) events: AtomicU64,
}

/// A moment, in which it was known whether a vCPU is online.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plugged {
    begun: u64,
    pub(crate) online: bool,
}

impl World {
    pub(crate) fn new(totals: &Arc<Totals>, busy: u64) -> Arc<Self> {
        let roomy = !dice::once_in(3);
        let config = PerfConfig {
            slots: if roomy { 16 } else { 2 },
            interval: Nanos(15 * dice::below(2)),
            ..PerfConfig::new(VCPUS)
        };
        let time = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&time);
        let clock: Clock = Box::new(move || Nanos(now.load(Ordering::Relaxed)));
        let watch = Arc::new(Watch::new(totals));
        let perf = Perf::with_observer(config, clock, Arc::clone(&watch));
        let tasks = (0..TASKS).map(|n| {
            let task = perf.create_task(VcpuId(n % VCPUS)).unwrap();
            // Some have nothing but what is inherited, so that they can be swapped.
            Arc::new(TaskBook::first(task, n < 3))
        });
        Arc::new(Self {
            tasks: Mutex::new(tasks.collect()),
            perf,
            calls: Calls::new(VCPUS, |_vcpu| {}),
            watch,
            totals: Arc::clone(totals),
            roomy,
            time,
            stamps: AtomicU64::new(0),
            events: Mutex::default(),
            vcpus: Default::default(),
            busy: AtomicU64::new(busy),
            wakers: Mutex::default(),
        })
    }

    pub(crate) fn pass(&self, nanos: u64) {
        add(&self.time, nanos);
    }

    /// A number that is larger than every one before.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn tasks(&self) -> Vec<Arc<TaskBook>> {
        lock(&self.tasks).clone()
    }

    pub(crate) fn events(&self) -> Vec<Arc<EventBook>> {
        lock(&self.events).clone()
    }

    pub(crate) fn task(&self) -> Arc<TaskBook> {
        let tasks = lock(&self.tasks);
        Arc::clone(dice::pick(&tasks).expect("there are tasks from the beginning"))
    }

    /// A task that was at such a place a moment ago and has not exited, if there is one.
    pub(crate) fn task_that(&self, is: impl Fn(Place) -> bool) -> Option<Arc<TaskBook>> {
        let alive = |book: &Arc<TaskBook>| is(book.task.place()) && !book.exited.is_raised();
        let fits: Vec<_> = self.tasks().into_iter().filter(alive).collect();
        dice::pick(&fits).cloned()
    }

    /// An event that was not closed a moment ago.
    pub(crate) fn event(&self) -> Option<Arc<EventBook>> {
        let events = lock(&self.events);
        let open: Vec<_> = events.iter().filter(|book| !book.is_closing()).collect();
        dice::pick(&open).map(|book| Arc::clone(book))
    }

    pub(crate) fn book_of(&self, task: &Task) -> Arc<TaskBook> {
        let tasks = lock(&self.tasks);
        let book = tasks.iter().find(|book| book.task.id() == task.id());
        Arc::clone(book.expect("every task has a book"))
    }

    pub(crate) fn has_room_for_tasks(&self) -> bool {
        lock(&self.tasks).len() < MOST_TASKS
    }

    pub(crate) fn has_room_for_events(&self) -> bool {
        let events = lock(&self.events);
        events.iter().filter(|book| !book.is_closing()).count() < MOST_EVENTS
    }

    pub(crate) fn add_task(&self, book: TaskBook) {
        lock(&self.tasks).push(Arc::new(book));
    }

    pub(crate) fn add_event(&self, book: EventBook) -> Arc<EventBook> {
        let book = Arc::new(book);
        lock(&self.events).push(Arc::clone(&book));
        book
    }

    /// All events, which the world forgets.
    pub(crate) fn take_events(&self) -> Vec<Arc<EventBook>> {
        std::mem::take(&mut lock(&self.events))
    }

    pub(crate) fn put_events(&self, events: Vec<Arc<EventBook>>) {
        *lock(&self.events) = events;
    }

    pub(crate) fn vcpu(&self, vcpu: VcpuId) -> &VcpuBook {
        &self.vcpus[vcpu.index()]
    }

    /// Whether a vCPU is online, if nobody is plugging it at the moment.
    pub(crate) fn plugged(&self, vcpu: VcpuId) -> Option<Plugged> {
        let book = self.vcpu(vcpu);
        let begun = get(&book.begun);
        (begun == get(&book.ended)).then(|| Plugged {
            begun,
            online: self.watch.is_online(vcpu),
        })
    }

    /// Somebody plugs `vcpu` in or out by `f`. Tasks may be switched by that.
    pub(crate) fn plugging<R>(&self, vcpu: VcpuId, f: impl FnOnce() -> R) -> R {
        let tasks = self.tasks();
        add(&self.vcpu(vcpu).begun, 1);
        tasks.iter().for_each(|task| task.begin());
        let result = f();
        tasks.iter().for_each(|task| task.finish());
        add(&self.vcpu(vcpu).ended, 1);
        result
    }

    pub(crate) fn wake_at_the_end(&self, waker: Waker) {
        lock(&self.wakers).push(waker);
    }

    /// A thread has done all it wanted. The last one wakes those that serve the others.
    pub(crate) fn done(&self) {
        if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 {
            let wakers = lock(&self.wakers).clone();
            wakers.iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        get(&self.busy) == 0
    }

    pub(crate) fn operation(&self) {
        add(&self.totals.operations, 1);
    }
}

/// A vCPU of any number.
pub(crate) fn any_vcpu() -> VcpuId {
    VcpuId(u32::try_from(dice::below(u64::from(VCPUS))).expect("a small number"))
}

/// Locks what no panic can leave half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flag that is only ever raised.
#[derive(Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
