// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The control socket, served for a VM that is made up, with a perf core whose vCPUs count what the
//! test says. Nothing here needs a KVM.

mod crowds;
mod documented;
mod ends;
mod events;
mod garbage;
mod machine;
mod rig;
mod slow;
mod tasks;
mod vcpus;
