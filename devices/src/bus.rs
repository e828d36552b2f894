// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port I/O bus: which device answers at which port.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A device on a bus that locks it for each access.
///
/// `offset` is relative to the start of the device's range; the bus passes only
/// bytes that lie within that range, and at least one.
pub trait BusDevice: Send {
    /// Fills `data` with what the guest reads at `offset`.
    fn read(&mut self, offset: u16, data: &mut [u8]);

    /// Takes what the guest writes at `offset`.
    fn write(&mut self, offset: u16, data: &[u8]);
}

/// A device that sees to its own locking, so that what follows from an access can
/// happen with no lock held. Otherwise as [`BusDevice`].
pub trait SharedDevice: Send + Sync {
    /// Fills `data` with what the guest reads at `offset`.
    fn read(&self, offset: u16, data: &mut [u8]);

    /// Takes what the guest writes at `offset`.
    fn write(&self, offset: u16, data: &[u8]);
}

/// The bus's lock around a device without one.
struct Locked(Mutex<Box<dyn BusDevice>>);

impl Locked {
    fn lock(&self) -> MutexGuard<'_, Box<dyn BusDevice>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedDevice for Locked {
    fn read(&self, offset: u16, data: &mut [u8]) {
        self.lock().read(offset, data);
    }

    fn write(&self, offset: u16, data: &[u8]) {
        self.lock().write(offset, data);
    }
}

/// A run of I/O ports, at least one, none above 0xFFFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`, both included; None if `last` is below
    /// `first`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.first, self.last)
    }
}

/// Why a device could not be put on a bus.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BusError {
    /// Some ports already have a device.
    #[error("Ports {wanted} overlap the device at ports {taken}")]
    Overlap {
        /// The ports asked for.
        wanted: PortRange,
        /// The range they run into.
        taken: PortRange,
    },
}

struct Slot {
    ports: PortRange,
    device: Box<dyn SharedDevice>,
}

/// Port I/O, shared by all vCPUs.
///
/// Each [`BusDevice`] has a lock of its own, held for one access; one that
/// panicked keeps answering: its state is whatever the panic left. A
/// [`SharedDevice`] is called with no lock held.
#[derive(Default)]
pub struct PioBus {
    /// Sorted by port.
    slots: Vec<Slot>,
}

impl fmt::Debug for PioBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|slot| slot.ports))
            .finish()
    }
}

impl PioBus {
    /// A bus without devices.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at `ports`.
    ///
    /// # Errors
    ///
    /// [`BusError::Overlap`] if another device has any of them; the bus is then
    /// as it was.
    pub fn insert(&mut self, ports: PortRange, device: Box<dyn BusDevice>) -> Result<(), BusError> {
        self.insert_shared(ports, Box::new(Locked(Mutex::new(device))))
    }

    /// As [`Self::insert`], for a device that needs no lock.
    ///
    /// # Errors
    ///
    /// As [`Self::insert`].
    pub fn insert_shared(
        &mut self,
        ports: PortRange,
        device: Box<dyn SharedDevice>,
    ) -> Result<(), BusError> {
        if let Some(slot) = self.slots.iter().find(|slot| slot.ports.overlaps(ports)) {
            return Err(BusError::Overlap {
                wanted: ports,
                taken: slot.ports,
            });
        }
        let at = self
            .slots
            .partition_point(|slot| slot.ports.first < ports.first);
        self.slots.insert(at, Slot { ports, device });
        Ok(())
    }

