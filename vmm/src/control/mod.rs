// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The control socket: how programs on the host talk to a VM that runs.
//!
//! `docs/control.md` describes the protocol, for clients in any language.
//!
//! ```text
//!  client ── socket ──▶ ControlServer: one thread, which waits for none of its clients
//!                         │ Session a client: lines ─▶ requests, answers ─▶ lines. Pure
//!                         ▼
//!                       a worker a client: obey() ─▶ Host, which may wait
//!                                                     └▶ EventDesk: Events in the perf core
//! ```

mod client;
mod dispatch;
mod error;
mod events;
mod host;
mod limits;
mod lines;
mod proto;
mod server;
mod session;
mod socket;
mod tasks;
mod vm;
mod worker;

pub use dispatch::obey;
pub use error::ControlError;
pub use events::Events;
pub use host::{Change, ClientId, EventDesk, Host, Tasks};
pub use limits::Limits;
pub use lines::{Line, Lines};
pub use proto::*;
pub use server::{ControlServer, ControlSocket};
pub use session::Session;
pub use vm::VmHost;
