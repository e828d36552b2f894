// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The I/O APIC: which CPU takes a device's interrupt, as which vector (Intel 82093AA data sheet).

use crate::sync::Lock;

/// Where a PC has its first one; `boot.rs` maps it, uncached.
const BASE: u64 = 0xfec0_0000;
/// Which register the window shows.
const SELECT: *mut u32 = BASE as *mut u32;
const WINDOW: *mut u32 = (BASE + 0x10) as *mut u32;

/// The first half of pin 0's redirection entry; the second follows, then the next pin's.
const ENTRY_0: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// The window is shared.
static REGISTERS: Lock<()> = Lock::new(());

fn write(register: u32, value: u32) {
    // SAFETY: the page of the I/O APIC, which no Rust value lives in; each access is one word, and
    // the caller holds the lock.
    unsafe {
        SELECT.write_volatile(register);
        WINDOW.write_volatile(value);
    }
}

/// Sends the edges of a pin to a CPU, as a fixed interrupt. An edge that came while the pin was
/// masked, as it is at boot, is lost: look at the device afterwards.
pub fn route_edge(pin: u8, vector: u8, cpu: usize) {
    let entry = ENTRY_0 + 2 * u32::from(pin);
    // The APIC id is the CPU's number, below MAX_CPUS.
    let destination = u32::from(cpu.to_le_bytes()[0]) << 24;
    REGISTERS.with(|()| {
        write(entry, MASKED);
        write(entry + 1, destination);
        write(entry, u32::from(vector));
    });
}

/// Keeps the interrupts of a pin from all CPUs.
pub fn mask(pin: u8) {
    REGISTERS.with(|()| write(ENTRY_0 + 2 * u32::from(pin), MASKED));
}
