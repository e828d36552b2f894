// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Run a function on another vCPU's thread and wait for it.
//!
//! A VMM keeps one host thread a vCPU, and some work has to happen on that very thread: changing
//! what its counters count, reading its registers, pausing it, taking it away. So threads wait for
//! each other, and soon two of them do it in a circle. This crate is the inter-processor call that
//! does not hang: a mailbox a vCPU, a trait by which the VMM kicks one, and a lock that may be held
//! across a call. It knows no KVM and no clock, and has no `unsafe`.
//!
//! ```text
//!       thread of vCPU 0                                     thread of vCPU 1
//!                         f   ┌───────────┐
//!   vcpu.call(VcpuId(1), f) ─▶│ mailbox 1 │
//!          │                  └─────┬─────┘
//!          ├─ Ipi::send(VcpuId(1)) ─┼──────────▶ leaves its guest (halt, pause)
//!          ▼                        └──────────▶ vcpu.serve(|f| …) runs f
//!   sleeps, and serves ◀── calls of others            │
//!          │                  ┌───────────┐           │ result
//!          ◀───────────────── │ mailbox 0 │ ◀─────────┘
//!                             └───────────┘
//! ```
//!
//! # What it promises
//!
//! - **D1** A vCPU thread that waits, for an answer in [`Vcpu::call`] or for a [`ServingLock`], serves
//!   its own mailbox meanwhile. Two vCPUs may call each other, any number in a ring.
//! - **D2** An accepted call is always answered: with the result, or with [`NotRun::Lost`] if the
//!   thread ended or panicked. Whether it is accepted is decided in one step with going online and
//!   offline, and a vCPU that goes runs what was queued first. A refused function never runs.
//! - **D3** A vCPU that is halted, paused or waiting inside the host's kernel is *online*: each
//!   accepted call is followed by one [`Ipi::send`], and [`Vcpu::pending`] closes the window between
//!   clearing a kick and entering the guest. What makes the thread come out is the VMM's part. A
//!   thread that says when it is out of its guest is not kicked there: [`Vcpu::enter_guest`] closes
//!   the window between its saying the contrary and the entry.
//!
//! A served function gets what its vCPU's owner hands it, and that is not the [`Vcpu`]: so it cannot
//! call, park or wait for a [`ServingLock`] in turn, and runs to its end. It should be short, and
//! must not wait for other vCPUs by means of its own. Between calls of one thread there is order; the
//! calls of several threads to one vCPU run in the order in which they were accepted.
//!
//! # A vCPU thread
//!
//! Functions are values. With an enum nothing is allocated for a call:
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::thread;
//! use vcpu_call::{Calls, VcpuId};
//!
//! enum Ask {
//!     Exits,
//!     Stop,
//! }
//!
//! struct Cpu {
//!     exits: u64,
//!     running: bool,
//!     kick: Arc<AtomicBool>,
//! }
//!
//! impl Cpu {
//!     fn serve(&mut self, ask: Ask) -> u64 {
//!         match ask {
//!             Ask::Exits => {}
//!             Ask::Stop => self.running = false,
//!         }
//!         self.exits
//!     }
//!
//!     /// Stands for KVM_RUN, the kick for `immediate_exit` and a signal.
//!     fn run(&mut self) {
//!         while !self.kick.load(Ordering::Acquire) {
//!             thread::yield_now();
//!         }
//!         self.exits += 1;
//!     }
//! }
//!
//! let kick = Arc::new(AtomicBool::new(false));
//! let ipi = {
//!     let kick = Arc::clone(&kick);
//!     move |_target: VcpuId| kick.store(true, Ordering::Release)
//! };
//! let calls = Calls::new(1, ipi);
//! let mut vcpu = calls.vcpu(VcpuId(0))?;
//! vcpu.go_online();
//! let thread = thread::spawn(move || {
//!     let mut cpu = Cpu { exits: 0, running: true, kick };
//!     while cpu.running {
//!         cpu.kick.store(false, Ordering::Relaxed); // first forget the kick,
//!         if vcpu.enter_guest() {                   // then look,
//!             cpu.run();                            // then enter.
//!             vcpu.exit_guest();
//!         } else {
//!             vcpu.serve(|ask| cpu.serve(ask));
//!         }
//!     }
//!     vcpu.go_offline(|ask| cpu.serve(ask));
//! });
//!
//! let mut me = calls.outside();
//! let exits = me.call(VcpuId(0), Ask::Exits).unwrap();
//! assert!(me.call(VcpuId(0), Ask::Stop).unwrap() >= exits);
//! thread.join().unwrap();
//! assert!(me.call(VcpuId(0), Ask::Exits).is_err());
//! # Ok::<(), vcpu_call::ClaimError>(())
//! ```
//!
//! With boxed closures callers may ask for anything, and an answer of its own type comes by what the
//! closure captured:
//!
//! ```
//! use std::sync::mpsc;
//! use std::thread;
//! use vcpu_call::{Calls, VcpuId};
//!
//! #[derive(Default)]
//! struct Cpu {
//!     name: String,
//! }
//!
//! type Job = Box<dyn FnOnce(&mut Cpu) + Send>;
//!
//! let calls: Calls<Job, ()> = Calls::new(1, |_| ());
//! let mut vcpu = calls.vcpu(VcpuId(0))?;
//! vcpu.go_online();
//! let thread = thread::spawn(move || {
//!     let mut cpu = Cpu::default();
//!     while cpu.name.is_empty() {
//!         vcpu.park(|job| job(&mut cpu)); // a vCPU that has not been started yet
//!     }
//! });
//!
//! let (tell, told) = mpsc::channel();
//! let job: Job = Box::new(move |cpu| {
//!     cpu.name.push_str("boot");
//!     tell.send(cpu.name.len()).unwrap();
//! });
//! calls.outside().call(VcpuId(0), job).unwrap();
//! assert_eq!(told.recv(), Ok(4));
//! thread.join().unwrap();
//! # Ok::<(), vcpu_call::ClaimError>(())
//! ```
//!
//! # Halted and paused
//!
//! A vCPU that has nothing to run, because its guest halted and the VMM emulates that, because it is
//! paused or has not been started, sleeps in [`Vcpu::park`]: calls reach it there by themselves, and
//! whoever ends the state uses its [`Waker`]. Look at the state again after each return:
//!
//! ```
//! # use std::sync::Arc;
//! # use std::sync::atomic::{AtomicBool, Ordering};
//! # use vcpu_call::{Calls, VcpuId};
//! # let calls: Calls<(), ()> = Calls::new(1, |_| ());
//! # let mut vcpu = calls.vcpu(VcpuId(0)).unwrap();
//! # let paused = Arc::new(AtomicBool::new(true));
//! # let (resume, waker) = (Arc::clone(&paused), vcpu.waker());
//! # let serve = |()| ();
//! # let other = std::thread::spawn(move || {
//! resume.store(false, Ordering::Release);
//! waker.wake();
//! # });
//!
//! // On the vCPU's thread:
//! while paused.load(Ordering::Acquire) {
//!     vcpu.park(serve);
//! }
//! # other.join().unwrap();
//! ```
//!
//! A vCPU that halts inside the kernel, as with KVM's own local APIC, sits in its run call: the kick
//! brings it out like a running one. A thread that sleeps anywhere else has to be woken by
//! [`Ipi::send`]; one that cannot be woken must not be online.
//!
//! # Locks and calls
//!
//! Whoever holds a plain lock and calls a vCPU hangs as soon as that vCPU wants the lock: pausing and
//! unplugging vCPUs under the VM's lock is the classic. Hold a [`ServingLock`] instead, or a
//! [`ServingGate`] if there are no data, or let go first.
//!
//! # What it costs
//!
//! A call locks the caller's mailbox and the target's, sends one IPI, and wakes two threads that
//! sleep; it allocates nothing once the target's queue has grown to as many calls as ever were
//! waiting in it. A call to oneself looks whether the vCPU is online and runs. The check before each
//! entry to the guest is a fence and a load. A [`ServingLock`] nobody waits for costs two atomic
//! operations for its gate and an uncontended lock for its data.
//!
//! # How it is checked
//!
//! `tests/protocol` holds the rules on real threads. With `--cfg loom` the crate is built on loom's
//! locks and atomics, and `tests/loom` searches the interleavings of each protocol; a build with
//! `--cfg shuttle` is there for those who check a whole VMM.

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
