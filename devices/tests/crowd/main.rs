// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The hotplug controller under several vCPUs and several threads of the host at once: whatever the
//! order was, the books balance.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread;

use devices::{CpuHotplug, CpuHotplugEvents, CpuHotplugHandle, PioBus, Trigger};

const MAX: u8 = 4;
const GUEST_THREADS: u64 = 3;
const HOST_THREADS: u64 = 2;
const ROUNDS: u64 = 20_000;

#[derive(Default)]
struct Books {
    host: OnceLock<CpuHotplugHandle>,
    /// Insertions less ejections of each vCPU.
    balance: [AtomicI64; MAX as usize],
    requested: [AtomicU64; MAX as usize],
    /// Answered requests: refused, withdrawn, or ejected on request.
    answered: [AtomicU64; MAX as usize],
    /// What the guest was to be interrupted for.
    told: AtomicU64,
    interrupts: AtomicU64,
}

impl Books {
    /// Waits for ever if the controller's lock is held.
    fn look(&self, cpu: u8) {
        let _ = self.host.get().unwrap().removal_requested(cpu);
    }
}

impl CpuHotplugEvents for Books {
    fn ejected(&self, cpu: u8, asked: bool) {
        self.look(cpu);
        self.balance[usize::from(cpu)].fetch_sub(1, SeqCst);
        self.answered[usize::from(cpu)].fetch_add(asked.into(), SeqCst);
    }

    fn refused(&self, cpu: u8) {
        self.look(cpu);
        self.answered[usize::from(cpu)].fetch_add(1, SeqCst);
    }
}

struct Line(Arc<Books>);

impl Trigger for Line {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        self.0.interrupts.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// A small generator of numbers (xorshift64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, range: Range<u8>) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let size = u64::from(range.end - range.start);
        range.start + u8::try_from(self.0 % size).unwrap_or_default()
    }
}

fn guest(bus: &PioBus, mut dice: Dice) {
    let first = CpuHotplug::PORTS.first();
    for _ in 0..ROUNDS {
        let mut data = [0; 4];
        match dice.throw(0..4) {
            // One access, but other vCPUs come in between its bytes.
            0 => bus.write(first, &[dice.throw(0..MAX + 1), dice.throw(0..8)]),
            1 => bus.write(first, &[dice.throw(0..MAX), 0, dice.throw(0..4)]),
            2 => bus.write(first + 2, &[dice.throw(0..4)]),
            _ => bus.read(first, &mut data),
        }
    }
}

fn host(books: &Books, mut dice: Dice) {
    let handle = books.host.get().unwrap();
    for _ in 0..ROUNDS {
        let cpu = dice.throw(0..MAX);
        let at = usize::from(cpu);
        match dice.throw(0..4) {
            0 | 1 => {
                if handle.insert(cpu).is_ok() {
                    books.balance[at].fetch_add(1, SeqCst);
                    books.told.fetch_add(1, SeqCst);
                }
            }
            2 => {
                if handle.request_removal(cpu).is_ok() {
                    books.requested[at].fetch_add(1, SeqCst);
                    books.told.fetch_add(1, SeqCst);
                }
            }
            _ => {
                let withdrawn = handle.withdraw_removal(cpu);
                books.answered[at].fetch_add(withdrawn.into(), SeqCst);
            }
        }
    }
}

#[test]
fn the_books_balance_whatever_the_order() {
    let books = Arc::new(Books::default());
    let (device, handle) = CpuHotplug::new(1, MAX, Line(books.clone()), books.clone()).unwrap();
    assert!(books.host.set(handle.clone()).is_ok());
    let mut bus = PioBus::new();
    bus.insert_shared(CpuHotplug::PORTS, Box::new(device))
        .unwrap();
    thread::scope(|scope| {
        for seed in 1..=GUEST_THREADS {
            let bus = &bus;
            scope.spawn(move || guest(bus, Dice(seed)));
        }
        for seed in 1..=HOST_THREADS {
            let books = &books;
            scope.spawn(move || host(books, Dice(seed << 32)));
        }
    });

    for cpu in 1..MAX {
        let at = usize::from(cpu);
        let balance = books.balance[at].load(SeqCst);
        assert_eq!(balance, handle.is_present(cpu).into(), "vCPU {cpu}");
        let requested = books.requested[at].load(SeqCst);
        let answered = books.answered[at].load(SeqCst);
        // Asking again before the answer is one request.
        let open = u64::from(handle.removal_requested(cpu));
        assert!(answered + open <= requested, "vCPU {cpu}");
        assert!(answered > 0, "vCPU {cpu}: nothing happened");
    }
    assert_eq!(books.balance[0].load(SeqCst), 0);
    assert!(handle.is_present(0));
    assert_eq!(books.interrupts.load(SeqCst), books.told.load(SeqCst));
}
