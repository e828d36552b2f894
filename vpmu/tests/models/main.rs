// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The rules of `vpmu::registers` for every model of a PMU, usual and unusual, one file a behaviour;
//! and random register traffic against a reference model. A test carries the number of the rule it
//! holds.
//!
//! What a model has to do is said here once more, from the manuals' side: [`table`] lists the
//! registers, [`reference`] says how they work together.

mod reference;
mod rig;
mod script;
mod shapes;
mod table;

mod amd;
mod builder;
mod counters;
mod debugctl;
mod enabling;
mod entries;
mod filter;
mod fixed;
mod freeze;
mod in_use;
mod not_counted;
mod overflow;
mod pmi;
mod presence;
mod rdpmc;
mod reset;
mod snapshot;
mod snapshot_values;
mod status_set;
mod traffic;
mod write_back;
