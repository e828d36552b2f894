// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An x86 PMU for virtual machines on hosts that have none.

#![no_std]
#![forbid(unsafe_code)]

mod counter;

pub mod event;
pub mod lvtpc;
pub mod model;
pub mod msr;
pub mod observer;
pub mod registers;
pub mod source;
pub mod stats;
pub mod time;
pub mod vcpu;

pub use event::{Event, EventConfig, EventSelect};
pub use lvtpc::{Delivery, Lvtpc};
pub use model::{CpuidLeaf, ModelError, PmuModel};
pub use msr::{MsrId, MsrRange, PMU_MSR_RANGES};
pub use observer::{NoObserver, PmuObserver};
pub use source::clock::{ClockSource, GuestClock};
pub use source::{CounterSource, NotCounted, Wake};
pub use stats::{CounterStats, PmuStats, SkidStats, UnsupportedSelects};
pub use time::Nanos;
pub use vcpu::{
    CounterState, CounterView, Entry, MsrRead, MsrWrite, PmiOutcome, PmiSink, Recheck, VcpuPmu,
};
