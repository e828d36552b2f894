// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The VMM's side of the perf port: what a guest's kernel asks for becomes tasks and events of the
//! perf core.
//!
//! [`perf_port`] has the ABI, `docs/perf-port.md` is its manual, and [`vpmu::context`] does the work.
//! Between them stands this crate: it reads a guest's words, believes none of them, and writes back
//! what came of it. It knows no KVM: the guest's RAM comes in through [`PortMemory`], I/O through
//! [`PortVcpu::write`] and [`PortVcpu::read`], and an exception goes out where
//! [`PortVcpu::hand_over`] says so.
//!
//! ```text
//!  vCPU's thread                    PortVcpu              Port               perf core
//!
//!  I/O exit ── write COMMAND ─────▶ block ── decode ────▶ id ─▶ Task, Event
//!                                     run ──────────────────────────────────▶ Perf, Cpu
//!                       ◀────────── OUT, RESULT, TRAP ◀────────────────────── outcome
//!  before entry ── trap_waits? ────▶ user mode: hand_over, kernel mode: raise
//!
//!                                   PortPage ◀──────────────────────────────── announce, current
//! ```
//!
//! # Rules
//!
//! - **Q1** A page is taken if its first and its last word are RAM; else the vCPU has none afterwards
//!   (EFAULT). Frame 0 takes it back, always. What the page has to say, it says before the guest goes
//!   on.
//! - **Q2** Every word of the guest's is read at most once for a command, and nothing that the host
//!   wrote is read back. What was checked is what is done.
//! - **Q3** What cannot be decoded is refused, and so is what the perf core refuses, with its errno. A
//!   refused command changes nothing but RESULT; a refused SWITCH may leave the host with what the page
//!   says, as any look at it would.
//! - **Q4** There are at most [`PortLimits::tasks`] tasks that have not exited, and
//!   [`PortLimits::events`] events that were not closed, or whose traps are on their way still (ENOMEM).
//!   A place is taken before the thing is made, and given back if it is not. No fork that
//!   copies events leaves more than [`PortLimits::events`] on all tasks, the inherited ones and the host's
//!   own among them; forks at the same time do not see each other's.
//! - **Q5** A vCPU makes at most [`PortLimits::calls_per_second`] calls a second, and those of one
//!   second at once (EAGAIN). One too many is not looked at. To take a page back is no call.
//! - **Q6** A number names what was given that number by this port, until it has exited (ESRCH) or was
//!   closed (EBADF). No number is given twice. Events that the host opened have numbers that name
//!   nothing here.
//! - **Q7** No announcement is believed against the host's own word (I21): a task is current on at
//!   most one vCPU, whatever pages and commands say. That a task runs says that it was woken; that it
//!   is current already is no lie.
//! - **Q8** WAKE of a task that is not known to be blocked places it, as MIGRATE does: it may have
//!   blocked while nothing had to be announced.
//! - **Q9** A task that has exited cannot be named any more, but for leaving the vCPU that it is
//!   current on. Its events can be read until they are closed.
//! - **Q10** After every command, when a trap was handed over, and at each entry to the guest, the
//!   page's TRAP says what the task that is current then has to do: nothing, take the one that waits,
//!   acknowledge the one it has.
//! - **Q11** A trap leaves the perf core when its record is written: by USER, or by
//!   [`PortVcpu::hand_over`]. A task that has one gets no other.
//! - **Q12** Tasks and events are looked up under one lock, which is a leaf: nothing is called with it
//!   held, and no handle dropped.
//! - **Q13** A vCPU that goes away takes its page along. Tasks and events are no vCPU's and stay.
//! - **Q14** An event with a limit is opened disabled, and then refreshed by it: it does not count
//!   before it has its limit.
//!
//! # A round
//!
//! A guest's kernel registers a page, makes a task, runs it, opens an event on it that traps every
//! third tick, and gets the trap. The vCPU's thread stands for KVM here, too.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! use perf_port::page::{self, TRAP_TAKEN, TrapRecord};
//! use perf_port::{Command, EventNumber, Id, Leaves, Name, Open, OpenFlags, Target, io};
//! use perf_port::decode_result;
//! use perf_port_host::{Port, PortLimits, PortMemory, PortVcpu};
//! use vcpu_call::{Calls, VcpuId};
//! use vpmu::Nanos;
//! use vpmu::context::{Perf, PerfConfig, Sample, VcpuThread};
//! use vpmu::source::script::ScriptSource;
//! use vpmu::source::tick::TickSource;
//!
//! /// The guest's RAM: two frames.
//! struct Ram([AtomicU32; 2048]);
//!
//! impl PortMemory for Ram {
//!     fn load32(&self, gpa: u64) -> Option<u32> {
//!         let word = self.0.get(usize::try_from(gpa / 4).ok()?)?;
//!         Some(word.load(Ordering::SeqCst))
//!     }
//!
//!     fn store32(&self, gpa: u64, value: u32) -> bool {
//!         let word = usize::try_from(gpa / 4).ok().and_then(|at| self.0.get(at));
//!         word.inspect(|word| word.store(value, Ordering::SeqCst)).is_some()
//!     }
//!
//!     // One thread reads and writes here: halves will do.
//!     fn load64(&self, gpa: u64) -> Option<u64> {
//!         let (low, high) = (self.load32(gpa)?, self.load32(gpa + 4)?);
//!         Some(u64::from(low) | u64::from(high) << 32)
//!     }
//!
//!     fn store64(&self, gpa: u64, value: u64) -> bool {
//!         let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
//!         self.store32(gpa, u32::from_le_bytes([a, b, c, d]))
//!             && self.store32(gpa + 4, u32::from_le_bytes([e, f, g, h]))
//!     }
//! }
//!
//! // The VMM: a vCPU, and the port.
//! let calls = Calls::new(1, |_: VcpuId| ());
//! let config = PerfConfig { pages: true, ..PerfConfig::new(1) };
//! let perf = Perf::new(config, || Nanos(0));
//! let ram = Arc::new(Ram([const { AtomicU32::new(0) }; 2048]));
//! let memory = Arc::clone(&ram) as Arc<dyn PortMemory>;
//! let port = Port::new(perf.clone(), memory, PortLimits::default());
//! let cpu = perf.cpu(VcpuId(0), TickSource::new(ScriptSource::new()))?;
//! let mut thread = VcpuThread::new(cpu, calls.vcpu(VcpuId(0)).expect("nobody has it yet"));
//! thread.online()?;
//! let mut vcpu = PortVcpu::new(&port, VcpuId(0));
//!
//! // The guest's kernel: OUT, and a command in its page.
//! const PAGE: u64 = page::SIZE;
//! vcpu.write(io::PAGE, &1_u32.to_le_bytes(), &mut thread);
//! let run = |vcpu: &mut PortVcpu<_>, thread: &mut VcpuThread<_, _>, command: Command| {
//!     let (op, args) = command.encode();
//!     ram.store32(PAGE + page::OP, op.number());
//!     for (nth, arg) in (0..).zip(&args[..op.args()]) {
//!         ram.store64(PAGE + page::ARG + 8 * nth, *arg);
//!     }
//!     vcpu.write(io::COMMAND, &[0; 4], thread);
//!     decode_result(ram.load64(PAGE + page::RESULT).unwrap().cast_signed())
//! };
//! let name = Name::new("worker");
//! let task = Id::new(run(&mut vcpu, &mut thread, Command::Create { vcpu: 0, name })?).unwrap();
//!
//! // A switch: it stores what is current, and looks. Nobody wants to know, so it costs no exit.
//! ram.store64(PAGE + page::CURRENT, task.get());
//! assert_eq!(ram.load32(PAGE + page::ANNOUNCE), Some(0));
//!
//! // An event on the task: the host finds by the page that it runs.
//! let open = Open {
//!     flags: OpenFlags::REMOVE_ON_EXEC,
//!     period: 3,
//!     data: Some(7),
//!     ..Open::new(EventNumber::PortTick, Target::Task(task))
//! };
//! let event = Id::new(run(&mut vcpu, &mut thread, Command::Open(open))?).unwrap();
//! assert_eq!(ram.load32(PAGE + page::ANNOUNCE), Some(1));
//!
//! // Now switches are said: away, and back.
//! for (prev, next) in [(Some(task), None), (None, Some(task))] {
//!     ram.store64(PAGE + page::CURRENT, next.map_or(0, Id::get));
//!     let leaves = Leaves::Queued;
//!     run(&mut vcpu, &mut thread, Command::Switch { prev, leaves, next })?;
//! }
//!
//! // The task stores to the tick page, in user mode: the third one is its trap.
//! for tick in 1..=3 {
//!     let cpu = thread.cpu_mut();
//!     cpu.source_mut().tick(true);
//!     cpu.count(Some(Sample { addr: 0xFEB0_0000, user: true }));
//!     let trap = vcpu.trap_waits(&thread) && vcpu.hand_over(&mut thread);
//!     // Where it is, KVM injects exception 28.
//!     assert_eq!(trap, tick == 3);
//! }
//! let word = |nth: u64| ram.load64(PAGE + page::TRAP_EVENT + 8 * nth).unwrap();
//! let record = TrapRecord::from_words([0, 1, 2, 3].map(word));
//! assert_eq!((record.event, record.task, record.data), (event.get(), task.get(), 7));
//! assert_eq!(ram.load32(PAGE + page::TRAP), Some(TRAP_TAKEN));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The kernel then says [`TrapDone`](perf_port::Command::TrapDone), and may get the next one.

#![forbid(unsafe_code)]

mod limits;
mod memory;
mod open;
mod page;
mod port;
mod run;
mod tables;
mod thread;
mod vcpu;

pub use limits::PortLimits;
pub use memory::PortMemory;
pub use port::{Port, TaskLine, TaskState};
pub use thread::PortThread;
pub use vcpu::PortVcpu;
