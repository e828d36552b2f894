// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The perf core: events, vCPU contexts and guest-task contexts.
//!
//! What an operating system's perf core does for CPUs and threads, this does for vCPUs and guest
//! tasks: events are opened on either, follow their task from vCPU to vCPU, share too few counters
//! by rotation, overflow, and send traps. It knows no KVM and has no threads of its own: a VMM's
//! threads call it, and time, counts and kicks come in through [`Clock`],
//! [`CounterSource`](crate::CounterSource) and [`vcpu_call`]. What its users can rely on is
//! written down in `docs/semantics.md`.
//!
//! ```text
//!  any thread                                    thread of vCPU 1
//!  Perf: open enable read close fork exit …      Cpu: switch count irq_work return_to_user arm
//!    │                                             │
//!    │ gate of the context                         │ calls are served between exit and entry only:
//!    │                                             │ "interrupts off"
//!    ├─ active on vCPU 1 ──── call ──── kick ─────▶│ run
//!    │                                             ▼
//!    │                                           lock of the vCPU's context, lock of the task's
//!    └─ active nowhere: lock of the context        │
//!         │                                        ▼
//!         ▼                                      slots of the source ── overflow ──▶ owners, traps
//!       lists, states, times
//!
//!  Task ─┬─ word: current on vCPU c │ queued on c │ blocked on c
//!        └─ slot: nothing │ Context │ closed       Cpu ─┬─ context of the vCPU
//!                              ▲                        └─ context of the current task, if known
//!                              └────────────────────────────┘
//! ```
//!
//! What the guest counts by the registers of its own PMU counts here as well: a vCPU is a
//! [`CounterSource`](crate::CounterSource) for [`VcpuPmu`](crate::VcpuPmu). See [`Cpu`].
//!
//! The rules carry the names by which comments and tests call them: N in `install`, O in
//! [`order`], W in `switch`, G in `pmu`, V in `overflow`, T in `sigtrap`, A in `announce`.
//!
//! # A vCPU's loop
//!
//! The guest here counts as it is told; a real one is entered by KVM_RUN, from which a kick makes
//! the thread return.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicBool, Ordering};
//! use std::thread;
//!
//! use vcpu_call::{Calls, VcpuId};
//! use vpmu::context::{
//!     Attr, HostThread, Leaves, Open, Perf, PerfConfig, PerfError, Sample, Target, VcpuThread,
//! };
//! use vpmu::source::script::ScriptSource;
//! use vpmu::{EventSelect, Nanos};
//!
//! let kick = Arc::new(AtomicBool::new(false));
//! let calls = Calls::new(1, {
//!     let kick = Arc::clone(&kick);
//!     move |_: VcpuId| kick.store(true, Ordering::Release)
//! });
//! let boot = std::time::Instant::now();
//! let clock = move || Nanos(u64::try_from(boot.elapsed().as_nanos()).unwrap_or(u64::MAX));
//! let perf = Perf::new(PerfConfig::new(1), clock);
//! let task = perf.create_task(VcpuId(0))?;
//!
//! let cpu = perf.cpu(VcpuId(0), ScriptSource::new())?;
//! let mut vcpu = VcpuThread::new(cpu, calls.vcpu(VcpuId(0)).expect("nobody has it yet"));
//! let stop = Arc::new(AtomicBool::new(false));
//! let thread = thread::spawn({
//!     let (stop, task) = (Arc::clone(&stop), task.clone());
//!     move || -> Result<u64, PerfError> {
//!         let mut traps = 0;
//!         vcpu.online()?;
//!         // The guest announces its switches: from nobody to this task.
//!         vcpu.cpu_mut().switch(None, Leaves::Queued, Some(task))?;
//!         while !stop.load(Ordering::Acquire) {
//!             kick.store(false, Ordering::Relaxed); // First forget the kick,
//!             if vcpu.pending() {                   // then look who calls.
//!                 vcpu.serve();
//!                 continue;
//!             }
//!             let cpu = vcpu.cpu_mut();
//!             cpu.irq_work();
//!             if let Some(_trap) = cpu.return_to_user() {
//!                 traps += 1;       // The guest's kernel makes a SIGTRAP of it,
//!                 cpu.trap_done()?; // and says so.
//!             }
//!             let armed = cpu.arm();
//!             // Entry. The guest runs until a kick, or until the timer that `armed` asks for.
//!             let counts = armed.in_cycles.unwrap_or(100);
//!             cpu.source_mut().count(counts);
//!             // Exit.
//!             cpu.count(Some(Sample { addr: 0x40_1000, user: true }));
//!             if armed.rotate {
//!                 cpu.rotate(); // Every few milliseconds would do.
//!             }
//!         }
//!         vcpu.offline()?;
//!         Ok(traps)
//!     }
//! });
//!
//! // Any other thread.
//! let mut me = HostThread::new(&calls);
//! let instructions = EventSelect(0x1_00C0).decode();
//! let attr = Attr {
//!     sigtrap: Some(7),
//!     remove_on_exec: true,
//!     ..Attr::sampling(instructions, 10_000)
//! };
//! // Whether the task runs yet, and where, is the engine's business.
//! let event = perf.open(&Open::new(attr, Target::Task(&task)), &mut me)?;
//! while event.traps().sent < 3 {
//!     perf.read(&event, &mut me)?;
//! }
//! perf.disable(&event, &mut me)?;
//! let count = perf.read(&event, &mut me)?.map_or(0, |reading| reading.count);
//! stop.store(true, Ordering::Release);
//! assert!(thread.join().unwrap()? >= 3);
//! assert!(count >= 30_000);
//! # Ok::<(), PerfError>(())
//! ```
//!
//! A VMM whose mailboxes carry more than the perf core's calls writes its own [`Caller`] instead of
//! using [`VcpuThread`] and [`HostThread`].
//!
//! # Who may touch what
//!
//! - **X1** A task's word is read by anybody. While it says "current on vCPU c", only the thread of c
//!   changes it; otherwise anybody does, by compare and exchange. What a vCPU holds for its current
//!   task and what the word says are changed together, by that thread.
//! - **X2** A task's slot has a mutex of its own, held for a few instructions. It is filled once, by
//!   whoever opens the task's first event or forks it; exchanged by a swap that has the locks of both
//!   contexts; closed by an exit, which has the lock of the context in it. What is published without
//!   a lock is written under that mutex.
//! - **X3** The lock of a context protects all of the context: whose it is, its lists, the states,
//!   counts and times of its events, its queue of traps, its time, its pins and its generation.
//! - **X4** While a context is active on a vCPU, only that vCPU's thread puts its events on counters
//!   or takes them off, ends or enables or disables them, and only it makes the context inactive. All
//!   that others do with the lock alone is to read, to add an event that is OFF, and to pin. While it
//!   is active nowhere, its lock is enough for everything but counting.
//! - **X5** The gate of a context is held by whoever opens, operates on, closes or reads as a group
//!   its events, and by whoever lets what it belongs to fork, execute, exit, come or go: one at a
//!   time. So between two looks at a context in one such operation nobody else's operation happened,
//!   but switches, counting and overflows may have. A switch may have traded the context away: an
//!   open finds out under its lock and starts over with the task's new one, fork, exec and exit pin it
//!   first.
//! - **X6** A family, the events that were inherited from one, has a lock of the same kind. Whoever
//!   does something to all of them holds it, so that none joins or leaves meanwhile.
//! - **X7** The counters, the source and what is current on a vCPU belong to its [`Cpu`], and with it
//!   to one thread: nothing locks them. Nor does it lock its own context while that has no events,
//!   which it knows, because they come and go on this thread. That a task has not acknowledged its
//!   trap belongs to the vCPU that it is current on.
//! - **X8** What became of an event's overflows ([`Event::traps`]) is counted under the locks of the
//!   contexts of its family, and read by anybody: the numbers need not be of one moment.
//! - **X9** The counters of the guest's own PMU are events in the vCPU's context that nobody has a
//!   handle of. Only the vCPU's thread programs, starts and stops them, under the context's lock;
//!   to take and to arm them, it needs no lock (X7). The gate is for operations of several looks at
//!   an event that others operate on as well: here it is one look, and nobody else does. It could not
//!   be waited for either: whoever holds it may be calling this vCPU, which would serve that call
//!   in the middle of a guest's instruction.
//!
//! # Locks
//!
//! - **L1** In this order: gate, family, lock of a vCPU's context, lock of a task's context, task's
//!   slot, who needs announcements. No thread has two gates or two families.
//! - **L2** A thread has two locks of tasks' contexts only in a switch, the outgoing task's first. The
//!   incoming task is claimed by then and the outgoing one not yet let go, so that no other thread can
//!   want both.
//! - **L3** Gates and families are held across calls, and whoever waits for one serves its mailbox. No
//!   other lock is held while a call is sent, a thread sleeps or yields, or an [`Owner`] is told.
//! - **L4** [`Clock`], [`PerfObserver`] and [`CounterSource`](crate::CounterSource) are leaves: called
//!   with locks held, they neither wait nor call the engine.

mod announce;
mod attr;
mod audit;
mod call;
mod cpu;
mod ctx;
mod entry;
mod error;
mod event;
mod guest;
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
mod words;

pub use announce::Page;
pub use attr::{Attr, Target};
pub use audit::Violation;
pub use call::{Caller, PerfCall, PerfCallRef, PerfReply};
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
pub use words::{Detail, Edge, Lane};
