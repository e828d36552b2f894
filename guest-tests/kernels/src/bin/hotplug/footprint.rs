// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What the VMM takes of the host, before the cycles and after.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rt::host::{self, Wish};
use rt::tap::Outcome;
use rt::{check, check_eq, diag};

type Figures = [AtomicU32; 3];

static BEFORE: Figures = [const { AtomicU32::new(0) }; 3];
static AFTER: Figures = [const { AtomicU32::new(0) }; 3];

/// A leak of one page a cycle is more.
const GROWTH_KIB: u32 = 512;

fn take(into: &Figures) -> Outcome {
    let words = host::grant(Wish::Footprint)?;
    for (to, from) in into.iter().zip(words) {
        to.store(from, Relaxed);
    }
    Ok(())
}

pub(crate) fn before() -> Outcome {
    take(&BEFORE)
}

pub(crate) fn after() -> Outcome {
    take(&AFTER)
}

pub(crate) fn flat() -> Outcome {
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
        after[0] <= before[0] + GROWTH_KIB,
        "{} KiB more",
        after[0] - before[0]
    );
    Ok(())
}
