// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The bus devices of perfvisor: pure state machines, no KVM.
//!
//! A device sees offsets and bytes and nothing else; what it does to the
//! outside (an interrupt, a byte on the console, the end of the run) goes
//! through what it was built with. [`PioBus`] finds the device behind a port.
//! A guest may access any port at any width: no access panics, and what nobody
//! claims reads as ones.
//!
//! ```
//! use devices::{DebugExit, ExitLatch, PioBus, PortRange};
//!
//! let exit = ExitLatch::default();
//! let mut bus = PioBus::new();
//! bus.insert(DebugExit::PORTS, Box::new(DebugExit::new(exit.clone())))?;
//!
//! let mut data = [0; 2];
//! bus.read(0x80, &mut data);
//! assert_eq!(data, [0xff; 2]);
//!
//! bus.write(0xf4, &[7]);
//! assert_eq!(exit.code(), Some(7));
//! # Ok::<(), devices::BusError>(())
//! ```

mod bus;
mod cpu_hotplug;
mod debug_exit;
mod serial;

pub use bus::{BusDevice, BusError, PioBus, PortRange, SharedDevice};
pub use cpu_hotplug::{CpuHotplug, CpuHotplugError, CpuHotplugEvents, CpuHotplugHandle};
pub use debug_exit::{DebugExit, ExitLatch};
pub use serial::SerialPort;
pub use vm_superio::Trigger;
