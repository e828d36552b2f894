// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ABI of perfvisor's perf port, version 1: what a guest's kernel and its VMM say to each other.
//!
//! The perf port is a paravirtual device. A guest's kernel finds it by CPUID ([`cpuid`]), gives it a
//! page of RAM for each vCPU ([`page`]) by two I/O ports ([`io`]), and writes commands into that page
//! ([`Command`]): it tells which tasks there are and which of them runs, and opens events on them.
//! Here are the numbers and their encoding, for both sides, and nothing else: no I/O, no allocation,
//! no dependencies. The manual is `docs/perf-port.md`.
//!
//! ```text
//!  guest's kernel                 page of the vCPU                      VMM
//!
//!  switch:  store CURRENT ──────▶ CURRENT
//!           fence, load ◀──────── ANNOUNCE ◀──────────────── somebody opens an event on a task
//!           raised: SWITCH ─────▶ OP ARG ── OUT COMMAND ───▶ decode, check, do
//!                       ◀──────── RESULT OUT ◀────────────── outcome
//!  to user: load ◀─────────────── TRAP ◀──────────────────── a trap waits
//! ```
//!
//! What a guest writes is decoded in one place, and every field is checked there or by whoever knows
//! what it names:
//!
//! ```
//! use perf_port::{Command, Errno, Id, Leaves, Op};
//!
//! let switch = Command::Switch {
//!     prev: None,
//!     leaves: Leaves::Queued,
//!     next: Id::new(7),
//! };
//! // The guest's side: into its page.
//! let (op, args) = switch.encode();
//! assert_eq!((op, args[..3] == [0, 0, 7]), (Op::Switch, true));
//! // The VMM's side: out of it.
//! assert_eq!(Command::decode(op.number(), 0, &args), Ok(switch));
//! assert_eq!(Command::decode(op.number(), 1, &args), Err(Errno::Invalid));
//! assert_eq!(Command::decode(15, 0, &args), Err(Errno::NoSuchOp));
//! ```

#![no_std]
#![forbid(unsafe_code)]

mod command;
pub mod cpuid;
mod errno;
mod event;
pub mod io;
mod name;
mod op;
mod outcome;
pub mod page;

pub use command::{Command, Leaves, Open, Target};
pub use errno::Errno;
pub use event::{EventNumber, OpenFlags};
pub use name::Name;
pub use op::Op;
pub use outcome::{EventState, Reading, TrapTotals, decode_result, encode_result};

/// The version of the ABI that this crate speaks.
pub const VERSION: u32 = 1;

/// Which task or event: a number that was given by the port, never 0, never given again.
pub type Id = core::num::NonZeroU64;
