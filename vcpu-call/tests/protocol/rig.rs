// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Scenarios that end, also when they hang; and threads that meet at a point.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use vcpu_call::{Calls, Ipi, NotRun, Vcpu, VcpuId};

pub(crate) const ZERO: VcpuId = VcpuId(0);
pub(crate) const ONE: VcpuId = VcpuId(1);

/// Numbers go there, numbers come back.
pub(crate) type Numbers = Calls<u32, u32>;

/// Runs `scenario` on a thread of its own, and fails instead of hanging with it.
pub(crate) fn ends(scenario: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        // Closes the channel, also when the scenario panics.
        let _done = done;
        scenario();
    });
    let ended = ended.recv_timeout(Duration::from_secs(10));
    assert_ne!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The vCPU `id`, online.
pub(crate) fn online<F, R>(calls: &Calls<F, R>, id: VcpuId) -> Vcpu<F, R>
where
    F: Send + 'static,
    R: Send + 'static,
{
    let mut vcpu = calls.vcpu(id).unwrap();
    vcpu.go_online();
    vcpu
}

/// An IPI that says whom it was sent to.
pub(crate) fn told() -> (impl Ipi + 'static, mpsc::Receiver<VcpuId>) {
    let (told, kicks) = mpsc::channel();
    (move |target| told.send(target).unwrap_or(()), kicks)
}

/// A call from outside, on its way on a thread.
pub(crate) fn call<F, R>(
    calls: &Calls<F, R>,
    target: VcpuId,
    f: F,
) -> thread::JoinHandle<Result<R, NotRun>>
where
    F: Send + 'static,
    R: Send + 'static,
{
    let mut outside = calls.outside();
    thread::spawn(move || outside.call(target, f))
}
