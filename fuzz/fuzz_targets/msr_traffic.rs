// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! A guest that does anything to the registers of any model.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| perfvisor_fuzz::msr_traffic::run(data));
