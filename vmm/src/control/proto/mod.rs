// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a client and the server say to each other, as data: pure, no input or output.
//!
//! One JSON object a line, in both directions. A client makes a [`Request`] and sends its
//! [`line`](Request::line); the server [reads](Request::parse) it by hand, so that what is wrong
//! with it is said with the key and what to write instead. Answers go the other way as
//! [`Answer`]s. `docs/control.md` has every one of them with examples.

mod answer;
mod keys;
mod parse;
mod refusal;
mod request;
mod states;

pub use answer::{
    Added, Answer, Closed, Done, EventLine, EventList, EventRead, EventState, EventTraps, Info,
    NowIs, Opened, Reached, Removed, TaskLine, TaskList, VcpuLine,
};
pub use parse::Unparsed;
pub use refusal::{ErrorKind, Refusal};
pub use request::{Id, OpenEvent, Request, Until, Verb};
pub use states::{CpuState, EventNow, RunState, TaskState};

/// The version of the protocol, the `v` of requests and answers.
pub const VERSION: u64 = 1;

/// The longest line, in bytes, without its LF.
pub const MAX_LINE: usize = 64 * 1024;

#[cfg(test)]
mod tests;
