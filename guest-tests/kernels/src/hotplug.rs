// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The driver of the CPU hotplug controller (`docs/hotplug.md` has its registers): which CPUs are
//! there, which come, which the host wants back.
//!
//! A kernel that takes part:
//!
//! ```ignore
//! fn on_event(_: &mut TrapFrame) -> Verdict {
//!     while let Some((cpu, event)) = hotplug::take_event() {
//!         match event {
//!             Event::Added => COME.store(cpu, Release),     // the main loop: smp::start_cpu
//!             Event::Removal => GO.store(cpu, Release),     // the main loop: smp::stop_cpu,
//!         }                                                 // then hotplug::eject
//!     }
//!     Verdict::Resume
//! }
//! hotplug::connect(on_event);
//! ```
//!
//! The selector is shared by all CPUs, so every function here holds a lock, with interrupts kept
//! out; all may be called from interrupt handlers, none from an NMI's. [`read`] and [`write()`] are
//! the bare ports, for kernels that do what no driver should.

use crate::sync::Lock;
use crate::trap::{self, Hook, vector};
use crate::{cpu, ioapic};

/// The first of the four ports.
const PORTS: u16 = 0xcd8;
/// The pin of the I/O APIC, an edge.
const PIN: u8 = 16;

/// A register: its distance from the first port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Register {
    /// Which CPU the others are about.
    Selector = 0,
    /// See [`Status`]; written, it acknowledges.
    Status = 1,
    /// See [`command`]; read, the lowest CPU with an event, or 0xFF.
    Command = 2,
    /// How many CPUs there can be.
    Count = 3,
}

/// What can be written to [`Register::Command`].
pub mod command {
    /// Gives the selected CPU back.
    pub const EJECT: u8 = 1;
    /// Selects the next CPU with an event.
    pub const NEXT: u8 = 2;
    /// Keeps the selected CPU, which the host wants back.
    pub const REFUSE: u8 = 3;
}

/// The status register's value for one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u8);

impl Status {
    /// The CPU is there.
    pub const PRESENT: u8 = 1 << 0;
    /// It came, and nobody has acknowledged that.
    pub const ADDED: u8 = 1 << 1;
    /// The host wants it back, and nobody has acknowledged that.
    pub const REMOVE: u8 = 1 << 2;

    /// Whether all these bits are set.
    #[must_use]
    pub fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// What the host tells of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It is there now, and may be started.
    Added,
    /// The host wants it back. The answer is [`eject`], once nothing runs there, or [`refuse`].
    Removal,
}

impl Event {
    fn bit(self) -> u8 {
        match self {
            Self::Added => Status::ADDED,
            Self::Removal => Status::REMOVE,
        }
    }
}

/// Held by whoever needs the selector to stay.
static SELECTOR: Lock<()> = Lock::new(());

/// Reads a register, without the lock.
#[must_use]
pub fn read(register: Register) -> u8 {
    // SAFETY: the controller does no DMA.
    unsafe { cpu::in8(PORTS + register as u16) }
}

/// Writes a register, without the lock.
pub fn write(register: Register, value: u8) {
    // SAFETY: the controller does no DMA.
    unsafe { cpu::out8(PORTS + register as u16, value) };
}

/// Selects a CPU and goes on with the lock held. A number of 255 and above selects none.
fn with_selected<T>(cpu: usize, f: impl FnOnce() -> T) -> T {
    SELECTOR.with(|()| {
        write(Register::Selector, u8::try_from(cpu).unwrap_or(u8::MAX));
        f()
    })
}

/// What ports read as that nobody answers at: the status never does.
const NOBODY: u8 = u8::MAX;

/// Whether the machine has such a controller.
#[must_use]
pub fn exists() -> bool {
    read(Register::Status) != NOBODY
}

/// How many CPUs there can be: their numbers are below that. All that CPUID tells of, where there
/// is no controller.
#[must_use]
pub fn possible() -> usize {
    if exists() {
        usize::from(read(Register::Count))
    } else {
        cpu::count()
    }
}

/// The status register for a CPU. Without a controller it makes no sense.
#[must_use]
pub fn status(cpu: usize) -> Status {
    with_selected(cpu, || Status(read(Register::Status)))
}

/// Whether a CPU is there. All that are possible are, where there is no controller.
#[must_use]
pub fn is_present(cpu: usize) -> bool {
    if exists() {
        status(cpu).has(Status::PRESENT)
    } else {
        cpu < cpu::count()
    }
}

/// The numbers of the CPUs that are there, the lowest first. Each is looked at when it is its turn.
pub fn present() -> impl Iterator<Item = usize> {
    (0..possible()).filter(|&cpu| is_present(cpu))
}

/// With the lock held: selects the next CPU with an event.
fn find_event() -> Option<(usize, Event)> {
    write(Register::Command, command::NEXT);
    let status = Status(read(Register::Status));
    let event = match status {
        Status(NOBODY) => return None,
        status if status.has(Status::ADDED) => Event::Added,
        status if status.has(Status::REMOVE) => Event::Removal,
        _ => return None,
    };
    Some((usize::from(read(Register::Selector)), event))
}

/// An event that nobody has acknowledged, if there is one; called again, that of another CPU. A
/// CPU that came and is wanted back has both, and shows the first.
#[must_use]
pub fn next_event() -> Option<(usize, Event)> {
    SELECTOR.with(|()| find_event())
}

/// As [`next_event`], and acknowledges it: each event is returned to one caller.
pub fn take_event() -> Option<(usize, Event)> {
    SELECTOR.with(|()| {
        let found = find_event();
        if let Some((_, event)) = found {
            write(Register::Status, event.bit());
        }
        found
    })
}

/// Acknowledges an event of a CPU; the other one stays.
pub fn acknowledge(cpu: usize, event: Event) {
    with_selected(cpu, || write(Register::Status, event.bit()));
}

/// Gives a CPU back, asked for or not: from now on it is not there. Nothing must run on it
/// ([`crate::smp::stop_cpu`]); CPU 0 stays whatever is written.
pub fn eject(cpu: usize) {
    with_selected(cpu, || write(Register::Command, command::EJECT));
}

/// Keeps a CPU that the host wants back.
pub fn refuse(cpu: usize) {
    with_selected(cpu, || write(Register::Command, command::REFUSE));
}

/// From now on events interrupt CPU 0, and `hook` runs there, on [`vector::HOTPLUG`]. What came
/// earlier makes no interrupt: call [`take_event`] once after this.
///
/// One interrupt can stand for several events, and some come for nothing.
pub fn connect(hook: Hook) {
    trap::hook(vector::HOTPLUG, hook);
    ioapic::route_edge(PIN, vector::HOTPLUG, 0);
}

/// No more interrupts; events go on to be kept in the registers.
pub fn disconnect() {
    ioapic::mask(PIN);
}
