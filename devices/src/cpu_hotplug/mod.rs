// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The CPU hotplug controller: how a guest hears of vCPUs that come, and gives them back.

mod machine;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod traffic;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_superio::Trigger;

use crate::bus::{PortRange, SharedDevice};
use machine::{Act, Machine};

/// What the guest does with its vCPUs, as the VMM hears it.
///
/// Called on the thread of the vCPU that wrote to the controller, with no lock held: neither the
/// controller's nor the bus's. So a call may use the [`CpuHotplugHandle`], and two may come at once
/// from two vCPUs. Each act is told once, and a guest cannot make them out of nothing: for one vCPU
/// at most one ejection an insertion, and one refusal a request.
pub trait CpuHotplugEvents: Send + Sync {
    /// The guest has given vCPU `cpu` back and it is not present any more; `asked` says whether the
    /// host had asked for it. The guest promises that nothing runs on it; whether it holds to that
    /// is for the VMM to see to. Put the vCPU in again only after this call.
    fn ejected(&self, cpu: u8, asked: bool);

    /// The guest keeps vCPU `cpu`, which the host had asked for; the request is over.
    fn refused(&self, cpu: u8);
}

/// Why the controller does not do what the host wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuHotplugError {
    /// The machine cannot be built so.
    #[error(
        "{boot} vCPUs at the start and at most {max}: give at least 1, and no more than at most"
    )]
    Count {
        /// vCPUs at the start.
        boot: u8,
        /// vCPUs there can be.
        max: u8,
    },
    /// The machine has no room for a vCPU of this number.
    #[error("No vCPU {cpu}: at most {max} are possible")]
    NoSuchVcpu {
        /// The number asked for.
        cpu: u8,
        /// vCPUs there can be.
        max: u8,
    },
    /// vCPU 0 cannot go.
    #[error("vCPU 0 cannot be removed")]
    BootVcpu,
    /// It is there already.
    #[error("vCPU {0} is present")]
    Present(u8),
    /// It is not there.
    #[error("vCPU {0} is not present")]
    Absent(u8),
    /// All is done and the event waits in the registers, but the interrupt failed: the guest learns
    /// of it only when it looks.
    #[error("The guest could not be told of vCPU {0}: its interrupt failed")]
    Interrupt(u8),
}

/// The controller: four byte-wide ports and an edge-triggered interrupt.
///
/// | Port | Read | Write |
/// |---|---|---|
/// | +0 selector | the selected vCPU | selects one |
/// | +1 status | bit 0 PRESENT, bit 1 ADDED, bit 2 REMOVE | 1 acknowledges ADDED, REMOVE |
/// | +2 command | the lowest vCPU with an event, or 0xFF | 1 EJECT, 2 NEXT, 3 REFUSE |
/// | +3 count | how many vCPUs there can be | |
///
/// `docs/hotplug.md` is the manual for guests, with the ACPI methods that fit. The interrupt comes
/// after the event is in the registers, once for each [`insert`](CpuHotplugHandle::insert) and
/// [`request_removal`](CpuHotplugHandle::request_removal).
///
/// ```
/// use std::convert::Infallible;
/// use std::sync::{Arc, mpsc};
///
/// use devices::{CpuHotplug, CpuHotplugEvents, PioBus, Trigger};
///
/// struct Line;
/// impl Trigger for Line {
///     type E = Infallible;
///     fn trigger(&self) -> Result<(), Infallible> {
///         Ok(()) // here an eventfd would be written
///     }
/// }
///
/// struct Vmm(mpsc::Sender<u8>);
/// impl CpuHotplugEvents for Vmm {
///     fn ejected(&self, cpu: u8, asked: bool) {
///         assert!(asked);
///         self.0.send(cpu).unwrap();
///     }
///     fn refused(&self, _cpu: u8) {}
/// }
///
/// let (sender, ejected) = mpsc::channel();
/// let (device, hotplug) = CpuHotplug::new(1, 2, Line, Arc::new(Vmm(sender)))?;
/// let mut bus = PioBus::new();
/// bus.insert_shared(CpuHotplug::PORTS, Box::new(device))?;
/// let read = |port| {
///     let mut byte = [0];
///     bus.read(port, &mut byte);
///     byte[0]
/// };
///
/// hotplug.insert(1)?; // the host adds vCPU 1; the guest is interrupted
/// assert_eq!(read(0xcda), 1); // command: vCPU 1 has an event
/// bus.write(0xcd8, &[1]); // selector
/// assert_eq!(read(0xcd9), 0b011); // status: PRESENT, ADDED
/// bus.write(0xcd9, &[0b010]); // acknowledge; now the guest starts it
///
/// hotplug.request_removal(1)?; // the host wants it back
/// assert_eq!(read(0xcd9), 0b101); // PRESENT, REMOVE
/// bus.write(0xcda, &[1]); // EJECT
/// assert_eq!(ejected.try_recv(), Ok(1));
/// assert!(!hotplug.is_present(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CpuHotplug {
    shared: Arc<Shared>,
}

