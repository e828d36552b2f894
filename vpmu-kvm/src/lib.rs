// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What any KVM VMM needs to give its guests a [`vpmu`] PMU on hosts that have none.
//!
//! Over `kvm-ioctls` only, and in a few calls:
//!
//! 1. [`probe::probe`] says what this host can do, [`prepare_vm`] makes a VM's PMU MSRs exit to user
//!    space and switches KVM's own vPMU off, [`cpuid::apply`] and, on each vCPU,
//!    [`cpuid::set_misc_enable`] advertise the PMU.
//! 2. On each vCPU's thread: [`kick::bind`], [`VcpuPmuKvm::new`], and [`VcpuPmuKvm::run`] in place of
//!    `VcpuFd::run`. It serves the PMU's MSRs and RDPMC, keeps in-guest time, and delivers PMIs.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use kvm_ioctls::{Kvm, VcpuExit};
//! # use vpmu_kvm::{Exit, GuestMemory, PmuOptions, VcpuPmuKvm, cpuid, kick, prepare_vm};
//! # use vpmu::PmuModel;
//! # fn vcpu_thread(mem: impl GuestMemory, stop: impl Fn() -> bool) -> Result<(), Box<dyn std::error::Error>> {
//! let kvm = Kvm::new()?;
//! let vm = Arc::new(kvm.create_vm()?);
//! prepare_vm(&kvm, &vm, Some(PmuModel::INTEL_V2))?;
//! kick::install()?;
//! let mut vcpu = vm.create_vcpu(0)?; // and its CPUID, through cpuid::apply
//! cpuid::set_misc_enable(&vcpu, PmuModel::INTEL_V2)?;
//! let guard = kick::bind(&mut vcpu)?;
//! let options = PmuOptions::new(PmuModel::INTEL_V2, vcpu.get_tsc_khz()?, 0);
//! let mut pmu = VcpuPmuKvm::new(Arc::clone(&vm), &guard, &options)?;
//! loop {
//!     guard.clear();
//!     if stop() {
//!         return Ok(());
//!     }
//!     match pmu.run(&mut vcpu, &mem)? {
//!         Exit::Vcpu(VcpuExit::Shutdown) => return Ok(()),
//!         Exit::Vcpu(exit) => println!("{exit:?}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! [`VcpuPmuKvm::with_source`] takes any source instead of the clock: the perf core's by [`PerfCore`],
//! with which events of the host share the vCPU's counters with the guest, or, with the feature
//! `host`, the host's own counters. The crate's example `embed` is a whole VMM, and
//! docs/embedding.md walks through it.
//!
//! # What it costs the guest
//!
//! - While the RDPMC trap is armed (from the first enabled counter on) the guest's own hardware
//!   breakpoints do not fire.
//! - CET, FRED, nested virtualisation and KVM's own vPMU are not offered.
//! - Each access to a PMU MSR is an exit to user space, each RDPMC one exit and a few ioctls.

pub mod cpuid;
pub mod kick;
pub mod probe;

mod arming;
mod clock;
mod core_source;
mod error;
mod filter;
mod idle;
mod lapic;
mod memory;
mod perf_core;
mod rotation;
mod source;
mod timer;
mod trap;
mod user_trap;
mod vcpu;
mod vm;

pub use clock::InGuestTime;
pub use core_source::CoreSource;
pub use error::Error;
pub use memory::GuestMemory;
pub use perf_core::{Monotonic, PerfCore};
pub use source::{Needs, VcpuSource};
pub use timer::thread_cpu_ns;
pub use trap::TrapStats;
pub use vcpu::{Exit, Handled, PmuOptions, VcpuPmuKvm, VcpuPmuStats, run_plain};
pub use vm::prepare_vm;
