// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A KVM VMM whose guests always have a PMU: library and the perfvisor binary.