/// The host's end of the controller. All clones are of the same one; any thread may use it.
///
/// None of its calls waits for the guest.
#[derive(Clone, Debug)]
pub struct CpuHotplugHandle {
    shared: Arc<Shared>,
}

struct Shared {
    machine: Mutex<Machine>,
    line: Box<dyn Line>,
    events: Arc<dyn CpuHotplugEvents>,
}

/// A [`Trigger`] of whatever error: all that matters is whether it worked.
trait Line: Send + Sync {
    fn raise(&self) -> bool;
}

impl<T: Trigger + Send + Sync> Line for T {
    fn raise(&self) -> bool {
        self.trigger().is_ok()
    }
}

impl CpuHotplug {
    /// Where its registers are.
    pub const PORTS: PortRange = match PortRange::new(0xcd8, 0xcdb) {
        Some(ports) => ports,
        None => unreachable!(),
    };

    /// Its interrupt: the first pin of the I/O APIC that no ISA interrupt has. An edge.
    pub const GSI: u32 = 16;

    /// A controller for `max` vCPUs, of which those below `boot` are present, and its host's end.
    ///
    /// `irq` raises [`Self::GSI`] in the guest, `events` hears what the guest does.
    ///
    /// # Errors
    ///
    /// [`CpuHotplugError::Count`] if `boot` is 0 or above `max`.
    pub fn new(
        boot: u8,
        max: u8,
        irq: impl Trigger + Send + Sync + 'static,
        events: Arc<dyn CpuHotplugEvents>,
    ) -> Result<(Self, CpuHotplugHandle), CpuHotplugError> {
        let shared = Arc::new(Shared {
            machine: Mutex::new(Machine::new(boot, max)?),
            line: Box::new(irq),
            events,
        });
        let handle = CpuHotplugHandle {
            shared: Arc::clone(&shared),
        };
        Ok((Self { shared }, handle))
    }
}

impl SharedDevice for CpuHotplug {
    fn read(&self, offset: u16, data: &mut [u8]) {
        let machine = self.shared.lock();
        for (byte, register) in data.iter_mut().zip(usize::from(offset)..) {
            *byte = machine.read(register);
        }
    }

    fn write(&self, offset: u16, data: &[u8]) {
        for (byte, register) in data.iter().zip(usize::from(offset)..) {
            let act = self.shared.lock().write(register, *byte);
            match act {
                Some(Act::Ejected { cpu, asked }) => self.shared.events.ejected(cpu, asked),
                Some(Act::Refused { cpu }) => self.shared.events.refused(cpu),
                None => {}
            }
        }
    }
}

impl CpuHotplugHandle {
    /// Makes vCPU `cpu` present and tells the guest. Whatever can come of the guest's hearing that,
    /// such as a start-up IPI to it, comes from now on: have it ready.
    ///
    /// # Errors
    ///
    /// [`CpuHotplugError::NoSuchVcpu`] and [`CpuHotplugError::Present`], and nothing has changed;
    /// [`CpuHotplugError::Interrupt`], and it is present.
    pub fn insert(&self, cpu: u8) -> Result<(), CpuHotplugError> {
        self.shared.lock().insert(cpu)?;
        self.shared.interrupt(cpu)
    }

    /// Asks the guest to give vCPU `cpu` back. The request stays until the guest ejects the vCPU or
    /// refuses, however long that takes, or until it is [withdrawn](Self::withdraw_removal); asking
    /// again meanwhile raises the event again.
    ///
    /// # Errors
    ///
    /// [`CpuHotplugError::NoSuchVcpu`], [`CpuHotplugError::BootVcpu`] and
    /// [`CpuHotplugError::Absent`], and nothing has changed; [`CpuHotplugError::Interrupt`], and it
    /// is asked for.
    pub fn request_removal(&self, cpu: u8) -> Result<(), CpuHotplugError> {
        self.shared.lock().request(cpu)?;
        self.shared.interrupt(cpu)
    }

    /// Takes a request back: the event is gone, and an ejection is the guest's own wish again, which
    /// it may well be about to fulfil. False if there was no request.
    pub fn withdraw_removal(&self, cpu: u8) -> bool {
        self.shared.lock().withdraw(cpu)
    }

    /// Whether the guest has vCPU `cpu`: not before it was inserted, and not after it was ejected.
    #[must_use]
    pub fn is_present(&self, cpu: u8) -> bool {
        self.shared.lock().is_present(cpu)
    }

    /// Whether the host has asked for vCPU `cpu` and the guest has not answered.
    #[must_use]
    pub fn removal_requested(&self, cpu: u8) -> bool {
        self.shared.lock().is_asked(cpu)
    }
}

impl Shared {
    /// No code of others runs under it, so it cannot be poisoned half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interrupt(&self, cpu: u8) -> Result<(), CpuHotplugError> {
        if self.line.raise() {
            Ok(())
        } else {
            Err(CpuHotplugError::Interrupt(cpu))
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuHotplug").field(&self.machine).finish()
    }
}
