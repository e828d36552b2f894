// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM whose vCPUs run until they are kicked, and scenarios that end, also when they hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vcpu_call::{Calls, Park, Vcpu, VcpuId, Waker};
use vcpu_life::{Cpus, Goal, Kick, Next, Plug, VcpuState, Watch};

/// Long past the moment at which a wake that is not lost has worked.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Runs `scenario` on a thread of its own, and fails instead of hanging with it.
pub(crate) fn ends(scenario: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Closes the channel, also when the scenario panics.
        let _done = done;
        scenario();
    });
    let ended = ended.recv_timeout(LONG * 2);
    assert_ne!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A call's argument, and its answer.
pub(crate) type Numbers = Calls<u32, u32>;

/// What a call does on a vCPU.
pub(crate) fn served(n: u32) -> u32 {
    n + 1
}

/// The inside of a vCPU.
#[derive(Default)]
pub(crate) struct Guest {
    state: Mutex<GuestState>,
    changed: Condvar,
    /// How many kicks are still refused.
    pub(crate) refuses: AtomicUsize,
    pub(crate) kicks: AtomicUsize,
}

#[derive(Default)]
struct GuestState {
    kicked: bool,
    inside: bool,
}

impl Guest {
    pub(crate) fn kick(&self) {
        self.state.lock().unwrap().kicked = true;
        self.changed.notify_all();
    }

    fn forget_kicks(&self) {
        self.state.lock().unwrap().kicked = false;
    }

    fn enter(&self) {
        let mut state = self.state.lock().unwrap();
        state.inside = true;
        self.changed.notify_all();
        let mut state = self
            .changed
            .wait_while(state, |state| !state.kicked)
            .unwrap();
        state.inside = false;
    }

    /// Waits until only a kick gets it out of there.
    pub(crate) fn wait_inside(&self) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| !state.inside));
    }
}

pub(crate) struct Kicker(pub(crate) Arc<Guest>);

impl Kick for Kicker {
    fn kick(&self) -> bool {
        self.0.kicks.fetch_add(1, Ordering::SeqCst);
        let less = |refuses: usize| refuses.checked_sub(1);
        let refused = self
            .0
            .refuses
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok();
        if !refused {
            self.0.kick();
        }
        !refused
    }
}

/// Writes down each change.
#[derive(Default)]
pub(crate) struct Diary(Mutex<Vec<(u32, VcpuState)>>);

impl Diary {
    pub(crate) fn of(&self, vcpu: u32) -> Vec<VcpuState> {
        let all = self.0.lock().unwrap();
        all.iter()
            .filter(|(id, _)| *id == vcpu)
            .map(|(_, state)| *state)
            .collect()
    }
}

impl Watch for Diary {
    fn changed(&self, vcpu: u32, state: VcpuState) {
        self.0.lock().unwrap().push((vcpu, state));
    }
}

#[derive(Clone)]
pub(crate) struct Vm {
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) calls: Numbers,
    pub(crate) guests: Arc<[Arc<Guest>]>,
    pub(crate) diary: Arc<Diary>,
}

impl Vm {
    /// One that runs, with no vCPU there yet.
    pub(crate) fn new(max: u32) -> Self {
        let guests: Arc<[_]> = (0..max).map(|_| Arc::new(Guest::default())).collect();
        let kicks = Arc::clone(&guests);
        let diary = Arc::new(Diary::default());
        let vm = Self {
            cpus: Arc::new(Cpus::new(max, diary.clone())),
            calls: Calls::new(max, move |target: VcpuId| kicks[target.index()].kick()),
            guests,
            diary,
        };
        vm.cpus.ask_all(Goal::Run);
        vm
    }

    /// Adds a vCPU that was never there.
    pub(crate) fn create(&self, id: usize) -> JoinHandle<()> {
        assert_eq!(self.cpus.plug(id), Ok(Plug::Create));
        self.spawn(id)
    }

    /// The thread of a vCPU.
    pub(crate) fn spawn(&self, id: usize) -> JoinHandle<()> {
        let vm = self.clone();
        let vcpu = Machine {
            mail: vm.calls.vcpu(VcpuId(u32::try_from(id).unwrap())).unwrap(),
            guest: Arc::clone(&vm.guests[id]),
        };
        thread::spawn(move || vcpu.live(&vm.cpus, id))
    }

    /// Ends the VM, whose vCPUs have these threads.
    pub(crate) fn stop(&self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        self.cpus.ask_all(Goal::Stop);
        assert_eq!(self.cpus.wait_all(Goal::Stop, LONG), Ok(()));
        for thread in threads {
            thread.join().unwrap();
        }
    }

    pub(crate) fn wait_for(&self, id: usize, state: VcpuState) {
        let there = self.cpus.wait_state(id, LONG, |is| is == state);
        assert_eq!(there, (state, true));
    }

    pub(crate) fn settle(&self, goal: Goal) {
        self.cpus.ask_all(goal);
        assert_eq!(self.cpus.wait_all(goal, LONG), Ok(()));
    }
}

/// Says that a vCPU's thread is done with it, also if it panics.
struct Finish<'a>(&'a Cpus, usize);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish(self.1);
    }
}

/// What a vCPU's thread owns.
struct Machine {
    mail: Vcpu<u32, u32>,
    guest: Arc<Guest>,
}

impl Park for Machine {
    fn waker(&self) -> Waker {
        self.mail.waker()
    }

    fn park(&mut self) {
        self.mail.park(served);
    }
}

impl Machine {
    fn live(mut self, cpus: &Cpus, id: usize) {
        let _finish = Finish(cpus, id);
        cpus.bind(id, Box::new(Kicker(Arc::clone(&self.guest))), self.waker());
        loop {
            self.guest.forget_kicks();
            cpus.expect_kicks(id);
            match cpus.advance(id, &mut self) {
                Next::Enter if self.mail.pending() => {
                    self.mail.serve(served);
                }
                Next::Enter => {
                    // C1: whatever is asked for meanwhile.
                    assert_eq!(cpus.state(id), VcpuState::Running);
                    self.guest.enter();
                }
                Next::Plug => {
                    assert!(!self.mail.is_online(), "what comes was away");
                    self.mail.go_online();
                    cpus.plugged(id);
                }
                Next::Unplug => {
                    assert!(self.mail.is_online(), "what goes was there");
                    self.mail.go_offline(served);
                    cpus.unplugged(id);
                }
                Next::Leave | Next::Wait => break,
            }
        }
    }
}

/// vCPU 0 alone, of which this thread is the thread: brought up, running, and outside its guest.
pub(crate) fn by_hand(kick: impl Kick + 'static) -> (Arc<Cpus>, impl Park) {
    let cpus = Arc::new(Cpus::new(1, Arc::new(())));
    let calls: Calls<(), ()> = Calls::new(0, |_| ());
    let mut me = calls.outside();
    cpus.ask_all(Goal::Run);
    assert_eq!(cpus.plug(0), Ok(Plug::Create));
    cpus.bind(0, Box::new(kick), me.waker());
    cpus.expect_kicks(0);
    assert_eq!(cpus.advance(0, &mut me), Next::Plug);
    cpus.plugged(0);
    assert_eq!(cpus.advance(0, &mut me), Next::Enter);
    (cpus, me)
}
