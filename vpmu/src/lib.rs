// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An x86 PMU for virtual machines on hosts that have none.
//!
//! A guest's performance counters are MSRs, the RDPMC instruction and an interrupt (the PMI)
//! through the local APIC. This crate is what stands behind them: the registers as the manuals
//! describe them, counters that overflow, and the decision when a PMI is due. It knows no
//! hypervisor: no ioctl, no I/O, no clock, no threads, no `unsafe`; and, but for [`context`], no `std`.
//! Nothing allocates on a guest's behalf. A VMM that traps the PMU's MSRs adds a PMU by
//!
//! - showing the guest [`PmuModel::cpuid`];
//! - handing the MSRs of [`PmuModel::msr_ranges`] to [`VcpuPmu::read_msr`] and [`VcpuPmu::write_msr`],
//!   and RDPMC to [`VcpuPmu::read_pmc`];
//! - calling [`VcpuPmu::enter_guest`] before each entry, with a [`PmiSink`] that is the vCPU's local
//!   APIC, coming back when it says, and [`VcpuPmu::exit_guest`] after each exit;
//! - a [`CounterSource`]: [`ClockSource`] counts cycles by the time a vCPU spends in the guest.
//!
//! What the guest can rely on is written down as numbered rules in [`registers`]. The host can limit
//! what is counted by an [`EventFilter`], and keep, move and put back the whole state by a
//! [`PmuSnapshot`], which the feature `serde` makes serialisable.
//!
//! [`context`], a feature that is on by default, is the perf core: events that the host opens on
//! vCPUs and on guest tasks.
//!
//! The feature `host` adds a source on the host's own counters, by Linux's perf events; its system
//! calls are the only `unsafe` code there is here.
//!
//! # A whole vCPU loop
//!
//! The guest here is a list of what it does; a real one runs in hardware.
//!
//! ```
//! use core::convert::Infallible;
//! use vpmu::{
//!     ClockSource, Delivery, GuestClock, Lvtpc, MsrId, MsrRead, MsrWrite, Nanos, PmiOutcome,
//!     PmiSink, PmuModel, Recheck, VcpuPmu,
//! };
//!
//! /// Unhalted cycles inside the guest. A VMM measures them around each entry.
//! #[derive(Default)]
//! struct InGuest(u64);
//!
//! impl GuestClock for InGuest {
//!     fn cycles(&mut self) -> u64 {
//!         self.0
//!     }
//! }
//!
//! /// The local APIC, as far as PMIs are concerned.
//! struct Apic {
//!     lvtpc: Lvtpc,
//!     nmis: u32,
//! }
//!
//! impl PmiSink for Apic {
//!     type Error = Infallible;
//!
//!     fn pmi(&mut self, model: PmuModel) -> Result<PmiOutcome, Infallible> {
//!         if self.lvtpc.masked() {
//!             return Ok(PmiOutcome::Masked);
//!         }
//!         let outcome = match self.lvtpc.delivery() {
//!             Delivery::Fixed(vector) => PmiOutcome::Fixed(vector),
//!             Delivery::Nmi => PmiOutcome::Nmi,
//!             Delivery::Other(_) => return Ok(PmiOutcome::Undeliverable),
//!         };
//!         if outcome == PmiOutcome::Nmi {
//!             self.nmis += 1;
//!         }
//!         if model.masks_lvtpc_on_pmi() {
//!             self.lvtpc = self.lvtpc.with_mask();
//!         }
//!         Ok(outcome)
//!     }
//! }
//!
//! /// Why the guest was left.
//! enum Exit {
//!     Wrmsr(MsrId, u64),
//!     Rdmsr(MsrId),
//!     Rdpmc(u32),
//!     /// The VMM's kick, after so many cycles.
//!     Kick(u64),
//! }
//!
//! let guest = [
//!     Exit::Wrmsr(MsrId(0xC1), (-10_000_i64).cast_unsigned()), // overflow after 10,000
//!     Exit::Wrmsr(MsrId(0x186), 0x53_003C), // core cycles, user and kernel, INT, enabled
//!     Exit::Kick(10_250),
//!     Exit::Rdmsr(MsrId(0x38E)), // which counter was it?
//!     Exit::Rdpmc(0),
//! ];
//!
//! let mut pmu = VcpuPmu::new(PmuModel::INTEL_V2, ClockSource::new(InGuest::default()));
//! let mut apic = Apic { lvtpc: Lvtpc(0x400), nmis: 0 };
//! let mut now = Nanos(0);
//! let mut answers = Vec::new();
//!
//! for exit in guest {
//!     // Right before the entry, on the vCPU's thread: overflows become visible here.
//!     let entry = pmu.enter_guest(now, &mut apic)?;
//!     match entry.recheck {
//!         Some(Recheck::InCycles(_)) => { /* kick this vCPU after so many cycles in the guest */ }
//!         Some(Recheck::At(_)) => { /* kick this vCPU at that time */ }
//!         None => { /* no kick needed */ }
//!     }
//!     // ... the guest runs, until:
//!     pmu.exit_guest();
//!     match exit {
//!         Exit::Wrmsr(msr, value) => match pmu.write_msr(msr, value) {
//!             MsrWrite::Done => {}
//!             MsrWrite::GeneralProtection => { /* inject #GP(0) */ }
//!             MsrWrite::NotHandled => { /* some other device's MSR */ }
//!         },
//!         Exit::Rdmsr(msr) => answers.push(pmu.read_msr(msr)),
//!         Exit::Rdpmc(index) => match pmu.read_pmc(index) {
//!             Some(value) => answers.push(MsrRead::Value(value)),
//!             None => answers.push(MsrRead::GeneralProtection),
//!         },
//!         Exit::Kick(cycles) => pmu.source_mut().clock_mut().0 += cycles,
//!     }
//!     now = now.saturating_add(Nanos::from_micros(5));
//! }
//!
//! assert_eq!(apic.nmis, 1);
//! assert!(apic.lvtpc.masked(), "as Intel's local APIC does on a PMI");
//! assert_eq!(answers, [MsrRead::Value(1), MsrRead::Value(250)]);
//! assert_eq!(pmu.stats().skid.max, 250);
//! # Ok::<(), Infallible>(())
//! ```

