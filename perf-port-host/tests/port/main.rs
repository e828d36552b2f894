// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The port against its rules, which its documentation numbers (Q).

mod block;
mod events;
mod limits;
mod model;
mod names;
mod page;
mod rig;
mod switches;
mod threads;
mod traps;
