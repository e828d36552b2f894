// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules of [`trace`](super), by the events that come out.

mod drawing;
mod parsed;
mod recording;
mod sinks;
