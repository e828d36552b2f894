// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Any event filter, asked and obeyed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| perfvisor_fuzz::event_filter::run(data));
