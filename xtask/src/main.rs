// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Set-up, the KVM lab and CI's commands.

fn main() {}
