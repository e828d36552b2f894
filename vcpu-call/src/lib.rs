// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Run a function on another vCPU's thread and wait for it.

mod calls;
mod gate;
mod ipi;
mod lock;
mod mailbox;
mod outside;
mod park;
mod sync;
mod vcpu;

pub use calls::{Calls, ClaimError};
pub use gate::{Inside, ServingGate};
pub use ipi::{Ipi, VcpuId};
pub use lock::{ServingGuard, ServingLock};
pub use mailbox::NotRun;
pub use outside::Outside;
pub use park::{Park, Waker};
pub use vcpu::Vcpu;
