// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The guest's side of perfvisor's perf port, for any x86-64 kernel.
//!
//! By the perf port a kernel tells its VMM which tasks it runs, has events counted on them, and
//! takes a trap into a task's user mode when one overflows. While no task has events a switch costs a
//! store, a fence and a load. The manual is `docs/perf-port.md`: the rules U1 to U7 are there, with
//! the reasons. The numbers are the crate [`perf_port`], whose types are used here.
//!
//! What a kernel adds to itself:
//!
//! - [`discover`] finds the [`Port`]; each vCPU has a [`Page`], a static, and makes a [`VcpuPort`] of
//!   both, which it [registers](VcpuPort::register) whenever it starts;
//! - [`create`](VcpuPort::create), [`fork`](VcpuPort::fork), [`exec`](VcpuPort::exec) and
//!   [`exit`](VcpuPort::exit) where tasks do so; [`switch_to`](VcpuPort::switch_to) in the switch path,
//!   and [`migrate`](VcpuPort::migrate) and [`wake`](VcpuPort::wake) while the page
//!   [asks for it](Page::announces);
//! - for traps: the return path ends in [`return_to_user!`], the page knows its
//!   [window](Page::set_return_window), handlers of NMIs [look at it](Page::restart_rip), and gate 28
//!   is one for the exception that brings a [`Record`].
//!
//! All of it is called with interrupts off, on the vCPU that it is about: a command that an
//! interrupt handler runs in the middle of another one spoils it. Nothing here waits or allocates.
//!
//! ```no_run
//! use perf_port_guest::{EventNumber, Leaves, Name, Open, Page, Target, discover};
//!
//! static PAGES: [Page; 2] = [const { Page::new() }; 2];
//!
//! # fn physical(page: &Page) -> u64 { core::ptr::from_ref(page) as u64 }
//! # fn main() -> Result<(), perf_port_guest::Errno> {
//! // On vCPU 0, as it starts:
//! let Some(port) = discover() else {
//!     return Ok(()); // another hypervisor: no perf port
//! };
//! let vcpu = port.vcpu(&PAGES[0]);
//! // That is where the page is, and it stays there.
//! unsafe { vcpu.register(physical(&PAGES[0]))? };
//!
//! // The kernel has two threads, and goes from one to the other.
//! let shell = vcpu.create(0, Name::new("shell"))?;
//! let editor = vcpu.fork(shell, Some(Name::new("editor")))?;
//! vcpu.switch_to(None, Leaves::Queued, Some(shell))?;
//! vcpu.switch_to(Some(shell), Leaves::Blocked, Some(editor))?;
//!
//! // A user asks what one of them costs.
//! let cycles = Open::new(EventNumber::Cycles, Target::Task(shell));
//! let event = vcpu.open(&cycles)?.event;
//! if let Some(reading) = vcpu.read(event)? {
//!     let (_count, _ns) = (reading.count, reading.running);
//! }
//! vcpu.close(event)?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(any(test, loom)), no_std)]

#[cfg(target_arch = "x86_64")]
mod discover;
mod host;
mod page;
mod registers;
mod return_path;
mod sync;
mod vcpu;

#[cfg(target_arch = "x86_64")]
pub use discover::{Port, discover};
pub use host::HostSide;
pub use page::Page;
#[cfg(target_arch = "x86_64")]
pub use registers::PortIo;
pub use registers::Registers;
pub use vcpu::{Opened, VcpuPort};

pub use perf_port::cpuid::{Discovery, Features, Leaf};
pub use perf_port::page::TrapRecord as Record;
pub use perf_port::{
    Errno, EventNumber, EventState, Id, Leaves, Name, Open, OpenFlags, Reading, Target, TrapTotals,
};
