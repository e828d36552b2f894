// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! An x86 PMU for virtual machines on hosts that have none.
