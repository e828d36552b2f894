// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! What all attackers have in common: pages that several vCPUs register at once and everybody writes
//! to, and the numbers of tasks and events that they made.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rt::random::Random;
use rt::{index, mem};

/// Offsets of the page's fields, in words of eight bytes.
pub(crate) mod field {
    pub(crate) const CURRENT: usize = 0;
    pub(crate) const RETURN_START: usize = 1;
    /// OP and the reserved word.
    pub(crate) const OP: usize = 16;
    pub(crate) const RESULT: usize = 17;
    pub(crate) const ARG: usize = 18;
    /// How many words have a meaning.
    pub(crate) const ALL: usize = 32;
}

/// Pages that are shared.
const PAGES: usize = 5;
/// Numbers that are kept.
const NUMBERS: usize = 64;

/// One that a vCPU may have registered.
#[repr(C, align(4096))]
pub(crate) struct Page([AtomicU64; 512]);

static SHARED: [Page; PAGES] = [const { Page([const { AtomicU64::new(0) }; 512]) }; PAGES];

static TASKS: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];
static EVENTS: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];

/// Where a return window may begin: behind all code, so that nobody is put anywhere. A window around
/// this kernel's code would be its own end, as the port's manual says.
const STARTS: [u64; 4] = [1 << 46, 0xffff_8000_0000_0000, 1 << 63, u64::MAX - 8];

/// No window is dangerous from now on, whatever else is written.
pub(crate) fn prepare() {
    for page in &SHARED {
        page.set(field::RETURN_START, u64::MAX - 8);
    }
}

/// One of the shared pages.
pub(crate) fn any(random: &mut Random) -> &'static Page {
    &SHARED[index(random.below(PAGES as u64))]
}

impl Page {
    pub(crate) fn frame(&self) -> u64 {
        core::ptr::from_ref(self) as u64 / mem::PAGE
    }

    pub(crate) fn set(&self, field: usize, value: u64) {
        self.0[field].store(value, Relaxed);
    }

    pub(crate) fn get(&self, field: usize) -> u64 {
        self.0[field].load(Relaxed)
    }

    /// Garbage in one field.
    pub(crate) fn scribble(&self, random: &mut Random) {
        let field = index(random.below(field::ALL as u64));
        let value = match field {
            field::CURRENT => task(random),
            field::RETURN_START => STARTS[index(random.below(4))],
            field::OP => random.below(26),
            _ => word(random),
        };
        self.set(field, value);
    }
}

/// A number, maybe, that CREATE or FORK gave to somebody.
pub(crate) fn task(random: &mut Random) -> u64 {
    TASKS[index(random.below(NUMBERS as u64))].load(Relaxed)
}

/// A number, maybe, that OPEN gave to somebody.
pub(crate) fn event(random: &mut Random) -> u64 {
    EVENTS[index(random.below(NUMBERS as u64))].load(Relaxed)
}

/// RESULT of a command that makes something, if nobody else wrote over it.
pub(crate) fn learn(op: u64, result: u64, random: &mut Random) {
    let place = index(random.below(NUMBERS as u64));
    // An id, and not an errno or another attacker's garbage.
    if (1..1 << 32).contains(&result) {
        match op {
            1 | 2 => TASKS[place].store(result, Relaxed),
            16 => EVENTS[place].store(result, Relaxed),
            _ => {}
        }
    }
}

/// Any word: mostly one that means something somewhere.
pub(crate) fn word(random: &mut Random) -> u64 {
    match random.below(10) {
        0 => 0,
        1 => u64::MAX,
        2 | 3 => random.below(6),
        4 | 5 => task(random),
        6 | 7 => event(random),
        8 => any(random).frame() * mem::PAGE,
        _ => random.below(1 << 48) << 16 | random.below(1 << 16),
    }
}
