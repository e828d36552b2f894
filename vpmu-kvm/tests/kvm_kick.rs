// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Kicks, at every moment they can come.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use kvm_ioctls::VcpuExit;
use vpmu_kvm::kick::{self, Kicker};
use vpmu_kvm::{Error, Exit, run_plain};

mod real_mode;

use real_mode::{SPIN, guest};

/// Ends a guest that nothing else ends, after a while, and says that it had to.
struct Rescue {
    over: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<bool>>,
}

impl Rescue {
    fn of(kicker: Kicker) -> Self {
        let (over, wait) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let late = wait.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout);
            if late {
                kicker.kick().unwrap();
            }
            late
        });
        Self {
            over: Some(over),
            thread: Some(thread),
        }
    }

    /// Whether it was needed.
    fn was_needed(mut self) -> bool {
        self.over = None;
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Long past the moment at which a kick that is not lost has worked.
const LONG: Duration = Duration::from_secs(10);

/// `out 0x10, al` twice.
const OUTS: &[u8] = &[0xe6, 0x10, 0xe6, 0x10, 0xeb, 0xfe];

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_kick_before_the_run_keeps_the_guest_from_being_entered() {
    let mut guest = guest(SPIN);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    guard.clear();
    guard.kicker().kick().unwrap();
    // Nothing but the kick ends this guest, however often it is run, until it is cleared.
    for _ in 0..2 {
        let rescue = Rescue::of(guard.kicker());
        let exit = run_plain(&mut guest.vcpu).unwrap();
        assert!(matches!(exit, Exit::Kicked), "{exit:?}");
        assert!(!rescue.was_needed(), "the kick was lost");
    }
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn clear_forgets_earlier_kicks() {
    let mut guest = guest(OUTS);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    guard.kicker().kick().unwrap();
    guard.clear();
    let exit = run_plain(&mut guest.vcpu).unwrap();
    assert!(
        matches!(exit, Exit::Vcpu(VcpuExit::IoOut(0x10, _))),
        "{exit:?}"
    );
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_running_guest_is_kicked_from_another_thread() {
    let (send, kickers) = mpsc::channel();
    let (done, rounds) = mpsc::channel();
    let runner = thread::spawn(move || {
        let mut guest = guest(SPIN);
        let guard = kick::bind(&mut guest.vcpu).unwrap();
        send.send(guard.kicker()).unwrap();
        for round in 0..200 {
            guard.clear();
            // Only after the clear: a kick from here on must end the run.
            done.send(round).unwrap();
            assert!(matches!(run_plain(&mut guest.vcpu).unwrap(), Exit::Kicked));
        }
    });
    let kicker = kickers.recv().unwrap();
    for _ in rounds {
        kicker.kick().unwrap();
    }
    runner.join().unwrap();
}

#[test]
#[ignore = "needs KVM: cargo xtask test runs it in the lab"]
fn a_dropped_guard_takes_no_kicks_and_frees_its_thread() {
    let mut guest = guest(OUTS);
    let guard = kick::bind(&mut guest.vcpu).unwrap();
    assert!(matches!(
        kick::bind(&mut guest.vcpu),
        Err(Error::ThreadBound)
    ));
    let kicker = guard.kicker();
    drop(guard);
    kicker.kick().unwrap();
    let exit = run_plain(&mut guest.vcpu).unwrap();
    assert!(
        matches!(exit, Exit::Vcpu(VcpuExit::IoOut(0x10, _))),
        "{exit:?}"
    );
    assert!(kick::bind(&mut guest.vcpu).is_ok());
}
