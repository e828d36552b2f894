// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A VM of vCPUs whose guests do nothing, so that only a kick makes them leave.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};
use vcpu_call::{Calls, Park, Vcpu, VcpuId, Waker};
use vcpu_life::{Cpus, Goal, Kick, Next, Plug, VcpuState};

/// For waits that end. The checker knows no time: one that does not is a deadlock.
pub(crate) const LIMIT: Duration = Duration::MAX;

/// The inside of a vCPU: `immediate_exit`, and the sleep of a guest that waits for an interrupt.
#[derive(Default)]
pub(crate) struct Guest {
    /// Relaxed: nothing is to be ordered by a kick. Swapped: loom takes two stores that nothing orders
    /// for newer and older as it likes, and differently at each load.
    kicked: AtomicBool,
    sleep: Mutex<()>,
    woken: Condvar,
}

impl Guest {
    fn forget_kicks(&self) {
        self.kicked.swap(false, Ordering::Relaxed);
    }

    fn kick(&self) {
        self.kicked.swap(true, Ordering::Relaxed);
        drop(self.sleep.lock().unwrap());
        self.woken.notify_one();
    }

    /// Runs until kicked.
    fn enter(&self) {
        let mut asleep = self.sleep.lock().unwrap();
        while !self.kicked.load(Ordering::Relaxed) {
            asleep = self.woken.wait(asleep).unwrap();
        }
    }
}

struct Kicker(Arc<Guest>);

impl Kick for Kicker {
    fn kick(&self) -> bool {
        self.0.kick();
        true
    }
}

/// A VM. Its calls add up in each vCPU.
pub(crate) struct Vm {
    pub(crate) cpus: Arc<Cpus>,
    pub(crate) calls: Calls<u32, u32>,
    guests: Arc<[Arc<Guest>]>,
}

impl Clone for Vm {
    fn clone(&self) -> Self {
        Self {
            cpus: Arc::clone(&self.cpus),
            calls: self.calls.clone(),
            guests: Arc::clone(&self.guests),
        }
    }
}

impl Vm {
    /// One that runs, with no vCPU there yet.
    pub(crate) fn new(max: u32) -> Self {
        let guests: Arc<[_]> = (0..max).map(|_| Arc::new(Guest::default())).collect();
        let kicks = Arc::clone(&guests);
        let vm = Self {
            cpus: Arc::new(Cpus::new(max, Arc::new(()))),
            calls: Calls::new(max, move |target: VcpuId| kicks[target.index()].kick()),
            guests,
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
        let vcpu = Machine::new(&vm, id);
        thread::spawn(move || vcpu.live(&vm.cpus, id))
    }

    /// Ends the VM, whose vCPUs have these threads.
    pub(crate) fn stop(&self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        self.cpus.ask_all(Goal::Stop);
        assert_eq!(self.cpus.wait_all(Goal::Stop, LIMIT), Ok(()));
        for thread in threads {
            thread.join().unwrap();
        }
    }

    pub(crate) fn wait_for(&self, id: usize, state: VcpuState) {
        let there = self.cpus.wait_state(id, LIMIT, |is| is == state);
        assert_eq!(there, (state, true));
    }
}

/// What a call does on a vCPU.
pub(crate) fn served(n: u32) -> u32 {
    n + 1
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
    fn new(vm: &Vm, id: usize) -> Self {
        Self {
            mail: vm.calls.vcpu(VcpuId(u32::try_from(id).unwrap())).unwrap(),
            guest: Arc::clone(&vm.guests[id]),
        }
    }

    /// As the crate's documentation has it, and serves calls before it enters.
    fn live(mut self, cpus: &Cpus, id: usize) {
        cpus.bind(id, Box::new(Kicker(Arc::clone(&self.guest))), self.waker());
        loop {
            self.guest.forget_kicks();
            cpus.expect_kicks(id);
            match cpus.advance(id, &mut self) {
                Next::Enter if self.mail.pending() => {
                    self.mail.serve(served);
                }
                Next::Enter => {
                    assert!(self.mail.is_online(), "it is away");
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
        cpus.finish(id);
    }
}
