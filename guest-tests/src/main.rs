// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Boots the guest test kernels on real KVM and judges their TAP output.

fn main() {}
