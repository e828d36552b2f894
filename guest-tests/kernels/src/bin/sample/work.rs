// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! Work to be profiled, side by side in a section of its own.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Fixed-point Mandelbrot set: how many points stay.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn mandelbrot(lines: u64) -> u64 {
    const ONE: i64 = 1 << 24;
    let mut inside = 0;
    let mut cy = -ONE;
    for _ in 0..lines {
        let mut cx = -2 * ONE;
        for _ in 0..96 {
            let (mut x, mut y, mut rounds) = (0_i64, 0_i64, 0);
            while rounds < 200 && (x * x + y * y) >> 24 < 4 * ONE {
                (x, y) = (((x * x - y * y) >> 24) + cx, ((2 * x * y) >> 24) + cy);
                rounds += 1;
            }
            inside += u64::from(rounds == 200);
            cx += ONE / 32;
        }
        cy += ONE / 20;
    }
    inside
}

static FLAGS: [AtomicU8; 64 * 1024] = [const { AtomicU8::new(0) }; 64 * 1024];

/// Primes below 65,536, by the sieve of Eratosthenes.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn sieve(rounds: u64) -> u64 {
    let mut primes = 0;
    for _ in 0..rounds {
        FLAGS.iter().for_each(|flag| flag.store(1, Relaxed));
        for (n, flag) in FLAGS.iter().enumerate().skip(2) {
            if flag.load(Relaxed) == 1 {
                primes += 1;
                let mut multiple = n * n;
                while multiple < FLAGS.len() {
                    FLAGS[multiple].store(0, Relaxed);
                    multiple += n;
                }
            }
        }
    }
    primes
}

/// CRC-32 of the sieve's flags, bit by bit.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn crc32(rounds: u64) -> u64 {
    let mut crc = !0_u32;
    for _ in 0..rounds {
        for flag in &FLAGS[..16 * 1024] {
            crc ^= u32::from(flag.load(Relaxed));
            for _ in 0..8 {
                crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            }
        }
    }
    u64::from(!crc)
}

const SIDE: usize = 64;
type Matrix = [[AtomicU64; SIDE]; SIDE];
static MATRICES: [Matrix; 2] = [const { [const { [const { AtomicU64::new(3) }; SIDE] }; SIDE] }; 2];

/// The first matrix times itself, into the second.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn matrix_multiply(rounds: u64) -> u64 {
    let [from, to] = &MATRICES;
    for _ in 0..rounds {
        for (row, out) in from.iter().zip(to) {
            for (column, out) in out.iter().enumerate() {
                let products = row.iter().zip(from).map(|(factor, other)| {
                    factor
                        .load(Relaxed)
                        .wrapping_mul(other[column].load(Relaxed))
                });
                out.store(products.fold(0, u64::wrapping_add), Relaxed);
            }
        }
    }
    to[SIDE - 1][SIDE - 1].load(Relaxed)
}

static NUMBERS: [AtomicU32; 8 * 1024] = [const { AtomicU32::new(0) }; 8 * 1024];

/// Sorts pseudo-random numbers.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn heap_sort(rounds: u64) -> u64 {
    let mut seed = 1_u32;
    for _ in 0..rounds {
        for number in &NUMBERS {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number.store(seed, Relaxed);
        }
        let mut end = NUMBERS.len();
        let mut start = end / 2;
        while end > 1 {
            if start > 0 {
                start -= 1;
            } else {
                end -= 1;
                let last = NUMBERS[end].load(Relaxed);
                NUMBERS[end].store(NUMBERS[0].load(Relaxed), Relaxed);
                NUMBERS[0].store(last, Relaxed);
            }
            let (mut hole, value) = (start, NUMBERS[start].load(Relaxed));
            while 2 * hole + 1 < end {
                let mut child = 2 * hole + 1;
                if child + 1 < end
                    && NUMBERS[child].load(Relaxed) < NUMBERS[child + 1].load(Relaxed)
                {
                    child += 1;
                }
                let larger = NUMBERS[child].load(Relaxed);
                if value >= larger {
                    break;
                }
                NUMBERS[hole].store(larger, Relaxed);
                hole = child;
            }
            NUMBERS[hole].store(value, Relaxed);
        }
    }
    u64::from(NUMBERS[0].load(Relaxed))
}

/// The longest Collatz sequence that starts below a limit.
#[unsafe(link_section = ".profiled")]
#[inline(never)]
pub(crate) fn collatz(limit: u64) -> u64 {
    let mut longest = 0;
    for start in 1..limit {
        let (mut n, mut length) = (start, 0);
        while n != 1 {
            n = if n & 1 == 0 { n / 2 } else { 3 * n + 1 };
            length += 1;
        }
        longest = longest.max(length);
    }
    longest
}
