// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What tasks ask the kernel for: the number in RAX, an argument in RDX, a result in RAX.

use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};

use super::task::{State, Task};
use super::user::{Block, Then, call};
use super::vcpu::{self, End, Vcpu};
use super::{FAILED_FORKS, Service, Tid, port, signal};
use crate::cpu;
use crate::trap::{TrapFrame, Verdict};

pub(super) fn on_syscall(frame: &mut TrapFrame) -> Verdict {
    let vcpu = Vcpu::this();
    let Some(tid) = vcpu.current().filter(|_| frame.is_user()) else {
        return Verdict::Pass;
    };
    let (task, argument) = (Task::of(tid), frame.rdx);
    let go_on = |then| match then {
        Then::Returns => {}
        Then::Yields => end_turn(vcpu, frame, End::Yields),
        Then::Blocks => {
            if blocks(task) {
                vcpu.end_turn(frame, End::Blocks)
            }
        }
        Then::Migrates(here) if here == cpu::current() => end_turn(vcpu, frame, End::Yields),
        Then::Migrates(elsewhere) => end_turn(vcpu, frame, End::Migrates(elsewhere)),
    };
    match frame.rax {
        call::YIELD => go_on(Then::Yields),
        call::BLOCK => go_on(Then::Blocks),
        call::MIGRATE => go_on(Then::Migrates(crate::index(argument))),
        call::SERVE => go_on(serve(argument)),
        call::EXIT => {
            port::exit(task.port_id.load(Relaxed));
            vcpu.end_turn(frame, End::Exits)
        }
        call::FORK => _ = fork(tid, crate::index(argument)),
        call::SIGRETURN => signal::sigreturn(vcpu, task, frame),
        call::TICK => (0..argument).for_each(|_| super::tick()),
        call::WAKE => {
            let slot = crate::index(argument & u64::from(u32::MAX));
            _ = super::wake(Tid(slot), crate::index(argument >> 32));
        }
        call::EXEC => port::exec(task.port_id.load(Relaxed)),
        call::NOTHING => {}
        unknown => panic!("no such system call: {unknown}"),
    }
    Verdict::Resume
}

/// A [`Service`], if there is one.
static SERVICE: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

pub(super) fn set_service(service: Service) {
    SERVICE.store(service as *mut (), Release);
}

/// The kernel's own service, on behalf of the current task.
fn serve(number: u64) -> Then {
    let service = SERVICE.load(Acquire);
    assert!(!service.is_null(), "a task asks for what nobody does");
    // SAFETY: only `set_service` stores here, and stores a `Service`.
    let service = unsafe { core::mem::transmute::<*mut (), Service>(service) };
    service(number)
}

/// Ends a turn that the task could go on with, unless somebody wants it elsewhere.
fn end_turn(vcpu: &Vcpu, frame: &TrapFrame, end: End) -> ! {
    let end = vcpu.wish_of_current().unwrap_or(end);
    vcpu.end_turn(frame, end)
}

/// Whether the task is blocked now: not if it was woken before.
fn blocks(task: &Task) -> bool {
    // Only its own vCPU changes the state of a running task.
    let blocked = task.change(State::Running, State::Blocked);
    debug_assert!(blocked);
    // Who wakes it leaves the token first and then looks at the state.
    let woken = task.token.swap(false, SeqCst);
    !(woken && task.change(State::Blocked, State::Running))
}

/// Makes a child that starts at a step of its parent's script.
fn fork(parent: Tid, at: usize) -> Option<Tid> {
    let Some(tid) = Task::allocate() else {
        FAILED_FORKS.fetch_add(1, Relaxed);
        return None;
    };
    let (task, old, block) = (Task::of(tid), Task::of(parent), Block::of(tid));
    block.inherit(Block::of(parent));
    // SAFETY: the slot was allocated here.
    unsafe { task.start_at(block, at, cpu::current()) };
    let forgotten = old.forgotten.load(Relaxed);
    task.forgotten.store(forgotten, Relaxed);
    let Some(id) = port::fork(old.port_id.load(Relaxed)) else {
        task.set_state(State::Free);
        FAILED_FORKS.fetch_add(1, Relaxed);
        return None;
    };
    task.port_id.store(id, Relaxed);
    vcpu::queue(tid, cpu::current());
    Some(tid)
}
