// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The control socket: how programs on the host talk to a VM that runs.
//!
//! `docs/control.md` describes the protocol.

mod host;
mod proto;

pub use host::{Change, ClientId, EventDesk, Host};
pub use proto::*;
