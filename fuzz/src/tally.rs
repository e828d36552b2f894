// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! How much a run did.

use std::cell::Cell;

/// Says so when the thread ends: libFuzzer ends with `exit` in the thread that fuzzes.
struct Tally(Cell<u64>);

impl Drop for Tally {
    fn drop(&mut self) {
        eprintln!("{} register operations without a finding", self.0.get());
    }
}

thread_local! {
    static TALLY: Tally = const { Tally(Cell::new(0)) };
}

/// `operations` more were done: a guest's RDMSR, WRMSR and RDPMC as the input asks for them, not those
/// that check laws.
pub fn add(operations: u64) {
    TALLY.with(|tally| tally.0.set(tally.0.get() + operations));
}
