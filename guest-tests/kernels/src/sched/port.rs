// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the scheduler says to the perf port, if there is one.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::user::Logged;
use crate::sync::PerCpu;
use crate::text::Text;
use crate::{MAX_CPUS, cpu};

/// Where the page's word TRAP is.
pub(super) const TRAP: usize = 0x44;
/// TRAP: a trap is to be taken before the return to user mode.
pub(super) const TRAP_WAITS: u32 = 1;

#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

static PAGES: PerCpu<Page> = PerCpu([const { Page([const { AtomicU64::new(0) }; 512]) }; MAX_CPUS]);

/// The page of this CPU.
pub(super) fn page() -> u64 {
    let page: &Page = &PAGES;
    core::ptr::from_ref(page) as u64
}

/// What becomes of a task that is not current any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leaves {
    Queued,
    Blocked,
}

/// Whether the machine has a port.
#[must_use]
pub fn exists() -> bool {
    false
}

pub(super) fn attach() {}

pub(super) fn detach() {}

pub(super) fn switch(_prev: u64, _leaves: Leaves, next: u64) -> bool {
    PAGES[cpu::current()].0[0].store(next, Relaxed);
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    false
}

pub(super) fn create(_cpu: usize, _name: &str) -> Result<u64, Text> {
    Ok(0)
}

/// The frame to map as the tick page.
pub(super) fn tick_frame() -> u64 {
    super::TICKS
}

pub(super) fn fork(_parent: u64) -> u64 {
    0
}

pub(super) fn exec(_task: u64) {}

pub(super) fn exit(_task: u64) {}

pub(super) fn migrate(_task: u64, _cpu: usize) {}

pub(super) fn wake(_task: u64, _cpu: usize) {}

pub(super) fn user() -> Option<Logged> {
    None
}

pub(super) fn record() -> Option<Logged> {
    None
}

pub(super) fn trap_done() {}
