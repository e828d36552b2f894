// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A caller beside whom a vCPU does what the engine's steps are hooked to, all on one thread.

use std::sync::{Arc, Mutex};

use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{Caller, PerfCallRef, PerfReply};

use crate::checks::V1;
use crate::rig::RigCpu;

/// A caller who shares vCPU 1 with what happens meanwhile.
pub(crate) struct SharesCpu(pub(crate) Arc<Mutex<RigCpu>>);

impl Park for SharesCpu {
    fn waker(&self) -> Waker {
        panic!("one thread never waits for another");
    }

    fn park(&mut self) {
        panic!("one thread never waits for another");
    }
}

impl Caller for SharesCpu {
    fn here(&self) -> Option<VcpuId> {
        None
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        assert_eq!(target, V1);
        Ok(self.0.lock().unwrap().run(call))
    }
}
