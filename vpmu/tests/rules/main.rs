// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The numbered rules of `vpmu::registers` and `vpmu::source`, one file a behaviour. A test
//! carries the number of the rule it holds.

mod rig;

mod absent;
mod amd;
mod counter_write;
mod counting;
mod cpuid;
mod event_select;
mod filtered;
mod fixed;
mod freeze;
mod full_width;
mod global_control;
mod global_status;
mod hold;
mod in_use;
mod lvtpc;
mod msr_ranges;
mod not_counted;
mod overflow;
mod pmi;
mod rdpmc;
mod recheck;
mod reset;
mod skid;
mod snapshot;
mod source;
mod status_set;
mod throttle;
mod told;
