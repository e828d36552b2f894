// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The debug-exit device: a guest's way to end the run with a code.

use std::sync::{Arc, OnceLock};

use crate::bus::{BusDevice, PortRange};

/// The code the guest ended with, once it has. Shared between the device and
/// the run loop; the first code stays.
#[derive(Clone, Debug, Default)]
pub struct ExitLatch(Arc<OnceLock<u32>>);

impl ExitLatch {
    /// The guest's exit code, if it has given one.
    pub fn code(&self) -> Option<u32> {
        self.0.get().copied()
    }
}

/// A write of any width to the first port ends the run; the value written is
/// the guest's exit code. Reads give ones.
#[derive(Debug)]
pub struct DebugExit {
    latch: ExitLatch,
}

impl DebugExit {
    /// The port, and those that a wider write to it touches.
    pub const PORTS: PortRange = match PortRange::new(0xf4, 0xf7) {
        Some(ports) => ports,
        None => unreachable!(),
    };

    /// A device that puts the guest's code into `latch`.
    pub fn new(latch: ExitLatch) -> Self {
        Self { latch }
    }
}

impl BusDevice for DebugExit {
    fn read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        if offset == 0 {
            let mut code = [0; 4];
            for (to, from) in code.iter_mut().zip(data) {
                *to = *from;
            }
            // A later code does not replace the first.
            let _ = self.latch.0.set(u32::from_le_bytes(code));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_after(writes: &[(u16, &[u8])]) -> Option<u32> {
        let latch = ExitLatch::default();
        let mut device = DebugExit::new(latch.clone());
        for (offset, data) in writes {
            device.write(*offset, data);
        }
        latch.code()
    }

    #[test]
    fn any_width_ends_the_run() {
        assert_eq!(code_after(&[(0, &[0])]), Some(0));
        assert_eq!(code_after(&[(0, &[0x34, 0x12])]), Some(0x1234));
        assert_eq!(
            code_after(&[(0, &[0x78, 0x56, 0x34, 0x12])]),
            Some(0x1234_5678)
        );
    }

    #[test]
    fn the_first_write_wins() {
        assert_eq!(code_after(&[(0, &[1]), (0, &[2])]), Some(1));
    }

    #[test]
    fn only_the_first_port_ends_the_run() {
        assert_eq!(code_after(&[(1, &[1]), (3, &[1])]), None);
    }

    #[test]
    fn a_read_gives_ones_and_ends_nothing() {
        let latch = ExitLatch::default();
        let mut data = [0; 4];
        DebugExit::new(latch.clone()).read(0, &mut data);
        assert_eq!((data, latch.code()), ([0xff; 4], None));
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses: Vec<(bool, u16, Vec<u8>)>) {
            let mut device = DebugExit::new(ExitLatch::default());
            for (write, offset, mut data) in accesses {
                if write {
                    device.write(offset, &data);
                } else {
                    device.read(offset, &mut data);
                }
            }
        }
    }
}
