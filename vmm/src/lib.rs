// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM VMM whose guests always have a PMU: library and the perfvisor binary.
//!
//! [`VmBuilder`] puts a machine together, [`Vm::start`] lets it run, [`RunningVm`] watches and
//! ends it, [`RunReport`] says what happened.

pub mod cli;

mod boot;
mod console;
mod cpus;
mod kvm;
mod memory;
mod report;
mod vcpu;
mod vm;

pub use boot::{BootError, ElfError, PvhError};
pub use cpus::{Stuck, VcpuState};
pub use kvm::{KvmError, probe};
pub use memory::MemoryError;
pub use report::{CounterReport, Exit, ExitReason, PmuSummary, RunReport, SkidReport, VcpuReport};
pub use vm::{RunningVm, Stopper, Vm, VmBuilder, VmError};
