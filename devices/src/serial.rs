// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! COM1: vm-superio's 16550 behind a bus device.

use std::io::Write;

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, Serial};

use crate::bus::{BusDevice, PortRange};

/// A 16550 that sends what the guest transmits to `W` and raises its interrupt
/// through `T`.
#[derive(Debug)]
pub struct SerialPort<T: Trigger, W: Write> {
    uart: Serial<T, NoEvents, W>,
}

impl<T: Trigger, W: Write> SerialPort<T, W> {
    /// Where a PC has its first serial port.
    pub const COM1: PortRange = match PortRange::new(0x3f8, 0x3ff) {
        Some(ports) => ports,
        None => unreachable!(),
    };

    /// The interrupt of a PC's first serial port.
    pub const COM1_IRQ: u32 = 4;

    /// A port that transmits to `out`.
    pub fn new(interrupt: T, out: W) -> Self {
        Self {
            uart: Serial::new(interrupt, out),
        }
    }
}

/// The UART decodes three address lines.
fn register(offset: u16, byte: usize) -> u8 {
    let [low, _] = offset.to_le_bytes();
    let byte = byte.to_le_bytes()[0];
    low.wrapping_add(byte) & 7
}

impl<T: Trigger + Send, W: Write + Send> BusDevice for SerialPort<T, W> {
    fn read(&mut self, offset: u16, data: &mut [u8]) {
        for (at, byte) in data.iter_mut().enumerate() {
            *byte = self.uart.read(register(offset, at));
        }
    }

    fn write(&mut self, offset: u16, data: &[u8]) {
        for (at, byte) in data.iter().enumerate() {
            // The guest sees a byte that is lost or an interrupt that cannot be
            // raised as a real UART shows a broken line: not at all. `W` is to
            // tell the host itself.
            let _ = self.uart.write(register(offset, at), *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Interrupt(Arc<AtomicUsize>);

    impl Trigger for Interrupt {
        type E = io::Error;

        fn trigger(&self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(data);
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn transmits_in_order() {
        let output = Output::default();
        let mut port = SerialPort::new(Interrupt::default(), output.clone());
        for byte in b"hello" {
            port.write(0, &[*byte]);
        }
        assert_eq!(*output.0.lock().unwrap(), b"hello");
    }

    #[test]
    fn is_always_ready_to_transmit() {
        let mut port = SerialPort::new(Interrupt::default(), Output::default());
        let mut status = [0];
        port.read(5, &mut status);
        assert_eq!(status[0] & 0x60, 0x60);
    }

    #[test]
    fn raises_its_interrupt_only_once_enabled() {
        let interrupt = Interrupt::default();
        let mut port = SerialPort::new(interrupt.clone(), Output::default());
        port.write(0, b"x");
        assert_eq!(interrupt.0.load(Ordering::Relaxed), 0);
        // IER: transmitter empty.
        port.write(1, &[2]);
        assert_eq!(interrupt.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wide_write_reaches_the_registers_beside() {
        let mut port = SerialPort::new(Interrupt::default(), Output::default());
        // LCR (divisor latch), then both divisor bytes with one 16-bit write.
        port.write(3, &[0x80]);
        port.write(0, &[0x12, 0x34]);
        let mut divisor = [0; 2];
        port.read(0, &mut divisor);
        assert_eq!(divisor, [0x12, 0x34]);
    }

    #[test]
    fn an_output_that_fails_does_not_stop_the_guest() {
        struct Broken(Arc<AtomicUsize>);
        impl Write for Broken {
            fn write(&mut self, _data: &[u8]) -> io::Result<usize> {
                self.0.fetch_add(1, Ordering::Relaxed);
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let mut port = SerialPort::new(Interrupt::default(), Broken(asked.clone()));
        port.write(0, b"x");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let mut status = [0];
        port.read(5, &mut status);
        assert_eq!(status[0] & 0x60, 0x60);
    }

    proptest! {
        #[test]
        fn no_access_panics(accesses: Vec<(bool, u16, Vec<u8>)>) {
            let mut port = SerialPort::new(Interrupt::default(), Output::default());
            for (write, offset, mut data) in accesses {
                if write {
                    port.write(offset, &data);
                } else {
                    port.read(offset, &mut data);
                }
            }
        }
    }
}
