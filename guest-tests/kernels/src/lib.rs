// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The runtime of the guest kernels: everything between the PVH entry point and a kernel's `main`.
//!
//! A kernel is one file in `src/bin`:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//! rt::kernel!(main);
//! fn main() {
//!     rt::tap::run(&[("one is one", || { rt::check_eq!(1, 1, "one"); Ok(()) })]);
//! }
//! ```
//!
//! The machine it expects: 64-bit ELF with a PVH note, COM1 at 0x3F8, a debug exit at port 0xF4,
//! a local APIC that can do x2APIC, APIC ids counted from 0; if CPUs come and go, a hotplug
//! controller ([`hotplug`]) behind an I/O APIC.
//!
//! The kernels share one address space per machine, mapped one to one ([`mem`]); [`trap`] has the
//! interrupt gates, [`session`] runs code with exactly given registers, at CPL 0 or CPL 3, until
//! it traps. [`sched`] runs tasks at CPL 3, on all CPUs.

#![no_std]

mod boot;
mod percpu;

pub mod apic;
pub mod arrivals;
pub mod books;
pub mod cmdline;
pub mod counter;
pub mod cpu;
pub mod crew;
pub mod exit;
pub mod footprint;
pub mod host;
pub mod hotplug;
pub mod idt;
pub mod ioapic;
pub mod mem;
pub mod model;
pub mod msr;
pub mod pmu;
pub mod probe;
pub mod random;
pub mod reset;
pub mod sched;
pub mod serial;
pub mod session;
pub mod smp;
pub mod sync;
pub mod tap;
pub mod text;
pub mod time;
pub mod trap;

pub use percpu::MAX_CPUS;

/// Names the function that runs on the boot CPU, with interrupts enabled. When it returns, the
/// run ends with exit code 0.
#[macro_export]
macro_rules! kernel {
    ($main:path) => {
        // The runtime's only door to the kernel it is linked with.
        #[unsafe(no_mangle)]
        extern "Rust" fn kernel_main() {
            let main: fn() = $main;
            main()
        }
    };
}

/// Prints to the serial port.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::serial::print(format_args!($($arg)*)) };
}

/// Prints a line to the serial port.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::print!("{}\n", format_args!($($arg)*)) };
}

/// The number as an index or an address: this is a 64-bit machine.
#[expect(
    clippy::cast_possible_truncation,
    reason = "usize has 64 bits on the only target"
)]
#[must_use]
pub const fn index(value: u64) -> usize {
    value as usize
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    cpu::disable_interrupts();
    serial::break_lock();
    println!("\nBail out! vCPU {}: {}", percpu::current(), info);
    exit::exit(1)
}
