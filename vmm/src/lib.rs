// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM VMM whose guests always have a PMU: library and the perfvisor binary.
//!
//! [`VmBuilder`] puts a machine together, [`Vm::start`] lets it run, [`RunningVm`] watches and
//! ends it, [`RunReport`] says what happened.

pub mod cli;
pub mod control;

mod boot;
mod console;
mod ending;
mod handle;
mod hotplug;
mod kvm;
mod memory;
mod pmu;
mod port;
mod report;
mod running;
mod select;
mod shared;
mod trace;
mod vcpu;
mod vm;

pub use boot::{BootError, ElfError, PvhError};
pub use handle::{VcpuInfo, VmHandle, VmInfo};
pub use hotplug::HotplugError;
pub use kvm::{KvmError, probe};
pub use memory::MemoryError;
pub use perf_port_host::PortLimits;
pub use report::{
    CounterReport, Exit, ExitReason, PmuSummary, RunReport, SelectReport, SelectsReport,
    SkidReport, VcpuReport,
};
pub use running::RunningVm;
pub use trace::{TraceSummary, Tracer};
pub use vcpu_life::{Stuck, VcpuState};
pub use vm::{Vm, VmBuilder, VmError};
