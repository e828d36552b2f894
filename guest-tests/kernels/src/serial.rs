// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! COM1, a 16550.

use core::fmt::{self, Write};

use crate::cpu::{in8, out8};
use crate::sync::Lock;

const COM1: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = COM1 + 1;
const FIFO_CONTROL: u16 = COM1 + 2;
const LINE_CONTROL: u16 = COM1 + 3;
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// Bytes the transmit FIFO takes once it is empty.
const FIFO_SIZE: u32 = 16;

struct Port {
    /// Bytes that can be written before the line status has to be read again: every read is an
    /// exit to the host.
    room: u32,
}

static PORT: Lock<Port> = Lock::new(Port { room: 0 });

impl Port {
    fn put(&mut self, byte: u8) {
        // SAFETY: a 16550 does no DMA.
        unsafe {
            while self.room == 0 {
                if in8(LINE_STATUS) & TRANSMIT_EMPTY != 0 {
                    self.room = FIFO_SIZE;
                }
            }
            out8(COM1, byte);
        }
        self.room -= 1;
    }
}

impl Write for Port {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}

pub(crate) fn init() {
    // SAFETY: a 16550 does no DMA.
    unsafe {
        out8(INTERRUPT_ENABLE, 0);
        out8(LINE_CONTROL, 0x03); // 8 data bits, no parity, one stop bit
        out8(FIFO_CONTROL, 0x07); // FIFOs on and emptied
    }
}

/// Prints, whole arguments at a time. Not from NMI handlers.
pub fn print(arguments: fmt::Arguments<'_>) {
    PORT.with(|port| {
        // The port never fails.
        let _ = port.write_fmt(arguments);
    });
}

/// Lets a CPU that is about to end the run print, whoever holds the port.
pub(crate) fn break_lock() {
    PORT.break_open();
}