#![no_std]
#![cfg_attr(not(feature = "host"), forbid(unsafe_code))]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "context", feature = "host"))]
extern crate std;

mod counter;
mod counter_id;
#[cfg(feature = "context")]
mod sync;

#[cfg(feature = "context")]
pub mod context;
pub mod event;
pub mod filter;
pub mod lvtpc;
pub mod model;
pub mod msr;
pub mod observer;
pub mod pmi;
pub mod registers;
pub mod snapshot;
pub mod source;
pub mod stats;
pub mod time;
pub mod vcpu;
pub mod view;

pub use counter_id::CounterId;
pub use event::{Event, EventConfig, EventSelect, UnknownEvent};
pub use filter::text::FilterTextError;
pub use filter::{EventFilter, FilterAction, FilterEntry, FilterError};
pub use lvtpc::{Delivery, Lvtpc};
pub use model::{CpuidLeaf, ModelError, PmuCpuid, PmuKind, PmuModel, PmuModelBuilder, Vendor};
pub use msr::{MsrId, MsrRange, PMU_MSR_RANGES};
pub use observer::{NoObserver, PmuObserver};
pub use pmi::{PmiOutcome, PmiSink};
pub use snapshot::{CounterSnapshot, PmuSnapshot, RestoreError};
pub use source::clock::{ClockSource, GuestClock};
pub use source::{CounterSource, NotCounted, Wake};
pub use stats::{CounterStats, PmuStats, SkidStats, UnsupportedSelects};
pub use time::Nanos;
pub use vcpu::{Entry, MsrRead, MsrWrite, Recheck, VcpuPmu};
pub use view::{CounterState, CounterView};
