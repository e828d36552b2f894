// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What a KVM VMM needs to give its guests a vpmu PMU.
