// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What everybody knows the price of.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use crate::measure::Side;

/// Some nanoseconds each: the clock is small beside so many.
const BATCH: u32 = 256;

/// Locks and unlocks a mutex that nobody else wants.
#[must_use]
pub fn mutex_pair<'a>() -> Side<'a> {
    let mutex = Mutex::new(0_u64);
    Side::new(BATCH, move || {
        let mut guard = black_box(&mutex)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *guard = guard.wrapping_add(1);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Method, medians};

    #[test]
    fn a_mutex_pair_takes_time() {
        let [pair] = medians(Method::of(1), &mut [mutex_pair()]).unwrap();
        assert!(pair > 0.0);
    }
}
