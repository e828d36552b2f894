// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Register files as pure state machines.

/// As many general-purpose counters as the MSR space before version 6 has room for.
pub(crate) const MAX_GP_COUNTERS: usize = 8;
