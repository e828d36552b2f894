// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Keeps the lab's CPUs from sleeping through a timer.
//!
//! As a nested guest exits, QEMU 10's TCG clears a bit of the CPU's pending interrupts without a
//! lock (`do_vmexit`), and so forgets an interrupt that arrives at that moment. The local APIC still
//! holds it, and the next interrupt makes the CPU look; but if the forgotten one was its timer's,
//! there is no next, and the CPU stands without time for as long as its guest does not exit by
//! itself: timers seconds late and a soft lockup were seen. So one thread a CPU pokes the next CPU
//! at intervals: that is an interrupt, whatever became of the other's timer.

use std::io;
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{SysconfVar, sysconf};

/// How late a timer may be at most; a poke costs its CPU some hundred microseconds here.
const INTERVAL_MS: u8 = 20;

/// Starts one thread a CPU; they run until the machine ends.
pub(crate) fn start() -> io::Result<()> {
    let cpus = sysconf(SysconfVar::_NPROCESSORS_ONLN)?.unwrap_or(1);
    let cpus = usize::try_from(cpus).unwrap_or(1);
    let pokes = (0..cpus)
        .map(|_| EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC))
        .map(|poke| poke.map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    // The threads inherit it: a SIGCHLD that one of them could take would not reach the session.
    let signals = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    for cpu in 0..cpus {
        let own = Arc::clone(&pokes[cpu]);
        let next = Arc::clone(&pokes[(cpu + 1) % cpus]);
        thread::Builder::new()
            .name(format!("heartbeat{cpu}"))
            .spawn(move || beat(cpu, &own, &next))?;
    }
    signals.thread_set_mask()?;
    Ok(())
}

fn beat(cpu: usize, own: &EventFd, next: &EventFd) {
    if let Err(why) = settle_on(cpu) {
        eprintln!("lab-agent: no heartbeat on CPU {cpu}: {why}");
        return;
    }
    loop {
        let mut waits = [PollFd::new(own.as_fd(), PollFlags::POLLIN)];
        // A timeout is this CPU's own timer: it works, so see to the next CPU's.
        if poll(&mut waits, PollTimeout::from(INTERVAL_MS)) == Ok(0) {
            // It fails only if nobody has taken 2^64 pokes.
            let _ = next.write(1);
        } else {
            // Poked: that was all there was to it.
            let _ = own.read();
        }
    }
}

/// Ties the thread to one CPU and lets it interrupt whatever runs there.
fn settle_on(cpu: usize) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain data for which zeros are the empty set, and `cpu` is far below its
    // 1024 bits; both calls read locals of the right type.
    let settled = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        let priority = libc::sched_param { sched_priority: 1 };
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) == 0
            && libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) == 0
    };
    if settled {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
