// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! S1 to S6: what every counter source promises. One suite, run on each of them.

mod allocator;
#[macro_use]
mod contract;

mod clock;
#[cfg(all(feature = "context", not(any(loom, shuttle))))]
mod core;
mod exact;
#[cfg(feature = "host")]
mod host;
mod script;
mod tick;
#[cfg(all(feature = "context", not(any(loom, shuttle))))]
mod tick_core;
