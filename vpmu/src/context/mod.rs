// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core: events, vCPU contexts and guest-task contexts.

pub mod announce;
mod attr;
mod audit;
mod call;
mod cpu;
mod ctx;
mod entry;
mod error;
mod event;
mod inherit;
mod install;
mod life;
mod observe;
mod ops;
pub mod order;
mod overflow;
mod perf;
mod pmu;
mod read;
mod sigtrap;
mod slots;
mod switch;
mod task;
mod threads;
mod trace;

pub use attr::{Attr, Target};
pub use audit::Violation;
pub use call::{Caller, PerfCall, PerfReply};
pub use cpu::{Armed, Cpu, Leaves};
pub use error::PerfError;
pub use event::{Event, EventId, Owner};
pub use install::Open;
pub use life::State;
pub use observe::{PerfObserver, Record, Retry, Step};
pub use overflow::{Notice, Sample};
pub use perf::{Clock, Perf, PerfConfig};
pub use read::{Reading, Status};
pub use sigtrap::{Trap, TrapCounts};
pub use task::{Task, TaskId};
pub use threads::{HostThread, PerfCalls, VcpuThread};
pub use trace::ChromeTrace;
