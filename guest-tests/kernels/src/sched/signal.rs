// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The tasks' traps: how one gets to its handler in user mode, and back.

use core::sync::atomic::Ordering::Relaxed;

use super::port::Record;
use super::task::Task;
use super::user::{self, Block, Logged};
use super::vcpu::Vcpu;
use super::{port, vcpu};
use crate::cpu;
use crate::trap::{TrapFrame, Verdict};

/// What the ABI lets a function use below its stack pointer.
const RED_ZONE: u64 = 128;

/// Exception 28: the record is in the page (U5).
pub(super) fn on_trap(frame: &mut TrapFrame) -> Verdict {
    let vcpu = Vcpu::this();
    if !frame.is_user() || vcpu.current().is_none() {
        return Verdict::Pass;
    }
    match port::page().record() {
        Some(record) => {
            vcpu.counts.by_exception.fetch_add(1, Relaxed);
            deliver(vcpu, frame, record, false);
        }
        None => vcpu.count_odd(),
    }
    Verdict::Resume
}

/// The last check before the return to user mode found that a trap waits (U4).
pub(super) extern "C" fn take_by_user(frame: &mut TrapFrame) {
    let vcpu = Vcpu::this();
    match port::take_record() {
        Some(record) => {
            vcpu.counts.by_user.fetch_add(1, Relaxed);
            deliver(vcpu, frame, record, true);
        }
        None => _ = vcpu.counts.for_nothing.fetch_add(1, Relaxed),
    }
    vcpu::prepare_return(vcpu, frame);
}

/// Makes the task go on in its handler.
fn deliver(vcpu: &Vcpu, frame: &mut TrapFrame, record: Record, by_user: bool) {
    let Some(tid) = vcpu.current() else {
        return vcpu.count_odd();
    };
    let (task, block) = (Task::of(tid), Block::of(tid));
    if record.task != task.port_id.load(Relaxed) || task.in_handler.swap(true, Relaxed) {
        return vcpu.count_odd();
    }
    block.set_record(&Logged {
        event: record.event,
        task: record.task,
        address: record.addr,
        data: record.data,
        rip: frame.rip,
        left: frame.rcx,
        cpu: cpu::current() as u64,
        by_user,
    });
    // SAFETY: this vCPU runs the task.
    unsafe { task.own() }.interrupted = *frame;
    frame.rip = user::handler_entry();
    frame.rsp = (frame.rsp - RED_ZONE) & !15;
}

/// The handler has returned: the task goes on where it was, and may have the next trap (U6).
pub(super) fn sigreturn(vcpu: &Vcpu, task: &Task, frame: &mut TrapFrame) {
    if !task.in_handler.swap(false, Relaxed) {
        return vcpu.count_odd();
    }
    // SAFETY: this vCPU runs the task.
    *frame = unsafe { task.own() }.interrupted;
    if !port::trap_done() {
        vcpu.count_odd();
    }
}
