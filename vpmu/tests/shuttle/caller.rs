// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A caller that counts how often one operation asks others.

use vcpu_call::{NotRun, Park, VcpuId, Waker};
use vpmu::context::{Caller, PerfCallRef, PerfReply};

/// Calls on behalf of another one.
pub(crate) struct Counted<'a, C> {
    by: &'a mut C,
    pub(crate) calls: usize,
}

impl<'a, C: Caller> Counted<'a, C> {
    pub(crate) fn new(by: &'a mut C) -> Self {
        Self { by, calls: 0 }
    }
}

impl<C: Caller> Park for Counted<'_, C> {
    fn waker(&self) -> Waker {
        self.by.waker()
    }

    fn park(&mut self) {
        self.by.park();
    }
}

impl<C: Caller> Caller for Counted<'_, C> {
    fn here(&self) -> Option<VcpuId> {
        self.by.here()
    }

    fn call(&mut self, target: VcpuId, call: PerfCallRef<'_>) -> Result<PerfReply, NotRun> {
        // On the own vCPU it is no call: it just runs there.
        self.calls += usize::from(self.by.here() != Some(target));
        self.by.call(target, call)
    }
}
