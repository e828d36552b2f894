// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that says anything to its perf port.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| perfvisor_fuzz::port::run(data));
