// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM takes of the host, before something and after.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::host::{self, Wish};
use crate::tap::Outcome;
use crate::{check, check_eq, diag};

type Figures = [AtomicU32; 3];

static BEFORE: Figures = [const { AtomicU32::new(0) }; 3];
static AFTER: Figures = [const { AtomicU32::new(0) }; 3];

fn take(into: &Figures) -> Outcome {
    let words = host::grant(Wish::Footprint)?;
    for (to, from) in into.iter().zip(words) {
        to.store(from, Relaxed);
    }
    Ok(())
}

/// Looks for the first time.
///
/// # Errors
/// The host does not say.
pub fn before() -> Outcome {
    take(&BEFORE)
}

/// Looks for the second time.
///
/// # Errors
/// The host does not say.
pub fn after() -> Outcome {
    take(&AFTER)
}

/// Whether it took no more at the second look than at the first, but for so many KiB of memory.
///
/// # Errors
/// What it took more; that nobody looked.
pub fn flat(growth_kib: u32) -> Outcome {
    let load = |figures: &Figures| [0, 1, 2].map(|n: usize| figures[n].load(Relaxed));
    let (before, after) = (load(&BEFORE), load(&AFTER));
    diag!(
        "{} KiB, {} files, {} threads before; {} KiB, {} files, {} threads after",
        before[0],
        before[1],
        before[2],
        after[0],
        after[1],
        after[2]
    );
    check!(before[0] > 0 && after[0] > 0, "nobody looked");
    check_eq!(after[1], before[1], "open files");
    check_eq!(after[2], before[2], "threads");
    check!(
        after[0] <= before[0] + growth_kib,
        "{} KiB more",
        after[0] - before[0]
    );
    Ok(())
}
