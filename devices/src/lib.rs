// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The bus devices of perfvisor: pure state machines, no KVM.
