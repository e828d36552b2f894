// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Tells the host again and again that the lab's kernel is alive: a kernel whose CPUs have stopped
//! looks like a command that takes long.

use std::io;
use std::thread;
use std::time::Duration;

use lab_agent::wire::{PULSE_SECONDS, Reply};
use nix::libc;

use crate::port::Sender;

/// Above whatever a command does; what it starts is not.
const PRIORITY: libc::c_int = 1;

/// Sends [`Reply::Alive`] from now on, until the host is gone.
pub(crate) fn start(sender: Sender) {
    thread::spawn(move || {
        if let Err(why) = be_urgent() {
            eprintln!("lab-agent: the lab's pulse is no more urgent than its commands: {why}");
        }
        while sender.send(&Reply::Alive).is_ok() {
            thread::sleep(Duration::from_secs(PULSE_SECONDS));
        }
    });
}

/// Makes this thread a real-time one.
fn be_urgent() -> io::Result<()> {
    let parameters = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: a system call on this thread (0) that reads one structure.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
