// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Process 1 of the lab: runs our static binaries on its real KVM.

fn main() {}
