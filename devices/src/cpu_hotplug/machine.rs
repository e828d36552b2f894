// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The controller's state, and all that can happen to it. Who calls, and what follows from it
//! outside, is not its business.

use super::CpuHotplugError;

/// The registers, by their offset from the first port. `docs/hotplug.md` is the guest's manual.
pub(super) mod register {
    /// Which vCPU the status and the commands are about. Kept whatever it is, so that a guest reads
    /// back what it wrote.
    pub(crate) const SELECTOR: usize = 0;
    /// Of the selected vCPU: see [`super::status`]. A write acknowledges its events.
    pub(crate) const STATUS: usize = 1;
    /// Read: the lowest vCPU with an event. Written: see [`super::command`].
    pub(crate) const COMMAND: usize = 2;
    /// How many vCPUs there can be: for guests that have no ACPI tables to tell them.
    pub(crate) const COUNT: usize = 3;
}

/// Bits of the status register. The others read 0, which tells a controller from ports that nobody
/// answers, and mean nothing when written.
pub(super) mod status {
    /// The vCPU is there: it may be started. ACPI's `_STA`.
    pub(crate) const PRESENT: u8 = 1 << 0;
    /// Event: it came. Writing 1 acknowledges.
    pub(crate) const ADDED: u8 = 1 << 1;
    /// Event: the host asks for it back. Writing 1 acknowledges, which answers nothing.
    pub(crate) const REMOVE: u8 = 1 << 2;
}

/// What can be written to the command register; anything else does nothing.
pub(super) mod command {
    /// The guest gives the selected vCPU back. ACPI's `_EJ0`.
    pub(crate) const EJECT: u8 = 1;
    /// Selects the next vCPU with an event, so that an interrupt handler that starts at each turn
    /// where the last one ended starves no vCPU.
    pub(crate) const NEXT: u8 = 2;
    /// The guest keeps the selected vCPU that the host asked for. ACPI's `_OST`.
    pub(crate) const REFUSE: u8 = 3;
}

/// What a read of the command register gives when there is no event, and any port behind the last.
pub(super) const NONE: u8 = 0xff;

/// vCPU 0 runs from the start, and never goes: it is the one that guests keep their interrupts on.
pub(super) const BOOT_VCPU: u8 = 0;

/// What the guest did that the VMM has to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Ejected { cpu: u8, asked: bool },
    Refused { cpu: u8 },
}

/// A vCPU as the controller knows it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    present: bool,
    /// The host wants it back, and the guest has not answered. Unlike the event it outlives an
    /// acknowledgement: a guest acknowledges when it has heard, and answers when it is done.
    asked: bool,
    /// Not yet acknowledged: [`status::ADDED`], [`status::REMOVE`].
    events: u8,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Machine {
    /// By number; at most 255, so that no number is [`NONE`].
    slots: Vec<Slot>,
    selected: u8,
}

impl Machine {
    pub(super) fn new(boot: u8, max: u8) -> Result<Self, CpuHotplugError> {
        if boot == 0 || boot > max {
            return Err(CpuHotplugError::Count { boot, max });
        }
        let slot = |cpu| Slot {
            present: cpu < boot,
            ..Slot::default()
        };
        Ok(Self {
            slots: (0..max).map(slot).collect(),
            selected: BOOT_VCPU,
        })
    }

    /// A byte as the guest reads it.
    pub(super) fn read(&self, register: usize) -> u8 {
        match register {
            register::SELECTOR => self.selected,
            register::STATUS => self.slot(self.selected).map_or(0, Slot::status),
            register::COMMAND => self.event_in(0, u8::MAX).unwrap_or(NONE),
            register::COUNT => self.count(),
            _ => NONE,
        }
    }

    /// Takes a byte that the guest writes.
    pub(super) fn write(&mut self, register: usize, byte: u8) -> Option<Act> {
        match (register, byte) {
            (register::SELECTOR, cpu) => self.selected = cpu,
            (register::STATUS, bits) => {
                if let Some(slot) = self.slot_mut(self.selected) {
                    slot.events &= !bits;
                }
            }
            (register::COMMAND, command::EJECT) => return self.eject(),
            (register::COMMAND, command::NEXT) => self.next(),
            (register::COMMAND, command::REFUSE) => return self.refuse(),
            _ => {}
        }
        None
    }

    fn eject(&mut self) -> Option<Act> {
        let cpu = self.selected;
        let slot = self.slot_mut(cpu)?;
        if cpu == BOOT_VCPU || !slot.present {
            return None;
        }
        let asked = slot.asked;
        *slot = Slot::default();
        Some(Act::Ejected { cpu, asked })
    }

    fn refuse(&mut self) -> Option<Act> {
        let cpu = self.selected;
        self.withdraw(cpu).then_some(Act::Refused { cpu })
    }

    fn next(&mut self) {
        let behind = self.selected.saturating_add(1);
        let next = self
            .event_in(behind, u8::MAX)
            .or_else(|| self.event_in(0, behind));
        if let Some(next) = next {
            self.selected = next;
        }
    }

    /// The host puts a vCPU in.
    pub(super) fn insert(&mut self, cpu: u8) -> Result<(), CpuHotplugError> {
        let slot = self.known(cpu)?;
        if slot.present {
            return Err(CpuHotplugError::Present(cpu));
        }
        *slot = Slot {
            present: true,
            asked: false,
            events: status::ADDED,
        };
        Ok(())
    }

    /// The host asks for a vCPU.
    pub(super) fn request(&mut self, cpu: u8) -> Result<(), CpuHotplugError> {
        let slot = self.known(cpu)?;
        if cpu == BOOT_VCPU {
            return Err(CpuHotplugError::BootVcpu);
        }
        if !slot.present {
            return Err(CpuHotplugError::Absent(cpu));
        }
        slot.asked = true;
        slot.events |= status::REMOVE;
        Ok(())
    }

    /// A request is over without the vCPU going; false if there was none.
    pub(super) fn withdraw(&mut self, cpu: u8) -> bool {
        let Some(slot) = self.slot_mut(cpu) else {
            return false;
        };
        slot.events &= !status::REMOVE;
        std::mem::take(&mut slot.asked)
    }

    pub(super) fn is_present(&self, cpu: u8) -> bool {
        self.slot(cpu).is_some_and(|slot| slot.present)
    }

    pub(super) fn is_asked(&self, cpu: u8) -> bool {
        self.slot(cpu).is_some_and(|slot| slot.asked)
    }

    fn count(&self) -> u8 {
        u8::try_from(self.slots.len()).unwrap_or(NONE)
    }

    /// The lowest vCPU from `first` to below `end` that has an event.
    fn event_in(&self, first: u8, end: u8) -> Option<u8> {
        (first..end.min(self.count())).find(|&cpu| {
            let slot = self.slot(cpu);
            slot.is_some_and(|slot| slot.events != 0)
        })
    }

    fn slot(&self, cpu: u8) -> Option<&Slot> {
        self.slots.get(usize::from(cpu))
    }

    fn slot_mut(&mut self, cpu: u8) -> Option<&mut Slot> {
        self.slots.get_mut(usize::from(cpu))
    }

    fn known(&mut self, cpu: u8) -> Result<&mut Slot, CpuHotplugError> {
        let max = self.count();
        self.slot_mut(cpu)
            .ok_or(CpuHotplugError::NoSuchVcpu { cpu, max })
    }
}

impl Slot {
    fn status(&self) -> u8 {
        let present = if self.present { status::PRESENT } else { 0 };
        present | self.events
    }
}
