// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Random choices. They come from the schedule, so that a replay makes the same ones.

use shuttle::rand::{Rng, thread_rng};

/// One of `0..n`.
pub(crate) fn below(n: u64) -> u64 {
    thread_rng().gen_range(0..n)
}

/// True once in `n` times.
pub(crate) fn once_in(n: u64) -> bool {
    below(n) == 0
}

/// One of these, if there is one.
pub(crate) fn pick<T>(from: &[T]) -> Option<&T> {
    let n = u64::try_from(from.len()).ok().filter(|n| *n > 0)?;
    from.get(usize::try_from(below(n)).ok()?)
}
