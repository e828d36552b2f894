// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The emulated machine of the lab: QEMU's TCG with AMD's SVM, so that Linux in it has a real
//! KVM.

use std::fs::File;
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

use crate::cache::Parts;
use crate::child;
use crate::console::Console;

/// As many as the lab's figures were taken with; more than the machine has only thrash.
const MAX_CPUS: usize = 2;

/// Memory of the machine beside what the initramfs takes.
const MEMORY_MIB: u64 = 1024;

/// Nobody in the lab spies on anybody, and without mitigations every exit is cheaper and TCG's
/// faults in nested virtualization are seen less often (see the CPU's options).
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off";

/// How long a machine that closed its port may take to be gone.
const END_GRACE: Duration = Duration::from_secs(2);

/// How often to look whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A running machine; dropped, it is gone.
pub(crate) struct Qemu {
    process: Child,
    followers: Vec<JoinHandle<()>>,
}

impl Qemu {
    /// Boots the lab's kernel with `initramfs`. The stream is the other end of the machine's
    /// virtio-serial port.
    pub(crate) fn boot(
        parts: &Parts,
        initramfs: &File,
        console: &Console,
        verbose: bool,
    ) -> Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        // The initramfs is in memory once as loaded and once as unpacked.
        let size_mib = initramfs.metadata()?.len().div_ceil(1 << 20);
        let memory = MEMORY_MIB + 2 * size_mib;
        let cpus = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(MAX_CPUS);

        let initramfs = OwnedFd::from(initramfs.try_clone()?);
        let port = OwnedFd::from(theirs);
        let mut command = parts.qemu();
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            // No nested paging: with it a guest was seen to go on at an address of its host's
            // kernel, with its host's page tables, and triple-fault (an interrupt at the wrong
            // moment of VMRUN; 14 of 30 runs of the guest storms on a busy lab, 0 of 52 without).
            .args(["-accel", "tcg,thread=multi", "-cpu", "EPYC-Rome,+svm,-npt,+x2apic"])
            .args(["-smp", &cpus.to_string(), "-m", &format!("{memory}M")])
            .args(["-display", "none", "-vga", "none", "-nic", "none"])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .args(["-chardev", &format!("socket,id=lab,fd={}", port.as_raw_fd())])
            .args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=lab,name=lab"])
            .arg("-kernel")
            .arg(parts.kernel())
            .args(["-initrd", &format!("/dev/fd/{}", initramfs.as_raw_fd())])
            .args(["-append", KERNEL_COMMAND_LINE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for xtask alone; the machine goes down with it.
            .process_group(0);
        child::ends_with_us(&mut command, Signal::SIGKILL);
        pass_on(&mut command, [port, initramfs]);

        let mut process = command.spawn().context("starting QEMU")?;
        let output = process
            .stdout
            .take()
            .map(|source| console.follow(source, verbose));
        let errors = process
            .stderr
            .take()
            .map(|source| console.follow(source, verbose));
        let followers = output.into_iter().chain(errors).collect();
        Ok((Self { process, followers }, ours))
    }

    /// How the machine ended by itself, `None` if it has not; then the console is complete.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END_GRACE;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => {
                    for follower in self.followers.drain(..) {
                        // A follower only reads; there is no panic to pass on.
                        let _ = follower.join();
                    }
                    return Some(status);
                }
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only for a process that is already gone and waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lets the child inherit these descriptors under their own numbers. They are owned by the
/// command: dropped with it, so that the child holds the only copies.
fn pass_on<const N: usize>(command: &mut Command, fds: [OwnedFd; N]) {
    let keep_open = move || {
        for fd in &fds {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(keep_open) };
}
