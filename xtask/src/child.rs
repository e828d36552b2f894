// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Child processes that never outlive xtask.

use std::io;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;

/// The kernel ends the child with `signal` when the thread that started it is gone, however it
/// went. So a thread that starts such a child has to stay until the child is gone.
pub(crate) fn ends_with_us(command: &mut Command, signal: Signal) -> &mut Command {
    let us = std::process::id();
    let prepare = move || {
        prctl::set_pdeathsig(signal)?;
        // Were we already gone before that, nobody would tell the child.
        if parent_id() == us {
            Ok(())
        } else {
            Err(io::Error::other("xtask is gone"))
        }
    };
    // SAFETY: between fork and exec only system calls are made; the error is built only when
    // the parent is dead, and then nobody cares about the child's allocator.
    unsafe { command.pre_exec(prepare) }
}
