// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! One counter: its width, its writes, its distance to overflow.
//!
//! A counter here may run past its width: it is then *due* for an overflow that nobody has seen
//! yet. Who shows it, and when, is the register file's business (rules P13 to P18 of
//! [`registers`](crate::registers)).

/// An up-counter of `width` bits, with room above them for an overflow that is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counter {
    /// Below 2^width, or past it while an overflow is due.
    raw: u64,
    /// The highest value: 2^width - 1.
    max: u64,
}

/// What a write of `value` to an IA32_PMCn means before it is cut to the counter's width: bits 31:0,
/// sign-extended (P02).
pub(crate) const fn sign_extended(value: u64) -> u64 {
    ((value << 32).cast_signed() >> 32).cast_unsigned()
}

/// What [`Counter::wrap`] took away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrap {
    /// How often the counter had run past its width; at least 1.
    pub(crate) overflows: u64,
    /// How many counts ago it did so first.
    pub(crate) skid: u64,
}

impl Counter {
    /// A counter of `width` bits, at 0.
    pub(crate) const fn new(width: u32) -> Self {
        debug_assert!(
            width < u64::BITS,
            "there is room for a due overflow above the counter"
        );
        Self {
            raw: 0,
            max: (1 << width) - 1,
        }
    }

    /// The value a read returns: what was counted, or the highest value while an overflow is due.
    pub(crate) const fn visible(&self) -> u64 {
        if self.due() { self.max } else { self.raw }
    }

    /// Whether the counter ran past its width.
    pub(crate) const fn due(&self) -> bool {
        self.raw > self.max
    }

    /// How many more counts make an overflow due; 0 if one is.
    pub(crate) const fn distance(&self) -> u64 {
        if self.due() {
            0
        } else {
            self.max - self.raw + 1
        }
    }

    /// Replaces the value by the bits of `value` that fit. An overflow that was due is forgotten.
    pub(crate) const fn write(&mut self, value: u64) {
        self.raw = value & self.max;
    }

    /// The value with what lies past the width while an overflow is due.
    pub(crate) const fn raw(&self) -> u64 {
        self.raw
    }

    /// Puts back what [`raw`](Self::raw) returned.
    pub(crate) const fn put_back(&mut self, raw: u64) {
        self.raw = raw;
    }

    /// Counts. 2^64 and above, which no source reaches, stays at the top.
    pub(crate) const fn add(&mut self, counts: u64) {
        self.raw = self.raw.saturating_add(counts);
    }

    /// Brings a counter that is due back below its width (P18).
    ///
    /// However often it wrapped, it does so once here. More than one wrap needs 2^width counts
    /// without a call: the value was below 2^width after the last write or wrap, a counter that
    /// does not run does not count, and a running one is looked at on every entry to the guest. At 48 bits and
    /// 5 GHz that is 15 hours inside the guest without one exit. An overflow due meanwhile is
    /// delayed by at most the throttle's interval, and by nothing once the counter is read again.
    pub(crate) const fn wrap(&mut self) -> Option<Wrap> {
        if !self.due() {
            return None;
        }
        let wrap = Wrap {
            overflows: self.raw >> self.max.count_ones(),
            skid: self.raw - self.max - 1,
        };
        self.raw &= self.max;
        Some(wrap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u64 = (1 << 48) - 1;

    #[test]
    fn p02_write_takes_the_low_half_and_extends_its_sign() {
        for (written, read) in [
            (0, 0),
            (1, 1),
            (0x7FFF_FFFF, 0x7FFF_FFFF),
            (0x8000_0000, 0xFFFF_8000_0000),
            (0xFFFF_FFFF, TOP),
            (0x1234_5678_0000_0001, 1),
            (0xFFFF_FFFF_0000_0001, 1),
            (0x0000_0001_8000_0001, 0xFFFF_8000_0001),
        ] {
            let mut counter = Counter::new(48);
            counter.write(sign_extended(written));
            assert_eq!(counter.visible(), read, "write of {written:#x}");
        }
    }

    #[test]
    fn p02_write_is_cut_to_a_width_below_32_bits() {
        let mut counter = Counter::new(16);
        counter.write(sign_extended(0x8001_2345));
        assert_eq!(counter.visible(), 0x2345);
    }

    #[test]
    fn p14_a_due_counter_reads_its_highest_value() {
        let mut counter = Counter::new(48);
        counter.write(TOP);
        assert_eq!((counter.due(), counter.distance()), (false, 1));
        counter.add(1);
        assert_eq!(
            (counter.due(), counter.distance(), counter.visible()),
            (true, 0, TOP)
        );
        counter.add(41);
        assert_eq!(counter.visible(), TOP);
        assert_eq!(
            counter.wrap(),
            Some(Wrap {
                overflows: 1,
                skid: 41
            })
        );
        assert_eq!((counter.due(), counter.visible()), (false, 41));
        assert_eq!(counter.wrap(), None);
    }

    #[test]
    fn p18_several_wraps_are_taken_at_once() {
        let mut counter = Counter::new(8);
        counter.add(0x305);
        assert_eq!(
            counter.wrap(),
            Some(Wrap {
                overflows: 3,
                skid: 0x205
            })
        );
        assert_eq!(counter.visible(), 5);
        assert!(!counter.due());
    }

    #[test]
    fn p10_a_write_forgets_the_due_overflow() {
        let mut counter = Counter::new(48);
        counter.add(TOP + 5);
        counter.write(7);
        assert_eq!((counter.due(), counter.visible()), (false, 7));
    }

    #[test]
    fn absurd_counts_neither_panic_nor_wrap_around() {
        let mut counter = Counter::new(48);
        counter.add(u64::MAX);
        counter.add(u64::MAX);
        assert!(counter.due());
        assert_eq!(counter.wrap().map(|wrap| wrap.overflows), Some(0xFFFF));
    }
}