    /// A read of `data.len()` bytes at `port`; what no device claims is ones.
    pub fn read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        let len = data.len();
        self.pieces(port, len, |slot, offset, from, to| {
            slot.device.read(offset, &mut data[from..to]);
        });
    }

    /// A write of `data` at `port`; what no device claims is dropped.
    pub fn write(&self, port: u16, data: &[u8]) {
        self.pieces(port, data.len(), |slot, offset, from, to| {
            slot.device.write(offset, &data[from..to]);
        });
    }

    /// Splits an access at the edges of the devices it touches, as the bus of a
    /// PC splits one that is wider than its target. An access does not wrap
    /// from port 0xFFFF to 0.
    fn pieces(&self, port: u16, len: usize, mut each: impl FnMut(&Slot, u16, usize, usize)) {
        let mut done = 0;
        while done < len {
            let Some(at) = u16::try_from(done)
                .ok()
                .and_then(|done| port.checked_add(done))
            else {
                return;
            };
            let next = self.slots.partition_point(|slot| slot.ports.last < at);
            let Some(slot) = self.slots.get(next) else {
                return;
            };
            if slot.ports.contains(at) {
                let room = usize::from(slot.ports.last - at) + 1;
                let end = len.min(done + room);
                each(slot, at - slot.ports.first, done, end);
                done = end;
            } else {
                done += usize::from(slot.ports.first - at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};

    use proptest::prelude::*;

    use super::*;

    /// Remembers its writes; a read gives the offset of each byte.
    struct Recorder {
        writes: Writes,
    }

    impl BusDevice for Recorder {
        fn read(&mut self, offset: u16, data: &mut [u8]) {
            for (byte, offset) in data.iter_mut().zip(offset..) {
                *byte = offset.to_le_bytes()[0];
            }
        }

        fn write(&mut self, offset: u16, data: &[u8]) {
            self.writes.lock().unwrap().push((offset, data.to_vec()));
        }
    }

    type Writes = Arc<Mutex<Vec<(u16, Vec<u8>)>>>;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    fn with_recorder(bus: &mut PioBus, first: u16, last: u16) -> Writes {
        let writes = Writes::default();
        bus.insert(
            range(first, last),
            Box::new(Recorder {
                writes: writes.clone(),
            }),
        )
        .unwrap();
        writes
    }

    #[test]
    fn a_range_that_ends_before_it_starts_does_not_exist() {
        assert_eq!(PortRange::new(2, 1), None);
        assert!(PortRange::new(2, 2).is_some());
    }

    #[test]
    fn overlap_is_refused_and_leaves_the_bus_alone() {
        let mut bus = PioBus::new();
        let writes = with_recorder(&mut bus, 0x10, 0x17);
        for (first, last) in [(0x17, 0x20), (0, 0x10), (0x12, 0x13), (0, 0xffff)] {
            let device = Box::new(Recorder {
                writes: Writes::default(),
            });
            assert_eq!(
                bus.insert(range(first, last), device),
                Err(BusError::Overlap {
                    wanted: range(first, last),
                    taken: range(0x10, 0x17)
                })
            );
        }
        with_recorder(&mut bus, 0x18, 0x18);
        with_recorder(&mut bus, 0, 0xf);
        bus.write(0x10, &[1]);
        assert_eq!(*writes.lock().unwrap(), [(0, vec![1])]);
    }

    #[test]
    fn unclaimed_ports_read_ones() {
        let mut data = [0; 4];
        PioBus::new().read(0, &mut data);
        assert_eq!(data, [0xff; 4]);
    }

    #[test]
    fn an_access_over_an_edge_is_split() {
        let mut bus = PioBus::new();
        let low = with_recorder(&mut bus, 0x10, 0x11);
        let high = with_recorder(&mut bus, 0x13, 0x13);
        let mut data = [0; 6];
        bus.read(0x0f, &mut data);
        assert_eq!(data, [0xff, 0, 1, 0xff, 0, 0xff]);
        bus.write(0x0f, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(*low.lock().unwrap(), [(0, vec![2, 3])]);
        assert_eq!(*high.lock().unwrap(), [(0, vec![5])]);
    }

    #[test]
    fn an_access_does_not_wrap_to_port_zero() {
        let mut bus = PioBus::new();
        let zero = with_recorder(&mut bus, 0, 0);
        let top = with_recorder(&mut bus, 0xffff, 0xffff);
        bus.write(0xffff, &[1, 2, 3, 4]);
        assert_eq!(*top.lock().unwrap(), [(0, vec![1])]);
        assert!(zero.lock().unwrap().is_empty());
        let mut data = [0; 4];
        bus.read(0xffff, &mut data);
        assert_eq!(data, [0, 0xff, 0xff, 0xff]);
    }

    /// Reads another of its ports, over the bus, while it is written to.
    struct Nested {
        bus: Arc<OnceLock<PioBus>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl SharedDevice for Nested {
        fn read(&self, _offset: u16, data: &mut [u8]) {
            data.fill(7);
        }

        fn write(&self, _offset: u16, _data: &[u8]) {
            let mut data = [0];
            self.bus.get().unwrap().read(0x11, &mut data);
            self.seen.lock().unwrap().extend(data);
        }
    }

    #[test]
    fn no_lock_is_held_around_a_shared_device() {
        let (filled, seen) = <(Arc<OnceLock<PioBus>>, Arc<Mutex<Vec<u8>>>)>::default();
        let mut bus = PioBus::new();
        let device = Nested {
            bus: filled.clone(),
            seen: seen.clone(),
        };
        bus.insert_shared(range(0x10, 0x11), Box::new(device))
            .unwrap();
        assert!(filled.set(bus).is_ok());
        filled.get().unwrap().write(0x10, &[1]);
        assert_eq!(*seen.lock().unwrap(), [7]);
    }

    proptest! {
        /// Whatever the guest does, every byte goes to the device that claims
        /// its port, at that device's offset, or to nobody.
        #[test]
        fn every_byte_finds_its_port(port: u16, len in 0usize..10_000) {
            let mut bus = PioBus::new();
            let devices = [(0x20, 0x2f), (0x3f8, 0x3ff), (0x400, 0x400), (0xfff0, 0xffff)];
            let writes = devices.map(|(first, last)| with_recorder(&mut bus, first, last));
            bus.write(port, &vec![1; len]);
            let mut data = vec![0; len];
            bus.read(port, &mut data);
            let mut expected = vec![0xff; len];
            let mut claimed = 0;
            for (at, byte) in (u32::from(port)..).zip(expected.iter_mut()) {
                let owner = devices
                    .iter()
                    .find(|&&(first, last)| (u32::from(first)..=u32::from(last)).contains(&at));
                if let Some(&(first, _)) = owner {
                    *byte = (at - u32::from(first)).to_le_bytes()[0];
                    claimed += 1;
                }
            }
            prop_assert_eq!(data, expected);
            let written: usize = writes
                .iter()
                .map(|writes| writes.lock().unwrap().iter().map(|(_, data)| data.len()).sum::<usize>())
                .sum();
            prop_assert_eq!(written, claimed);
        }
    }
}
