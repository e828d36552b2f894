// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf port, if the machine has one: what the scheduler tells it, and the way to it for kernels.

use core::cell::Cell;
use core::sync::atomic::Ordering::Relaxed;

pub use perf_port_guest::{
    Errno, EventNumber, EventState, Id, Leaves, Name, Open, OpenFlags, Opened, Page, PortIo,
    Reading, Record, Target, TrapTotals, VcpuPort,
};

use super::vcpu::Vcpu;
use crate::sync::PerCpu;
use crate::tap::Outcome;
use crate::text::Text;
use crate::trap::vector;
use crate::{MAX_CPUS, cpu, mem};

static PAGES: PerCpu<Page> = PerCpu([const { Page::new() }; MAX_CPUS]);

/// The port as each CPU found it.
struct Found(Cell<Option<perf_port_guest::Port>>);

// SAFETY: each CPU uses its own only.
unsafe impl Sync for Found {}

static FOUND: PerCpu<Found> = PerCpu([const { Found(Cell::new(None)) }; MAX_CPUS]);

impl Found {
    fn here() -> &'static Cell<Option<perf_port_guest::Port>> {
        let Self(port) = &FOUND[cpu::current()];
        port
    }
}

/// Whether the machine has a port: known on CPUs that called [`init`](super::init) or run tasks.
#[must_use]
pub fn exists() -> bool {
    Found::here().get().is_some()
}

/// Asks something of the port, on this CPU: on CPU 0, on one that runs tasks, or in [`visit`].
///
/// # Errors
/// Its errno.
///
/// # Panics
/// If there is no port.
pub fn ask<T>(f: impl FnOnce(&VcpuPort<'static, PortIo>) -> Result<T, Errno>) -> Result<T, Errno> {
    cpu::without_interrupts(|| f(&here().expect("there is a port")))
}

/// As [`ask`], with an error that says what was asked.
///
/// # Errors
/// What failed, and its errno.
///
/// # Panics
/// If there is no port.
pub fn must<T>(
    what: &str,
    f: impl FnOnce(&VcpuPort<'static, PortIo>) -> Result<T, Errno>,
) -> Result<T, Text> {
    ask(f).map_err(|errno| Text::format(format_args!("{what}: {errno:?}")))
}

/// Lets a CPU that runs no tasks [`ask`] as well, for the time of `f`.
///
/// # Errors
/// Those of `f`, or that the port refuses the CPU's page.
pub fn visit(f: impl FnOnce() -> Outcome) -> Outcome {
    cpu::without_interrupts(attach)?;
    let outcome = f();
    let left = cpu::without_interrupts(detach);
    outcome.and(left)
}

/// The page of this CPU.
pub(super) fn page() -> &'static Page {
    &PAGES[cpu::current()]
}

fn address() -> u64 {
    core::ptr::from_ref(page()) as u64
}

/// The port as this CPU has it. With interrupts off.
fn here() -> Option<VcpuPort<'static, PortIo>> {
    Found::here().get().map(|port| port.vcpu(page()))
}

/// Looks for the port, and registers this CPU's page.
///
/// # Errors
/// If the port refuses.
pub(super) fn attach() -> Result<(), Text> {
    let Some(port) = perf_port_guest::discover() else {
        return Ok(());
    };
    assert_eq!(port.info().vector, vector::PERF_TRAP, "the port's vector");
    Found::here().set(Some(port));
    // SAFETY: a static, mapped one to one.
    must("the page", |vcpu| unsafe { vcpu.register(address()) })
}

/// Takes this CPU's page back.
///
/// # Errors
/// If the port refuses.
pub(super) fn detach() -> Result<(), Text> {
    match here() {
        Some(vcpu) => vcpu
            .unregister()
            .map_err(|errno| Text::format(format_args!("the page: {errno:?}"))),
        None => Ok(()),
    }
}

/// Takes this CPU's page back, and registers it again at once: what a kernel must not do in the middle
/// of something, and may.
///
/// # Errors
/// If the port refuses.
pub fn renew() -> Outcome {
    cpu::without_interrupts(|| {
        detach()?;
        attach()
    })
}

/// The physical address of the tick page; without a port, of the page that stands for it.
#[must_use]
pub fn tick_page() -> u64 {
    Found::here().get().map_or(super::TICKS, |port| {
        u64::from(port.info().tick_frame) * mem::PAGE
    })
}

/// The number of a task in what is said to the port.
fn number(cpu: usize) -> u32 {
    u32::try_from(cpu).expect("there are few CPUs")
}

/// A switch of this vCPU.
pub(super) fn switch(prev: u64, leaves: Leaves, next: u64) {
    let counts = &Vcpu::this().counts;
    let (prev, next) = (Id::new(prev), Id::new(next));
    let Some(vcpu) = here() else {
        return;
    };
    match vcpu.switch_to(prev, leaves, next) {
        Ok(false) => {}
        Ok(true) => _ = counts.announced.fetch_add(1, Relaxed),
        Err(_) => {
            counts.announced.fetch_add(1, Relaxed);
            counts.refused_switches.fetch_add(1, Relaxed);
        }
    }
}

/// A new task; 0 without a port.
pub(super) fn create(cpu: usize, name: &str) -> Result<u64, Text> {
    if !exists() {
        return Ok(0);
    }
    must("a new task", |vcpu| {
        vcpu.create(number(cpu), Name::new(name))
    })
    .map(Id::get)
}

/// A child of the task; 0 without a port, nothing if the port refuses.
pub(super) fn fork(parent: u64) -> Option<u64> {
    match (here(), Id::new(parent)) {
        (Some(vcpu), Some(parent)) => vcpu.fork(parent, None).ok().map(Id::get),
        _ => Some(0),
    }
}

pub(super) fn exec(task: u64) {
    say(task, true, |vcpu, task| vcpu.exec(task, Name::new("other")));
}

pub(super) fn exit(task: u64) {
    say(task, true, |vcpu, task| vcpu.exit(task));
}

pub(super) fn migrate(task: u64, cpu: usize) {
    say(task, page().announces(), |vcpu, task| {
        vcpu.migrate(task, number(cpu))
    });
}

pub(super) fn wake(task: u64, cpu: usize) {
    say(task, page().announces(), |vcpu, task| {
        vcpu.wake(task, number(cpu))
    });
}

/// Tells of a task, if there is somebody to tell and a reason to.
fn say(
    task: u64,
    needed: bool,
    f: impl FnOnce(&VcpuPort<'static, PortIo>, Id) -> Result<(), Errno>,
) {
    if let Some(task) = Id::new(task)
        && needed
        && exists()
        && ask(|vcpu| f(vcpu, task)).is_err()
    {
        Vcpu::this().counts.refused.fetch_add(1, Relaxed);
    }
}

/// The trap that waits, if the port says so when asked.
pub(super) fn take_record() -> Option<Record> {
    here()?.take_record().ok()?
}

/// The current task has its trap; whether it was owed one.
pub(super) fn trap_done() -> bool {
    here().is_some_and(|vcpu| vcpu.trap_done().is_ok())
}
