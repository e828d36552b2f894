// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Chrome traces of the perf core, read back.

#![cfg(all(feature = "context", not(any(loom, shuttle))))]
#![allow(clippy::disallowed_types, reason = "a test of one thread")]

#[path = "../context_rig/mod.rs"]
mod rig;

mod looks;
mod parsed;
mod slices;
mod window;
mod words;
