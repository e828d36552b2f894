// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One vCPU's registers of the port, and its traps.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use perf_port::page::{TRAP_NONE, TRAP_TAKEN, TRAP_WAITS, TrapRecord};
use perf_port::{Errno, io};
use vcpu_call::VcpuId;
use vpmu::NoObserver;
use vpmu::context::{Clock, Page, PerfObserver};

use crate::limits::Bucket;
use crate::page::PortPage;
use crate::{Port, PortThread};

/// The port as one vCPU sees it: two registers, and the page behind them.
///
/// It belongs to the vCPU's thread, which calls it between exit and entry.
pub struct PortVcpu<C, O = NoObserver> {
    pub(crate) port: Port<C, O>,
    vcpu: VcpuId,
    page: Option<Arc<PortPage>>,
    /// What the page's TRAP says, as far as the host wrote it.
    trap: u32,
    /// Why the last write could not look at a page.
    status: Option<Errno>,
    calls: Bucket,
}

impl<C: Clock, O: PerfObserver> PortVcpu<C, O> {
    /// The registers of `vcpu`, which has no page as yet.
    pub fn new(port: &Port<C, O>, vcpu: VcpuId) -> Self {
        Self {
            calls: Bucket::new(port.limits().calls_per_second, port.perf.now()),
            port: port.clone(),
            vcpu,
            page: None,
            trap: TRAP_NONE,
            status: None,
        }
    }

    /// Which vCPU's they are.
    pub const fn vcpu(&self) -> VcpuId {
        self.vcpu
    }

    /// The vCPU writes `data` to the register at `offset`; `thread` is the vCPU's. When it returns, a
    /// command is done.
    pub fn write(&mut self, offset: u16, data: &[u8], thread: &mut impl PortThread<C, O>) {
        let Ok(bytes) = <[u8; 4]>::try_from(data) else {
            return;
        };
        self.status = match offset {
            io::PAGE => self.register(u32::from_le_bytes(bytes), thread).err(),
            io::COMMAND => self.command(thread).err(),
            _ => return,
        };
    }

    /// The vCPU reads the register at `offset`.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        let value = match (offset, data.len()) {
            (io::PAGE, 4) => self.page.as_ref().map_or(0, |page| page.frame()),
            (io::COMMAND, 4) => self.status.map_or(0, |errno| u32::from(errno.number())),
            _ => return data.fill(0xFF),
        };
        data.copy_from_slice(&value.to_le_bytes());
    }

    /// Before an entry: whether the current task has a trap that can be handed over, by
    /// [`hand_over`](Self::hand_over) if the vCPU is in user mode, else by the guest's kernel, once
    /// [`raise`](Self::raise) told it. If it has none, and the page says otherwise, that is put right:
    /// another vCPU may have ended the task.
    pub fn trap_waits(&mut self, thread: &impl PortThread<C, O>) -> bool {
        if self.page.is_none() {
            return false;
        }
        let waits = thread.cpu().trap_waits();
        if !waits && self.trap != TRAP_NONE {
            self.tell_trap(thread);
        }
        waits
    }

    /// The vCPU is in user mode: hands the oldest trap to the current task. If there is one its record
    /// is in the page, and the guest gets the exception that says so (Q10, Q11).
    pub fn hand_over(&mut self, thread: &mut impl PortThread<C, O>) -> bool {
        let Some(page) = self.page.clone() else {
            return false;
        };
        let handed = hand_over(&page, thread);
        self.tell_trap(thread);
        handed
    }

    /// The vCPU is in kernel mode, and a trap waits: says so in the page. The guest's kernel looks
    /// before it returns to user mode.
    pub fn raise(&mut self) {
        if let Some(page) = &self.page {
            self.trap = TRAP_WAITS;
            let _ = page.set_trap(TRAP_WAITS);
        }
    }

    /// Where the guest's kernel checks for the last time before it returns to user mode, as its page
    /// says now: linear addresses.
    pub fn window(&self) -> Option<Range<u64>> {
        self.page.as_ref()?.window()
    }

    /// The vCPU goes away, or starts anew: it has no page any more (Q13).
    pub fn unplug(&mut self, thread: &mut impl PortThread<C, O>) {
        self.take_back(thread);
        self.status = None;
    }

    /// The guest registers a page, or takes it back (Q1).
    fn register(&mut self, frame: u32, thread: &mut impl PortThread<C, O>) -> Result<(), Errno> {
        if frame == 0 {
            self.take_back(thread);
            return Ok(());
        }
        self.admit()?;
        self.take_back(thread);
        let page = PortPage::find(&self.port.memory, &self.port.tables, frame)?;
        let page = Arc::new(page);
        page.set_trap(TRAP_NONE)?;
        page.announce(self.port.perf.announces());
        self.page = Some(Arc::clone(&page));
        thread.cpu_mut().set_page(Some(page));
        self.tell_trap(thread);
        Ok(())
    }

    fn take_back(&mut self, thread: &mut impl PortThread<C, O>) {
        if self.page.take().is_some() {
            thread.cpu_mut().set_page(None);
            self.trap = TRAP_NONE;
        }
    }

    /// The guest runs the command in its page.
    fn command(&mut self, thread: &mut impl PortThread<C, O>) -> Result<(), Errno> {
        let page = self.page.clone().ok_or(Errno::NoSuchDevice)?;
        let result = match self.admit() {
            Ok(()) => {
                let block = page.block()?;
                let result = self.run(&block, &page, thread);
                // Whatever it was, it may have changed what is current, or its traps.
                self.tell_trap(thread);
                result
            }
            Err(errno) => Err(errno),
        };
        page.answer(result)
    }

    /// Whether the vCPU may make a call now (Q5).
    fn admit(&mut self) -> Result<(), Errno> {
        let now = || self.port.perf.now();
        self.calls.take(now).then_some(()).ok_or(Errno::TryAgain)
    }

    /// Says in the page what the current task has to do about traps (Q10).
    fn tell_trap(&mut self, thread: &impl PortThread<C, O>) {
        let cpu = thread.cpu();
        let trap = if cpu.trap_taken() {
            TRAP_TAKEN
        } else if cpu.trap_waits() {
            TRAP_WAITS
        } else {
            TRAP_NONE
        };
        if let Some(page) = self.page.as_ref().filter(|_| self.trap != trap) {
            self.trap = trap;
            let _ = page.set_trap(trap);
        }
    }
}

/// Takes the oldest trap and writes its record; whether there was one (Q11).
pub(crate) fn hand_over<C: Clock, O: PerfObserver>(
    page: &PortPage,
    thread: &mut impl PortThread<C, O>,
) -> bool {
    let Some(trap) = thread.cpu_mut().return_to_user() else {
        return false;
    };
    let record = TrapRecord {
        event: trap.event.0,
        task: trap.task.0,
        addr: trap.addr,
        data: trap.data,
    };
    // A guest whose RAM went away while it was its page gets a trap without a record.
    let _ = page.record(record);
    true
}

impl<C, O> fmt::Debug for PortVcpu<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortVcpu")
            .field("vcpu", &self.vcpu)
            .field("page", &self.page.as_ref().map(|page| page.frame()))
            .field("trap", &self.trap)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
