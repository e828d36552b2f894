// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Snapshots: taken in the middle of anything, made up, and read from a file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| perfvisor_fuzz::snapshot_restore::run(data));
