// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the fuzz targets do with the bytes they are given, and the laws that must hold whatever
//! those are. A law that breaks panics.
//!
//! | Module | What it is |
//! |---|---|
//! | [`input`] | bytes as what a guest and its host do |
//! | [`expected`] | the registers as the rules describe them, apart from their state |
//! | [`guest`] | a PMU that all this is done to |
//! | [`laws`] | what must hold |
//! | [`msr_traffic`], [`snapshot_restore`], [`event_filter`], [`control`], [`port`] | the targets |
//! | [`tally`] | how much was done |

pub mod control;
pub mod event_filter;
pub mod expected;
pub mod guest;
pub mod input;
pub mod laws;
pub mod msr_traffic;
pub mod port;
pub mod snapshot_restore;
pub mod tally;
