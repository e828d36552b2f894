// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Process 1 of the lab: runs our static binaries on its real KVM.
//!
//! It sets the small system up, then serves the host's requests until the host goes away. When
//! it cannot go on it says so on the port if there is one and on the console, and ends the
//! machine: a process 1 that merely returns would leave a kernel panic to be deciphered.

mod command;
mod files;
mod keys;
mod port;
mod pulse;
mod session;
mod setup;

use nix::sys::reboot::{RebootMode, reboot};

fn main() {
    match setup::prepare().map_err(|e| e.to_string()) {
        Ok(mut port) => {
            let ended = setup::load_kvm().map_err(|e| e.to_string()).and_then(|()| {
                let _pinned = keys::pin().map_err(|e| format!("KVM cannot make a VM: {e}"))?;
                session::serve(&mut port).map_err(|e| e.to_string())
            });
            if let Err(why) = ended {
                eprintln!("lab-agent: {why}");
                port.send_last_words(&why);
            }
        }
        Err(why) => eprintln!("lab-agent: {why}"),
    }
    let Err(why) = reboot(RebootMode::RB_AUTOBOOT);
    eprintln!("lab-agent: cannot end the machine: {why}");
}
