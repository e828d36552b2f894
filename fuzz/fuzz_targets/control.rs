// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Clients that send anything to a control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| perfvisor_fuzz::control::run(data));
